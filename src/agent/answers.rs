//! Owns the answers rooms give each other through the traits they define: credentials for targets, inventory for the executor.

use crate::control::{ControlPlane, HttpControlPlane};
use crate::domain::{
    ConnectorId, ErrorClass, Failure, Integration, InvalidValue, SecretRef, shown,
};
use crate::executor::Synchroniser;
use crate::inventory::{CHANNEL_RECORDS, PostgresCatalog, RecordSender, Source};
use crate::secrets::{FileStore, SecretStore};
use crate::targets::postgres::{self, CredentialSource, DatabaseCredential, PostgresTarget};
use crate::targets::{Target, TargetError, TargetFactory};
use async_trait::async_trait;
use std::error::Error;
use std::sync::Arc;

/// Makes PostgreSQL targets whose credential comes from the integration's secret reference.
pub(super) struct PostgresTargets {
    connector: ConnectorId,
    files: Arc<FileStore>,
}

impl PostgresTargets {
    pub(super) fn new(connector: ConnectorId) -> Self {
        Self {
            connector,
            files: Arc::default(),
        }
    }

    fn of(&self, integration: &Integration) -> Result<PostgresTarget, TargetError> {
        let source = Arc::new(Secret {
            reference: integration.secret.clone(),
            files: Arc::clone(&self.files),
        });
        PostgresTarget::new(self.connector.clone(), integration, source)
            .map_err(|problems| wrong_settings(integration, &problems))
    }
}

impl TargetFactory for PostgresTargets {
    fn make(&self, integration: &Integration) -> Result<Arc<dyn Target>, TargetError> {
        Ok(Arc::new(self.of(integration)?))
    }
}

fn wrong_settings(integration: &Integration, problems: &[InvalidValue]) -> TargetError {
    let list: Vec<String> = problems.iter().map(ToString::to_string).collect();
    TargetError::new(
        ErrorClass::NeedsOperator,
        "invalid_settings",
        format!(
            "integration `{}`: {}",
            shown(&integration.name),
            list.join("; ")
        ),
    )
    .hint("correct the integration's settings")
}

/// Where one integration's credential is.
struct Secret {
    reference: Option<SecretRef>,
    files: Arc<FileStore>,
}

#[async_trait]
impl CredentialSource for Secret {
    async fn fetch(&self) -> Result<DatabaseCredential, Box<dyn Error + Send + Sync>> {
        let reference = self
            .reference
            .as_ref()
            .ok_or("the integration has no secret reference")?;
        let credential = self.files.fetch(reference).await?;
        Ok(DatabaseCredential {
            username: credential.username,
            password: credential.password,
            host: credential.host,
        })
    }
}

/// Walks an integration and uploads what it finds.
pub(super) struct Walker {
    targets: PostgresTargets,
    control: Arc<HttpControlPlane>,
}

impl Walker {
    pub(super) fn new(connector: ConnectorId, control: Arc<HttpControlPlane>) -> Self {
        Self {
            targets: PostgresTargets::new(connector),
            control,
        }
    }

    async fn catalog(&self, integration: &Integration) -> Result<PostgresCatalog, TargetError> {
        if integration.kind != postgres::KIND {
            return Err(TargetError::new(
                ErrorClass::NeedsOperator,
                "unknown_integration_type",
                format!(
                    "integration `{}` has type `{}`, which this version cannot list",
                    integration.id,
                    shown(&integration.kind)
                ),
            ));
        }
        let (options, admin_role) = self.targets.of(integration)?.connection().await?;
        Ok(PostgresCatalog::new(integration.id, options, admin_role))
    }
}

#[async_trait]
impl Synchroniser for Walker {
    async fn synchronise(&self, integration: &Integration) -> Result<u64, Failure> {
        let catalog = self
            .catalog(integration)
            .await
            .map_err(|error| error.failure().clone())?;
        let (sender, records) = tokio::sync::mpsc::channel(CHANNEL_RECORDS);
        let (walked, uploaded) = tokio::join!(
            catalog.walk(RecordSender::new(sender)),
            self.control.upload_inventory(integration.id, records),
        );
        // The walk's own error explains an aborted upload; an upload that broke off explains a walk nobody listened to.
        match (walked, uploaded) {
            (Ok(count), Ok(_)) => Ok(count),
            (_, Err(error)) if !matches!(error, crate::control::ControlError::Aborted) => {
                Err(Failure {
                    class: error.class(),
                    reason: "inventory_not_uploaded",
                    message: error.to_string(),
                    hint: None,
                    retry_after: error.retry_after(),
                })
            }
            (walked, _) => Err(unread(integration, walked.err())),
        }
    }
}

fn unread(integration: &Integration, error: Option<crate::inventory::SourceError>) -> Failure {
    let source = error.as_ref().map(|error| error as &dyn Error);
    tracing::warn!(integration.id = %integration.id, error = source, "the inventory of `{}` could not be read", integration.name);
    Failure {
        class: error
            .as_ref()
            .map_or(ErrorClass::Transient, |error| error.class()),
        reason: "inventory_not_read",
        message: error.as_ref().map_or_else(
            || "the inventory upload was aborted".to_owned(),
            ToString::to_string,
        ),
        hint: error.and_then(|error| error.hint()),
        retry_after: None,
    }
}
