//! Owns credentials in AWS Secrets Manager. Never asks for a value before it has seen the tag that allows it.

use super::body::{SHAPE, Spot};
use super::{Credential, MARK, SecretError, SecretProblem, SecretStore, Wanted};
use crate::aws::{AwsError, Chain, Hop, Purpose, Sessions, refused};
use crate::domain::{ErrorClass, SecretPlace, shown};
use crate::secret::Secret;
use async_trait::async_trait;
use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::error::ProvideErrorMetadata;
use aws_sdk_secretsmanager::operation::describe_secret::DescribeSecretOutput;
use aws_types::SdkConfig;
use std::sync::Arc;
use std::time::Duration;

/// Longest time for both calls together.
const LIMIT: Duration = Duration::from_secs(10);
/// The version in use.
const CURRENT: &str = "AWSCURRENT";
/// The version before it.
const PREVIOUS: &str = "AWSPREVIOUS";
const DESCRIBE: &str = "secretsmanager:DescribeSecret";
const GET: &str = "secretsmanager:GetSecretValue";

/// The way to AWS.
#[async_trait]
pub trait AwsAccess: Send + Sync {
    /// Returns credentials, region and limits for calls in a region, by the roles given; without a region, in the connector's own.
    /// Calls made with it are sent once: trying again is decided elsewhere.
    ///
    /// # Errors
    /// When no region is known or a role cannot be assumed.
    async fn config(&self, region: Option<&str>, roles: &[Hop]) -> Result<SdkConfig, AwsError>;
}

/// Reads `aws-secretsmanager:` references. The secret must carry the tag `apono-connector-read=true` and hold a JSON object.
pub struct AwsSecretsManager {
    access: Arc<dyn AwsAccess>,
}

/// One secret on the way.
struct Asked<'a> {
    client: Client,
    id: &'a str,
    region: String,
    place: String,
}

impl AwsSecretsManager {
    /// Takes the way to AWS.
    #[must_use]
    pub fn new(access: Arc<dyn AwsAccess>) -> Self {
        Self { access }
    }

    async fn read(&self, wanted: &Wanted, stage: &str) -> Result<Option<Credential>, SecretError> {
        let place = format!("secret `{}`", wanted.reference.as_str());
        let slow = || {
            let hint = "check that this machine reaches AWS Secrets Manager in the secret's region";
            SecretError::new(place.clone(), SecretProblem::TooSlow { limit: LIMIT }, hint)
        };
        tokio::time::timeout(LIMIT, async {
            let asked = self.ask(wanted, place.clone()).await?;
            let described = asked.describe().await?;
            asked.value(&described, stage).await
        })
        .await
        .map_err(|_| slow())?
    }

    async fn ask<'a>(&self, wanted: &'a Wanted, place: String) -> Result<Asked<'a>, SecretError> {
        let SecretPlace::AwsSecretsManager { id, region } = wanted.reference.place() else {
            let hint = "use an `aws-secretsmanager:` reference";
            return Err(SecretError::new(place, SecretProblem::NotSetUp, hint));
        };
        let region = region.as_deref().or(wanted.region.as_deref());
        let config = self.access.config(region, &wanted.roles).await;
        let config = config.map_err(|error| no_way(&place, &error))?;
        let region = config.region().map(ToString::to_string);
        Ok(Asked {
            client: Client::new(&config),
            id,
            region: region.unwrap_or_default(),
            place,
        })
    }
}

/// No credentials, no region, or a role that cannot be assumed; a service that is away may come back.
pub(super) fn no_way(place: &str, error: &AwsError) -> SecretError {
    let problem = match error.class() {
        ErrorClass::Transient => SecretProblem::Unreachable,
        ErrorClass::Throttled => SecretProblem::Throttled,
        ErrorClass::Unauthorised
        | ErrorClass::NotFound
        | ErrorClass::Conflict
        | ErrorClass::NeedsOperator
        | ErrorClass::Bug => SecretProblem::LoginRefused {
            what: error.to_string(),
        },
    };
    let hint = error.hint().unwrap_or("give the connector an AWS role");
    SecretError::new(place, problem, hint)
}

#[async_trait]
impl SecretStore for AwsSecretsManager {
    async fn fetch(&self, wanted: &Wanted) -> Result<Credential, SecretError> {
        let found = self.read(wanted, CURRENT).await?;
        found.ok_or_else(|| {
            let place = format!("secret `{}`", wanted.reference.as_str());
            let hint = format!("give the secret a value with the label {CURRENT}");
            SecretError::new(place, SecretProblem::Missing, hint)
        })
    }

    async fn fetch_previous(&self, wanted: &Wanted) -> Result<Option<Credential>, SecretError> {
        self.read(wanted, PREVIOUS).await
    }
}

impl Asked<'_> {
    fn error(&self, problem: SecretProblem, hint: impl Into<String>) -> SecretError {
        SecretError::new(self.place.clone(), problem, hint)
    }

    async fn describe(&self) -> Result<DescribeSecretOutput, SecretError> {
        let described = self
            .client
            .describe_secret()
            .secret_id(self.id)
            .send()
            .await;
        let described = described.map_err(|error| self.refused(None, &refused(DESCRIBE, error)))?;
        if described.deleted_date().is_some() {
            return Err(self.deleted());
        }
        let marked = described
            .tags()
            .iter()
            .any(|tag| tag.key() == Some(MARK) && tag.value() == Some("true"));
        if marked {
            return Ok(described);
        }
        let command = format!(
            "aws secretsmanager tag-resource --region {} --secret-id {} --tags Key={MARK},Value=true",
            self.region, self.id
        );
        Err(self.error(SecretProblem::NotMarked { what: "tag" }, command))
    }

    /// Nothing where no version carries the label.
    async fn value(
        &self,
        described: &DescribeSecretOutput,
        stage: &str,
    ) -> Result<Option<Credential>, SecretError> {
        let call = self.client.get_secret_value();
        let value = match call.secret_id(self.id).version_stage(stage).send().await {
            Ok(value) => value,
            Err(error) if error.code() == Some("ResourceNotFoundException") => return Ok(None),
            Err(error) => {
                let error = refused(GET, error);
                return Err(self.refused(described.kms_key_id(), &error));
            }
        };
        let hint = format!("store {SHAPE} as the secret's text");
        let Some(text) = value.secret_string else {
            return Err(self.error(SecretProblem::Binary, hint));
        };
        let text = Secret::new(text);
        let spot = Spot {
            place: &self.place,
            hint: &hint,
        };
        spot.parse(text.expose().as_bytes()).map(Some)
    }

    fn deleted(&self) -> SecretError {
        let command = format!(
            "aws secretsmanager restore-secret --region {} --secret-id {}",
            self.region, self.id
        );
        self.error(SecretProblem::Deleted, command)
    }

    /// What the service said is not passed on: its code is enough.
    fn refused(&self, kms_key: Option<&str>, error: &AwsError) -> SecretError {
        let action = error.operation();
        let code = || error.code().unwrap_or(error.reason()).to_owned();
        let hint = || error.hint().unwrap_or_default().to_owned();
        let (problem, hint) = match (error.code(), error.reason()) {
            (Some("ResourceNotFoundException"), _) => (
                SecretProblem::Missing,
                format!(
                    "create the secret in region {}, or give its whole ARN when it is in another account",
                    self.region
                ),
            ),
            (Some("InvalidRequestException"), _) => return self.deleted(),
            (
                Some(
                    "DecryptionFailure"
                    | "KMSAccessDeniedException"
                    | "KMSDisabledException"
                    | "KMSInvalidStateException"
                    | "KMSNotFoundException",
                ),
                _,
            )
            | (_, "key_refused") => (
                SecretProblem::KeyUnusable { code: code() },
                "enable the key the secret is encrypted with, and allow kms:Decrypt on it to the connector's role".to_owned(),
            ),
            (_, "access_denied") => (
                SecretProblem::Denied {
                    action: action.to_owned(),
                },
                match kms_key {
                    Some(key) => format!(
                        "allow {action} on the secret to the connector's role, and kms:Decrypt on the key {key}"
                    ),
                    None => format!("allow {action} on the secret to the connector's role"),
                },
            ),
            (_, "throttled") => (
                SecretProblem::Throttled,
                "raise `secrets.keep_s`".to_owned(),
            ),
            (_, "credentials_expired" | "signature_refused" | "clock_skew" | "no_credentials") => {
                (SecretProblem::LoginRefused { what: code() }, hint())
            }
            (None, "unreachable" | "timeout") => (SecretProblem::Unreachable, hint()),
            (None, "unreadable_answer" | "request_invalid") => (
                SecretProblem::Garbled {
                    problem: "is not understood",
                },
                hint(),
            ),
            _ => (
                SecretProblem::Refused {
                    code: shown(&code()),
                    passing: error.class() == ErrorClass::Transient,
                },
                hint(),
            ),
        };
        self.error(problem, hint)
    }
}

/// The connector's own way to AWS, or that of an integration.
pub struct AwsRoad {
    sessions: Sessions,
    region: Option<String>,
}

impl AwsRoad {
    /// Takes the region where nobody names one.
    #[must_use]
    pub fn new(sessions: Sessions, region: Option<String>) -> Self {
        Self { sessions, region }
    }
}

#[async_trait]
impl AwsAccess for AwsRoad {
    async fn config(&self, region: Option<&str>, roles: &[Hop]) -> Result<SdkConfig, AwsError> {
        let region = region.or(self.region.as_deref()).ok_or_else(|| {
            AwsError::new(
                DESCRIBE,
                ErrorClass::NeedsOperator,
                "no_region",
                "no AWS region is known",
            )
            .with_hint("set `aws.region` or `AWS_REGION`, or name the secret by its whole ARN")
        })?;
        let chain = Chain {
            region: region.to_owned(),
            hops: roles.to_vec(),
        };
        self.sessions.config(&chain, &Purpose::Connector).await
    }
}
