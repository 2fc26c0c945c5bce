//! Owns credentials in AWS Secrets Manager. Never asks for a value before it has seen the tag that allows it.

use super::body::{SHAPE, Spot};
use super::{Credential, MARK, SecretError, SecretProblem, SecretStore, Wanted};
use crate::domain::SecretPlace;
use crate::secret::Secret;
use async_trait::async_trait;
use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_secretsmanager::operation::describe_secret::DescribeSecretOutput;
use aws_types::SdkConfig;
use std::error::Error;
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
    /// Returns credentials, region and limits for calls in a region; without one, in the connector's own. Calls made with it
    /// are sent once: trying again is decided elsewhere.
    ///
    /// # Errors
    /// When no region is known or no role can be taken on.
    async fn config(&self, region: Option<&str>)
    -> Result<SdkConfig, Box<dyn Error + Send + Sync>>;
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
        let config = self.access.config(region).await.map_err(|error| {
            let problem = SecretProblem::LoginRefused {
                what: error.to_string(),
            };
            let hint =
                "give the connector an AWS role and a region, or name the secret by its whole ARN";
            SecretError::new(place.clone(), problem, hint)
        })?;
        let region = config.region().map(ToString::to_string);
        Ok(Asked {
            client: Client::new(&config),
            id,
            region: region.unwrap_or_default(),
            place,
        })
    }
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
        let described = described.map_err(|error| self.refused(DESCRIBE, None, &error))?;
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
            Err(error) => return Err(self.refused(GET, described.kms_key_id(), &error)),
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

    /// Judges by the code alone, and keeps nothing else: what the library prints of an error holds whole answers.
    fn refused<E: ProvideErrorMetadata, R>(
        &self,
        action: &str,
        kms_key: Option<&str>,
        error: &SdkError<E, R>,
    ) -> SecretError {
        let Some(code) = error.code() else {
            return self.unanswered(error);
        };
        let allow = match kms_key {
            Some(key) => format!(
                "allow {action} on the secret to the connector's role, and kms:Decrypt on the key {key}"
            ),
            None => format!("allow {action} on the secret to the connector's role"),
        };
        let problem = match code {
            "ResourceNotFoundException" => {
                let hint = format!(
                    "create the secret in region {}, or give its whole ARN when it is in another account",
                    self.region
                );
                return self.error(SecretProblem::Missing, hint);
            }
            "InvalidRequestException" => return self.deleted(),
            "AccessDeniedException" | "AccessDenied" => SecretProblem::Denied {
                action: action.to_owned(),
            },
            "DecryptionFailure"
            | "KMSAccessDeniedException"
            | "KMSDisabledException"
            | "KMSInvalidStateException"
            | "KMSNotFoundException" => {
                let hint = "enable the key the secret is encrypted with, and allow kms:Decrypt on it to the connector's role";
                let code = code.to_owned();
                return self.error(SecretProblem::KeyUnusable { code }, hint);
            }
            "ThrottlingException"
            | "Throttling"
            | "TooManyRequestsException"
            | "RequestLimitExceeded" => {
                return self.error(SecretProblem::Throttled, "raise `secrets.keep_s`");
            }
            "ExpiredTokenException"
            | "ExpiredToken"
            | "UnrecognizedClientException"
            | "InvalidClientTokenId"
            | "InvalidSignatureException"
            | "SignatureDoesNotMatch"
            | "MissingAuthenticationToken"
            | "IncompleteSignature" => {
                let hint = "check the connector's AWS role, and the clock of this machine";
                let what = code.to_owned();
                return self.error(SecretProblem::LoginRefused { what }, hint);
            }
            "InternalServiceError"
            | "InternalFailure"
            | "InternalServerError"
            | "ServiceUnavailable" => SecretProblem::Refused {
                code: code.to_owned(),
                passing: true,
            },
            _ => SecretProblem::Refused {
                code: crate::domain::shown(code),
                passing: false,
            },
        };
        self.error(problem, allow)
    }

    fn unanswered<E, R>(&self, error: &SdkError<E, R>) -> SecretError {
        let problem = if matches!(error, SdkError::ConstructionFailure(_)) {
            let what = "no AWS credentials".to_owned();
            SecretProblem::LoginRefused { what }
        } else if matches!(
            error,
            SdkError::ResponseError(_) | SdkError::ServiceError(_)
        ) {
            let problem = "is not understood";
            SecretProblem::Garbled { problem }
        } else {
            SecretProblem::Unreachable
        };
        let hint = format!(
            "check that this machine reaches AWS Secrets Manager in region {}, and that the connector has an AWS role",
            self.region
        );
        self.error(problem, hint)
    }
}
