//! Owns with which credential a connection is opened. Never writes one down, and forgets none an end may need.

use super::error::Trouble;
use super::server::{LookupError, ServerAddress};
use crate::secret::Secret;
use async_trait::async_trait;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How long a store is waited for while the credential that worked last is at hand.
const STORE_PATIENCE: Duration = Duration::from_secs(2);

/// The database user the connector logs in as.
#[derive(Debug, Clone)]
pub struct DatabaseCredential {
    /// Its name.
    pub username: String,
    /// Its password.
    pub password: Secret,
    /// The host the secret is for, where it says; another host is refused.
    pub host: Option<String>,
}

/// Where a target gets its credential from; asked again for every new connection, so that a rotation needs no restart.
#[async_trait]
pub trait CredentialSource: Send + Sync {
    /// Fetches the present credential; it may have been kept for a short time.
    ///
    /// # Errors
    /// When the place of the secret cannot be read or holds something else.
    async fn fetch(&self) -> Result<DatabaseCredential, LookupError>;

    /// Fetches the present credential for one server; the same for all, unless it is made for each.
    ///
    /// # Errors
    /// As for [`CredentialSource::fetch`].
    async fn fetch_for(&self, _server: &ServerAddress) -> Result<DatabaseCredential, LookupError> {
        self.fetch().await
    }

    /// Fetches past whatever is kept, after a server refused a credential. Nothing when there is no other by now.
    ///
    /// # Errors
    /// As for [`CredentialSource::fetch`].
    async fn fetch_anew(
        &self,
        _refused: &DatabaseCredential,
    ) -> Result<Option<DatabaseCredential>, LookupError> {
        Ok(None)
    }

    /// Fetches the credential before the present one, where there is such: in the middle of a rotation the server may not
    /// know the new one yet.
    ///
    /// # Errors
    /// As for [`CredentialSource::fetch`].
    async fn fetch_previous(&self) -> Result<Option<DatabaseCredential>, LookupError> {
        Ok(None)
    }
}

/// The credentials of one target.
pub(super) struct Credentials {
    source: Arc<dyn CredentialSource>,
    /// The one that worked last: an end must not fail because the place of the secret is away.
    known: Mutex<Option<DatabaseCredential>>,
}

impl Credentials {
    pub(super) fn new(source: Arc<dyn CredentialSource>) -> Self {
        Self {
            source,
            known: Mutex::default(),
        }
    }

    /// Returns the credential to begin with. With a live grant, the one that worked last stands in for one that cannot be read.
    pub(super) async fn present(
        &self,
        server: &ServerAddress,
        holding: bool,
    ) -> Result<DatabaseCredential, Trouble> {
        let fetch = self.source.fetch_for(server);
        let Some(known) = self.known(holding) else {
            return fetch.await.map_err(Trouble::Credential);
        };
        // A store that does not answer must not hold up an end.
        match tokio::time::timeout(STORE_PATIENCE, fetch).await {
            Ok(Ok(credential)) => Ok(credential),
            Ok(Err(_)) | Err(_) => Ok(known),
        }
    }

    /// Returns what to try after all of these were refused: what the store says now, what it said before, what worked last.
    pub(super) async fn next(
        &self,
        tried: &[DatabaseCredential],
        holding: bool,
    ) -> Option<DatabaseCredential> {
        let is_new = |one: &DatabaseCredential| !tried.iter().any(|other| other.is_same(one));
        if let [refused] = tried {
            let anew = self.source.fetch_anew(refused).await;
            if let Some(anew) = usable(anew).filter(is_new) {
                return Some(anew);
            }
        }
        let previous = usable(self.source.fetch_previous().await);
        previous.into_iter().chain(self.known(holding)).find(is_new)
    }

    /// Notes that the server let us in with it.
    pub(super) fn worked(&self, credential: DatabaseCredential) {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some(credential);
    }

    fn known(&self, holding: bool) -> Option<DatabaseCredential> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.clone().filter(|_| holding)
    }
}

impl DatabaseCredential {
    fn is_same(&self, other: &Self) -> bool {
        self.username == other.username && self.password.expose() == other.password.expose()
    }
}

/// What cannot be read on the way down the ladder is no rung of it; the refusal says enough.
fn usable(found: Result<Option<DatabaseCredential>, LookupError>) -> Option<DatabaseCredential> {
    found.unwrap_or_else(|error| {
        tracing::info!(error = %error, "another version of the secret cannot be read");
        None
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Rungs(&'static str, Option<&'static str>, Option<&'static str>);

    fn credential(password: &str) -> DatabaseCredential {
        DatabaseCredential {
            username: "u".to_owned(),
            password: Secret::new(password.to_owned()),
            host: None,
        }
    }

    #[async_trait]
    impl CredentialSource for Rungs {
        async fn fetch(&self) -> Result<DatabaseCredential, LookupError> {
            Ok(credential(self.0))
        }

        async fn fetch_anew(
            &self,
            _refused: &DatabaseCredential,
        ) -> Result<Option<DatabaseCredential>, LookupError> {
            Ok(self.1.map(credential))
        }

        async fn fetch_previous(&self) -> Result<Option<DatabaseCredential>, LookupError> {
            Ok(self.2.map(credential))
        }
    }

    /// Every password tried when each is refused.
    async fn tried(rungs: Rungs, known: Option<&str>, holding: bool) -> Vec<String> {
        let credentials = Credentials::new(Arc::new(rungs));
        if let Some(known) = known {
            credentials.worked(credential(known));
        }
        let server = ServerAddress::new("db.example", 5432);
        let mut tried = vec![credentials.present(&server, holding).await.unwrap()];
        while let Some(next) = credentials.next(&tried, holding).await {
            tried.push(next);
        }
        tried
            .iter()
            .map(|one| one.password.expose().to_owned())
            .collect()
    }

    #[tokio::test]
    async fn each_version_of_a_secret_is_tried_once_and_the_newest_first() {
        let all = Rungs("kept", Some("new"), Some("old"));
        assert_eq!(
            tried(all, Some("last"), true).await,
            ["kept", "new", "old", "last"]
        );
        let all = Rungs("kept", Some("new"), Some("old"));
        assert_eq!(
            tried(all, Some("last"), false).await,
            ["kept", "new", "old"]
        );
        let same = Rungs("kept", Some("kept"), Some("kept"));
        assert_eq!(tried(same, Some("kept"), true).await, ["kept"]);
        assert_eq!(tried(Rungs("kept", None, None), None, true).await, ["kept"]);
    }
}
