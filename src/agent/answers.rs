//! Owns the answers rooms give each other through the traits they define: credentials for targets, inventory for the executor.

use super::accounts;
use crate::aws::Sessions;
use crate::control::ControlPlane;
use crate::domain::{
    ConnectorId, ErrorClass, Failure, Integration, IntegrationId, InvalidValue, shown,
};
use crate::executor::{Synchronised, Synchroniser};
use crate::inventory::{
    Assignment, AwsOrganization, OrganizationListing, PostgresCatalog, ReportError, Reported,
    Reporter, Source,
};
use crate::secrets::{Credential, KeptSecrets, SecretError, Stores, Wanted};
use crate::targets::aws_account;
use crate::targets::identity_center::{self, OrganizationTargets};
use crate::targets::postgres::{
    self, CredentialSource, DatabaseCredential, LookupError, PostgresTarget,
};
use crate::targets::rds::{self, RdsParts, RdsRoad};
use crate::targets::{Target, TargetError, TargetFactory};
use async_trait::async_trait;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The stores of secrets, each credential kept for a short time; one for the whole process.
pub(super) type Secrets = Arc<KeptSecrets<Stores>>;

/// Makes PostgreSQL targets, those of RDS too, whose credential comes from the integration's secret reference.
#[derive(Clone)]
pub(super) struct PostgresTargets {
    pub(super) connector: ConnectorId,
    pub(super) secrets: Secrets,
    pub(super) sessions: Sessions,
    /// The certificate authorities of RDS where an integration names none.
    pub(super) rds_ca_file: Option<PathBuf>,
}

impl PostgresTargets {
    fn of(&self, integration: &Integration) -> Result<PostgresTarget, TargetError> {
        let chain = rds::chain(integration);
        let source = Arc::new(Secret {
            wanted: integration.secret.clone().map(|reference| Wanted {
                reference,
                region: Some(chain.region.clone()).filter(|region| !region.is_empty()),
                roles: chain.hops.clone(),
            }),
            secrets: Arc::clone(&self.secrets),
        });
        let connector = self.connector.clone();
        let made = if integration.kind == rds::KIND {
            let parts = RdsParts {
                access: Arc::new(RdsRoad {
                    sessions: self.sessions.clone(),
                    chain,
                }),
                passwords: source,
                ca_file: self.rds_ca_file.clone(),
            };
            rds::target(connector, integration, parts)
        } else {
            PostgresTarget::new(connector, integration, source)
        };
        made.map_err(|problems| wrong_settings(integration, &problems))
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
    wanted: Option<Wanted>,
    secrets: Secrets,
}

impl Secret {
    fn wanted(&self) -> Result<&Wanted, LookupError> {
        self.wanted.as_ref().ok_or_else(|| {
            let problem = "the integration has no secret reference";
            LookupError::new(ErrorClass::NeedsOperator, problem)
        })
    }
}

#[async_trait]
impl CredentialSource for Secret {
    async fn fetch(&self) -> Result<DatabaseCredential, LookupError> {
        let found = self.secrets.fetch(self.wanted()?).await;
        found.map(database_credential).map_err(credential_error)
    }

    async fn fetch_anew(
        &self,
        refused: &DatabaseCredential,
    ) -> Result<Option<DatabaseCredential>, LookupError> {
        let refused = Credential {
            username: refused.username.clone(),
            password: refused.password.clone(),
            host: refused.host.clone(),
        };
        let found = self.secrets.fetch_anew(self.wanted()?, &refused).await;
        found
            .map(|found| found.map(database_credential))
            .map_err(credential_error)
    }

    async fn fetch_previous(&self) -> Result<Option<DatabaseCredential>, LookupError> {
        let found = self.secrets.fetch_previous(self.wanted()?).await;
        found
            .map(|found| found.map(database_credential))
            .map_err(credential_error)
    }
}

fn database_credential(found: Credential) -> DatabaseCredential {
    DatabaseCredential {
        username: found.username,
        password: found.password,
        host: found.host,
    }
}

/// A store that is away may come back; whatever else is wrong with a secret, a person has to put right.
fn credential_error(error: SecretError) -> LookupError {
    let class = match error.class() {
        passing @ (ErrorClass::Transient | ErrorClass::Throttled) => passing,
        ErrorClass::Unauthorised
        | ErrorClass::NotFound
        | ErrorClass::Conflict
        | ErrorClass::NeedsOperator
        | ErrorClass::Bug => ErrorClass::NeedsOperator,
    };
    let hint = error.hint().to_owned();
    LookupError::new(class, error).with_hint(hint)
}

/// Walks an integration and reports what changed.
pub(super) struct Walker {
    targets: PostgresTargets,
    organizations: OrganizationTargets,
    reporter: Reporter,
}

impl Walker {
    pub(super) fn new(
        targets: PostgresTargets,
        organizations: OrganizationTargets,
        control: Arc<dyn ControlPlane>,
        state_folder: &Path,
    ) -> Self {
        Self {
            targets,
            organizations,
            reporter: Reporter::new(control, state_folder),
        }
    }

    async fn source(&self, integration: &Integration) -> Result<Box<dyn Source>, TargetError> {
        match integration.kind.as_str() {
            postgres::KIND | rds::KIND => {
                let (options, admin_role) = self.targets.of(integration)?.connection().await?;
                let catalog = PostgresCatalog::new(integration.id, options, admin_role);
                Ok(Box::new(catalog))
            }
            identity_center::KIND => Ok(Box::new(self.organization(integration)?)),
            aws_account::KIND => Ok(Box::new(accounts::source(
                integration,
                &self.targets.connector,
                self.targets.sessions.clone(),
            )?)),
            _ => Err(TargetError::new(
                ErrorClass::NeedsOperator,
                "unknown_integration_type",
                format!(
                    "integration `{}` has type `{}`, which this version cannot list",
                    integration.id,
                    shown(&integration.kind)
                ),
            )),
        }
    }

    /// The same sessions and the same budget as those of the target: grants go first.
    fn organization(&self, integration: &Integration) -> Result<AwsOrganization, TargetError> {
        let reach = self.organizations.reach(integration)?;
        let (memory, id) = (Arc::clone(&self.organizations.memory), integration.id);
        let given = move || {
            let given = identity_center::given(&*memory, id).into_iter();
            given
                .map(|given| Assignment {
                    account: given.account,
                    permission_set: given.permission_set,
                    principal: given.principal,
                })
                .collect()
        };
        Ok(AwsOrganization::new(OrganizationListing {
            integration: id,
            chain: reach.chain.clone(),
            excluded: reach.excluded,
            declared: reach.declared,
            made_mark: identity_center::CONNECTOR_TAG,
            sessions: self.organizations.sessions.clone(),
            budgets: self.organizations.budgets.clone(),
            given: Arc::new(given),
            members: accounts::members(integration, &reach.chain)?,
        }))
    }
}

impl Walker {
    async fn walk(
        &self,
        integration: &Integration,
    ) -> Result<Result<(Reported, Vec<String>), ReportError>, Failure> {
        let source = self.source(integration).await;
        let source = source.map_err(|error| error.failure().clone())?;
        let reported = self.reporter.report(&*source).await;
        Ok(reported.map(|reported| (reported, source.troubles())))
    }
}

#[async_trait]
impl Synchroniser for Walker {
    async fn synchronise(&self, integration: &Integration) -> Result<Synchronised, Failure> {
        let mut reported = self.walk(integration).await?;
        if matches!(&reported, Err(error) if error.class() == ErrorClass::Unauthorised) {
            // The password was changed on the way.
            reported = self.walk(integration).await?;
        }
        match reported {
            Ok((reported, troubles)) => {
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
                Ok(Synchronised {
                    records: reported.records,
                    troubles,
                })
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
        ReportError::Source(error) => ("inventory_not_read", error.hint(), error.retry_after()),
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
