//! Owns PostgreSQL servers of Amazon RDS and Aurora: found by name, entered by a password or by a token of AWS IAM. Never writes to
//! AWS; what is done inside the server is `targets/postgres`'s.

mod finder;
mod settings;
mod token;

pub use finder::{RdsAccess, RdsRoad};
pub use settings::{AuthType, RdsSettings, SETTINGS};

use super::postgres::{
    CredentialSource, EndUsers, ManagedServer, PostgresTarget, ServerSource, Words,
};
use crate::aws::{Chain, Hop};
use crate::domain::{ConnectorId, Integration, InvalidValue};
use finder::Finder;
use std::path::PathBuf;
use std::sync::Arc;
use token::IamTokens;

/// The kind of integration this is for.
pub const KIND: &str = "aws-rds-postgresql";

const WORDS: Words = Words {
    kind: KIND,
    known: &SETTINGS,
    database: "database_name",
    ssl_mode: "ssl_mode",
};

/// What a target of RDS is made from.
pub struct RdsParts {
    /// The way to AWS, in the region and by the roles of the integration.
    pub access: Arc<dyn RdsAccess>,
    /// The credential the integration's secret reference points to; used under `auth_type` `password`.
    pub passwords: Arc<dyn CredentialSource>,
    /// Certificate authorities of RDS where the integration names none.
    pub ca_file: Option<PathBuf>,
}

/// Returns region and roles of an integration, as its settings have them; what is wrong with them is found when a target is made.
#[must_use]
pub fn chain(integration: &Integration) -> Chain {
    let value = |key: &str| integration.settings.get(key).cloned();
    let roles = ["management_role_arn", "role_arn"].into_iter();
    Chain {
        region: value("region").unwrap_or_default(),
        hops: roles
            .filter_map(value)
            .map(|role_arn| Hop {
                role_arn,
                external_id: value("external_id"),
            })
            .collect(),
    }
}

/// Checks the settings of an integration and makes its target. Connects only when used.
///
/// # Errors
/// Lists every setting that is wrong.
pub fn target(
    connector: ConnectorId,
    integration: &Integration,
    parts: RdsParts,
) -> Result<PostgresTarget, Vec<InvalidValue>> {
    let (settings, mut problems) = RdsSettings::read(integration, parts.ca_file.is_some());
    let finder = Arc::new(Finder::new(settings.clone(), Arc::clone(&parts.access)));
    let source: Arc<dyn CredentialSource> = match settings.auth_type {
        AuthType::Password => parts.passwords,
        AuthType::Iam => Arc::new(IamTokens::new(
            settings.username.clone(),
            Arc::clone(&finder),
            parts.access,
        )),
    };
    let end_users = match settings.end_user_auth {
        AuthType::Password => EndUsers::PasswordOnRds,
        AuthType::Iam => EndUsers::RdsIam,
    };
    let made = PostgresTarget::found(
        connector,
        integration,
        ManagedServer {
            words: &WORDS,
            label: format!("{}/{}", settings.region, settings.instance_id),
            server: finder as Arc<dyn ServerSource>,
            source,
            end_users,
            root_ca: parts.ca_file,
        },
    );
    match made {
        Ok(target) if problems.is_empty() => Ok(target),
        Ok(_) => Err(problems),
        Err(more) => {
            problems.extend(more);
            Err(problems)
        }
    }
}
