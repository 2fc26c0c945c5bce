//! Owns where credentials come from. Never writes one, never shows one, and keeps one only in memory and only for a short set time.

mod aws_secrets_manager;
mod body;
mod error;
mod file;
mod http;
mod kept;
mod kubernetes;
mod vault;

pub use aws_secrets_manager::{AwsAccess, AwsRoad, AwsSecretsManager};
pub use error::{SecretError, SecretProblem};
pub use file::FileStore;
pub use kept::KeptSecrets;
pub use kubernetes::{KubernetesOptions, KubernetesSecrets};
pub use vault::{KvVersion, VaultLogin, VaultOptions, VaultSecrets};

use crate::aws::Hop;
use crate::domain::{SecretPlace, SecretRef};
use crate::secret::Secret;
use async_trait::async_trait;
use std::sync::Arc;

/// The tag or label without which a secret in a shared store is left alone, so that a reference cannot reach any secret the
/// connector's role happens to be allowed to read.
pub const MARK: &str = "apono-connector-read";

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

/// Which credential is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Where it is.
    pub reference: SecretRef,
    /// The AWS region to look in when the reference names none; without one, the connector's own.
    pub region: Option<String>,
    /// The roles that lead to the AWS account it is in; none for the connector's own.
    pub roles: Vec<Hop>,
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
    async fn fetch(&self, wanted: &Wanted) -> Result<Credential, SecretError>;

    /// Fetches the credential before the present one, where the store has such: in the middle of a rotation the server
    /// may not know the present one yet.
    async fn fetch_previous(&self, _wanted: &Wanted) -> Result<Option<Credential>, SecretError> {
        Ok(None)
    }
}

/// Every store there is; the reference says which one is asked.
pub struct Stores {
    /// Credentials in files.
    pub files: FileStore,
    /// AWS Secrets Manager.
    pub aws: AwsSecretsManager,
    /// Kubernetes; absent outside a cluster.
    pub kubernetes: Option<KubernetesSecrets>,
    /// HashiCorp Vault, where it is set up.
    pub vault: Option<VaultSecrets>,
}

impl Stores {
    fn choose(&self, reference: &SecretRef) -> Result<&dyn SecretStore, SecretError> {
        let absent = |hint: &str| {
            let place = format!("secret `{}`", reference.as_str());
            SecretError::new(place, SecretProblem::NotSetUp, hint)
        };
        match reference.place() {
            SecretPlace::File { .. } => Ok(&self.files),
            SecretPlace::AwsSecretsManager { .. } => Ok(&self.aws),
            SecretPlace::Kubernetes { .. } => match &self.kubernetes {
                Some(store) => Ok(store),
                None => Err(absent(
                    "run the connector in the cluster that has the secret, or set `secrets.kubernetes.url`",
                )),
            },
            SecretPlace::Vault { .. } => match &self.vault {
                Some(store) => Ok(store),
                None => Err(absent("set `secrets.vault.url` in the configuration")),
            },
        }
    }
}

#[async_trait]
impl SecretStore for Stores {
    async fn fetch(&self, wanted: &Wanted) -> Result<Credential, SecretError> {
        self.choose(&wanted.reference)?.fetch(wanted).await
    }

    async fn fetch_previous(&self, wanted: &Wanted) -> Result<Option<Credential>, SecretError> {
        self.choose(&wanted.reference)?.fetch_previous(wanted).await
    }
}

#[async_trait]
impl<S: SecretStore + ?Sized> SecretStore for Arc<S> {
    async fn fetch(&self, wanted: &Wanted) -> Result<Credential, SecretError> {
        self.as_ref().fetch(wanted).await
    }

    async fn fetch_previous(&self, wanted: &Wanted) -> Result<Option<Credential>, SecretError> {
        self.as_ref().fetch_previous(wanted).await
    }
}
