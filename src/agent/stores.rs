//! Owns the putting together of the stores of secrets from the configuration. Connects nowhere.

use super::answers::Secrets;
use crate::aws::{Chain, Purpose, SdkConfig, Sessions};
use crate::config::{Config, KubernetesConfig, VaultConfig, VaultKvConfig, VaultLoginConfig};
use crate::secrets::{
    AwsAccess, AwsSecretsManager, FileStore, KeptSecrets, KubernetesOptions, KubernetesSecrets,
    KvVersion, Stores, VaultLogin, VaultOptions, VaultSecrets,
};
use async_trait::async_trait;
use std::error::Error;
use std::sync::Arc;

/// Makes the stores the configuration names.
pub(super) fn open(config: &Config, sessions: &Sessions) -> Secrets {
    let aws: Arc<dyn AwsAccess> = Arc::new(Aws {
        region: config.aws.region.clone(),
        sessions: sessions.clone(),
    });
    let stores = Stores {
        files: FileStore::default(),
        aws: AwsSecretsManager::new(Arc::clone(&aws)),
        kubernetes: config.secrets.kubernetes.as_ref().map(kubernetes),
        vault: config
            .secrets
            .vault
            .as_ref()
            .map(|from| VaultSecrets::new(vault(from), aws)),
    };
    Arc::new(KeptSecrets::new(stores, config.secrets.keep))
}

fn kubernetes(from: &KubernetesConfig) -> KubernetesSecrets {
    KubernetesSecrets::new(KubernetesOptions {
        url: from.url.clone(),
        token_file: from.token_file.clone(),
        ca_file: from.ca_file.clone(),
    })
}

fn vault(from: &VaultConfig) -> VaultOptions {
    let login = match &from.login {
        VaultLoginConfig::Token { file } => VaultLogin::Token { file: file.clone() },
        VaultLoginConfig::Kubernetes {
            mount,
            role,
            token_file,
        } => VaultLogin::Kubernetes {
            mount: mount.clone(),
            role: role.clone(),
            token_file: token_file.clone(),
        },
        VaultLoginConfig::Aws {
            mount,
            role,
            region,
            server_id,
        } => VaultLogin::Aws {
            mount: mount.clone(),
            role: role.clone(),
            region: region.clone(),
            server_id: server_id.clone(),
        },
    };
    VaultOptions {
        url: from.url.clone(),
        ca_file: from.ca_file.clone(),
        namespace: from.namespace.clone(),
        kv_version: match from.kv_version {
            VaultKvConfig::Asked => KvVersion::Asked,
            VaultKvConfig::One => KvVersion::One,
            VaultKvConfig::Two => KvVersion::Two,
        },
        login,
    }
}

/// The connector's own credentials.
struct Aws {
    region: Option<String>,
    sessions: Sessions,
}

#[async_trait]
impl AwsAccess for Aws {
    async fn config(
        &self,
        region: Option<&str>,
    ) -> Result<SdkConfig, Box<dyn Error + Send + Sync>> {
        let region = region.or(self.region.as_deref()).ok_or("no AWS region")?;
        let own = Chain {
            region: region.to_owned(),
            hops: Vec::new(),
        };
        Ok(self.sessions.config(&own, &Purpose::Connector).await?)
    }
}
