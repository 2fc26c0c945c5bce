//! Owns where a server is, for targets whose settings say it and for those that have to look it up. Never connects.

use crate::domain::{Detail, ErrorClass};
use crate::pg::{ConnectOptions, Names};
use async_trait::async_trait;
use std::error::Error;
use std::fmt;
use std::sync::Arc;

/// A server, by the name its certificate carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerAddress {
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Another host and port by which it is reached from here.
    pub via: Option<(String, u16)>,
}

impl ServerAddress {
    /// A server that is reached by its own name.
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Self {
            host: host.into(),
            port,
            via: None,
        }
    }

    /// Where its addresses come from.
    pub(super) fn names(&self) -> Arc<dyn Names> {
        match &self.via {
            None => ConnectOptions::system_names(),
            Some((host, port)) => ConnectOptions::names_by_way_of(host, *port),
        }
    }
}

/// Where the server of a target is.
#[async_trait]
pub trait ServerSource: Send + Sync {
    /// Returns where the server is; it may have been looked up some time ago.
    ///
    /// # Errors
    /// When it cannot be found.
    async fn find(&self) -> Result<ServerAddress, LookupError>;

    /// Says that the server could not be reached where it was: the next question looks anew.
    fn look_again(&self) {}

    /// Returns what a person needs to log in without a password; nothing where everybody has one.
    ///
    /// # Errors
    /// When it cannot be found.
    async fn how_to_log_in(
        &self,
        _login: &str,
        _database: &str,
    ) -> Result<Vec<Detail>, LookupError> {
        Ok(Vec::new())
    }
}

/// A server whose place is in the settings.
pub(super) struct Fixed(pub(super) ServerAddress);

#[async_trait]
impl ServerSource for Fixed {
    async fn find(&self) -> Result<ServerAddress, LookupError> {
        Ok(self.0.clone())
    }
}

/// A credential or a place that could not be had.
pub struct LookupError {
    class: ErrorClass,
    hint: Option<String>,
    source: Box<dyn Error + Send + Sync>,
}

impl LookupError {
    /// Makes an error of its class and its cause, whose sentence is shown to people.
    pub fn new(class: ErrorClass, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self {
            class,
            hint: None,
            source: source.into(),
        }
    }

    /// Adds the exact fix.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Returns the class, which alone decides what happens next.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        self.class
    }

    pub(super) fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

impl fmt::Display for LookupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.source.fmt(f)
    }
}

impl fmt::Debug for LookupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LookupError({}, {:?})", self.class, self.source)
    }
}

impl Error for LookupError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.source()
    }
}
