//! Owns the answers rooms give each other through the traits they define: credentials for targets, inventory for the executor.

use crate::control::ControlPlane;
use crate::domain::{
    ConnectorId, ErrorClass, Failure, Integration, IntegrationId, InvalidValue, SecretRef, shown,
};
use crate::executor::Synchroniser;
use crate::inventory::{PostgresCatalog, ReportError, Reporter};
use crate::secrets::{FileStore, SecretStore};
use crate::targets::postgres::{self, CredentialSource, DatabaseCredential, PostgresTarget};
use crate::targets::{Target, TargetError, TargetFactory};
use async_trait::async_trait;
use std::error::Error;
use std::path::Path;
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

/// Walks an integration and reports what changed.
pub(super) struct Walker {
    targets: PostgresTargets,
    reporter: Reporter,
}

impl Walker {
    pub(super) fn new(
        connector: ConnectorId,
        control: Arc<dyn ControlPlane>,
        state_folder: &Path,
    ) -> Self {
        Self {
            targets: PostgresTargets::new(connector),
            reporter: Reporter::new(control, state_folder),
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
        match self.reporter.report(&catalog).await {
            Ok(reported) => {
                tracing::info!(
                    integration.id = %integration.id,
                    records = reported.records,
                    changed = reported.changed,
                    gone = reported.gone,
                    bytes = reported.bytes,
                    parts = reported.parts,
                    full = reported.full,
                    "changes of the inventory of `{}` reported",
                    integration.name
                );
                Ok(reported.records)
            }
            Err(error) => Err(unreported(integration, &error)),
        }
    }

    fn forget(&self, integration: IntegrationId) {
        self.reporter.forget(integration);
    }
}

fn unreported(integration: &Integration, error: &ReportError) -> Failure {
    tracing::warn!(
        integration.id = %integration.id,
        error = error as &dyn Error,
        "the inventory of `{}` could not be reported",
        integration.name
    );
    let (reason, hint, retry_after) = match error {
        ReportError::Source(error) => ("inventory_not_read", error.hint(), None),
        ReportError::Upload(error) => ("inventory_not_uploaded", None, error.retry_after()),
        ReportError::Broken => ("inventory_not_compared", None, None),
    };
    Failure {
        class: error.class(),
        reason,
        message: error.to_string(),
        hint,
        retry_after,
    }
}
