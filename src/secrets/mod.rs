//! Owns where credentials come from. Never keeps one, never writes one, never shows one.

mod error;
mod file;

pub use error::SecretError;
pub use file::FileStore;

use crate::domain::SecretRef;
use crate::secret::Secret;
use async_trait::async_trait;

/// A user name and password, as they are at this moment.
#[derive(Debug, Clone)]
pub struct Credential {
    /// Who to log in as.
    pub username: String,
    /// With what.
    pub password: Secret,
    /// The one host this credential may be sent to; any when absent.
    pub host: Option<String>,
}

/// Somewhere credentials can be fetched from.
///
/// # Contract
/// - Every call looks anew: a rotated password is seen by the next fetch.
/// - Every call is bounded in time and in size.
/// - An error names the place and the key, never what stands there.
#[async_trait]
pub trait SecretStore: Send + Sync {
    /// Fetches a credential.
    async fn fetch(&self, reference: &SecretRef) -> Result<Credential, SecretError>;
}
