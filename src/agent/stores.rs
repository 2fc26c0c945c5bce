//! Owns the putting together of the stores of secrets from the configuration. Connects nowhere.

use super::answers::Secrets;
use crate::aws::Sessions;
use crate::config::{Config, KubernetesConfig, VaultConfig, VaultKvConfig, VaultLoginConfig};
use crate::secrets::{
    AwsAccess, AwsRoad, AwsSecretsManager, FileStore, KeptSecrets, KubernetesOptions,
    KubernetesSecrets, KvVersion, Stores, VaultLogin, VaultOptions, VaultSecrets,
};
use std::sync::Arc;

/// Makes the stores the configuration names.
pub(super) fn open(config: &Config, sessions: Sessions) -> Secrets {
    let region = config.aws.region.clone();
    let aws: Arc<dyn AwsAccess> = Arc::new(AwsRoad::new(sessions, region));
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
