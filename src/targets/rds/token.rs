//! Owns the tokens by which the connector logs in: signed here, good for 15 minutes, one per connection. Never logs one, never keeps one.

use super::finder::{Finder, RdsAccess, unanswered};
use crate::domain::ErrorClass;
use crate::secret::Secret;
use crate::targets::postgres::{
    CredentialSource, DatabaseCredential, LookupError, ServerAddress, ServerSource,
};
use async_trait::async_trait;
use aws_sdk_rds::auth_token::{AuthTokenGenerator, Config};
use std::sync::Arc;

/// Makes tokens for one database user.
pub(super) struct IamTokens {
    username: String,
    finder: Arc<Finder>,
    access: Arc<dyn RdsAccess>,
}

impl IamTokens {
    pub(super) fn new(username: String, finder: Arc<Finder>, access: Arc<dyn RdsAccess>) -> Self {
        Self {
            username,
            finder,
            access,
        }
    }
}

#[async_trait]
impl CredentialSource for IamTokens {
    async fn fetch(&self) -> Result<DatabaseCredential, LookupError> {
        let server = self.finder.find().await?;
        self.fetch_for(&server).await
    }

    async fn fetch_for(&self, server: &ServerAddress) -> Result<DatabaseCredential, LookupError> {
        self.finder.check_iam().await?;
        let config = self.access.config().await.map_err(unanswered)?;
        let region = config.region().cloned();
        let unsigned = |problem: String| {
            LookupError::new(ErrorClass::NeedsOperator, problem)
                .with_hint("give the connector an AWS role that may `rds-db:connect` as this user")
        };
        // For the name RDS knows, whatever way leads there.
        let wanted = Config::builder()
            .hostname(&server.host)
            .port(u64::from(server.port))
            .username(&self.username)
            .region(region.ok_or_else(|| unsigned("no AWS region to sign for".to_owned()))?)
            .build()
            .map_err(|_| unsigned("no token could be made".to_owned()))?;
        let token = AuthTokenGenerator::new(wanted).auth_token(&config).await;
        // The library's error may show credentials.
        let token = token
            .map_err(|_| unsigned("no token could be signed: no AWS credentials".to_owned()))?;
        Ok(DatabaseCredential {
            username: self.username.clone(),
            password: Secret::new(token.as_str().to_owned()),
            host: None,
        })
    }
}
