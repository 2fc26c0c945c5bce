//! Owns sessions: the connector's own credentials, and the roles assumed from there. Never uses a credential that is about to expire, and never keeps one on disk.

mod cache;
mod hop;

use super::chain::{Caller, Chain, Purpose};
use super::wire::Wire;
use super::{AccountId, AwsError, refused};
use crate::clock::SharedClock;
use crate::domain::{ConnectorId, ErrorClass};
use aws_config::environment::EnvironmentVariableRegionProvider;
use aws_config::identity::IdentityCache;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::ProfileFileRegionProvider;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{AppName, BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};
use aws_smithy_async::time::TimeSource;
use cache::{Cache, Key, Session};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Longest time for one call, connection and body included. Longer ones are taken up again by whoever asked.
const LONGEST_CALL: Duration = Duration::from_secs(20);
/// How this program is named in the user agent of every call, and so in CloudTrail.
const APP_NAME: &str = concat!("apono-connector-", env!("CARGO_PKG_VERSION"));
/// Time after which credentials without an expiry are read again: 5 min, so that a rotated key is noticed.
const READ_AGAIN: Duration = Duration::from_secs(300);

/// How sessions are made.
#[derive(Debug, Clone)]
pub struct SessionsOptions {
    /// Names the connector in every session.
    pub connector: ConnectorId,
    /// Named profile of the shared configuration; none for the standard chain.
    pub profile: Option<String>,
    /// Tells when a session is over, and signs.
    pub clock: SharedClock,
    /// Where the connector's own credentials come from instead of the standard chain; for tests.
    pub base: Option<SharedCredentialsProvider>,
    /// Where all services are instead of at AWS; for tests. Elsewhere `AWS_ENDPOINT_URL` and `AWS_ENDPOINT_URL_<SERVICE>` say so.
    pub endpoint_url: Option<String>,
}

/// All sessions of the process. Cheap to clone; all clones share what is cached.
#[derive(Clone)]
pub struct Sessions {
    inner: Arc<Inner>,
}

struct Inner {
    options: SessionsOptions,
    wire: Wire,
    cache: Cache,
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions").finish_non_exhaustive()
    }
}

impl Sessions {
    /// Makes them. Nothing is read or sent yet.
    #[must_use]
    pub fn new(options: SessionsOptions) -> Self {
        let sleep = aws_smithy_async::rt::sleep::default_async_sleep();
        Self {
            inner: Arc::new(Inner {
                cache: Cache::new(Arc::clone(&options.clock)),
                options,
                wire: Wire::new(sleep),
            }),
        }
    }

    /// Returns the configuration for every client of a chain: credentials that renew themselves, region, endpoints, user agent, time-outs. The
    /// SDK does not try again by itself. The roles are assumed here, unless a session is at hand.
    ///
    /// # Errors
    /// When the chain cannot be one, there are no credentials, or a role cannot be assumed: the error names the role.
    pub async fn config(&self, chain: &Chain, purpose: &Purpose) -> Result<SdkConfig, AwsError> {
        chain.check().map_err(|error| {
            AwsError::new(
                "sts:AssumeRole",
                ErrorClass::NeedsOperator,
                "chain_invalid",
                error.to_string(),
            )
        })?;
        let key = Key {
            chain: chain.clone(),
            purpose: purpose.clone(),
        };
        self.credentials(&key).await?;
        let base = self.load(&chain.region).await;
        let provider = Renewing {
            sessions: self.clone(),
            key,
        };
        Ok(self.shaped(
            base,
            &chain.region,
            SharedCredentialsProvider::new(provider),
        ))
    }

    /// Asks AWS who a chain makes us, and compares the account with that of the last role.
    ///
    /// # Errors
    /// As [`Self::config`]; with reason `wrong_account` when the account is another than the role's.
    pub async fn caller(&self, chain: &Chain) -> Result<Caller, AwsError> {
        const OPERATION: &str = "sts:GetCallerIdentity";
        let config = self.config(chain, &Purpose::Connector).await?;
        let answer = aws_sdk_sts::Client::new(&config)
            .get_caller_identity()
            .send()
            .await
            .map_err(|error| refused(OPERATION, error))?;
        let strange = || {
            AwsError::new(
                OPERATION,
                ErrorClass::Transient,
                "unreadable_answer",
                "the answer names no account",
            )
        };
        let account =
            AccountId::parse(answer.account().unwrap_or_default()).map_err(|_| strange())?;
        let expected = chain.hops.last().and_then(super::chain::Hop::account);
        if let Some(expected) = expected.filter(|expected| *expected != account) {
            let message = format!("the role is in account {expected}, AWS says account {account}");
            let error = AwsError::new(
                OPERATION,
                ErrorClass::NeedsOperator,
                "wrong_account",
                message,
            );
            return Err(error.with_hint("check the role's ARN and `AWS_ENDPOINT_URL_STS`"));
        }
        Ok(Caller {
            account,
            arn: answer.arn().unwrap_or_default().to_owned(),
        })
    }

    /// Returns credentials that are good for some minutes at least.
    async fn credentials(&self, key: &Key) -> Result<Credentials, AwsError> {
        let renew = || self.renew(key);
        // Boxed, because a role is assumed from the session before it, which is found the same way.
        Box::pin(self.inner.cache.credentials(key, renew)).await
    }

    async fn renew(&self, key: &Key) -> Result<Session, AwsError> {
        match key.chain.before_last() {
            None => self.own_credentials(&key.chain.region).await,
            Some(_) => self.assume(key).await,
        }
    }

    /// The connector's own credentials, read anew each time: files and tokens change.
    async fn own_credentials(&self, region: &str) -> Result<Session, AwsError> {
        let now = self.inner.options.clock.now();
        let provider = self.load(region).await.credentials_provider();
        let read = match provider {
            Some(provider) => provider.provide_credentials().await,
            None => Err(CredentialsError::not_loaded_no_source()),
        };
        let credentials =
            read.map_err(|error| super::refusal::no_credentials("sts:AssumeRole", &error))?;
        Ok(Session::new(credentials, now, Some(READ_AGAIN)))
    }

    /// What the environment and the shared configuration say.
    async fn load(&self, region: &str) -> SdkConfig {
        let options = &self.inner.options;
        let mut profile = ProfileFileRegionProvider::builder();
        let mut loader = aws_config::defaults(BehaviorVersion::latest());
        if let Some(name) = &options.profile {
            profile = profile.profile_name(name);
            loader = loader.profile_name(name);
        }
        // Never the metadata service: the region of a chain is known, this one is for credentials only.
        let own_region = RegionProviderChain::first_try(EnvironmentVariableRegionProvider::new())
            .or_else(profile.build())
            .or_else(Region::new(region.to_owned()));
        loader = loader.region(own_region);
        if let Some(base) = &options.base {
            loader = loader.credentials_provider(base.clone());
        }
        if let Some(url) = &options.endpoint_url {
            loader = loader.endpoint_url(url);
        }
        loader.load().await
    }

    /// One policy for every client.
    fn shaped(
        &self,
        base: SdkConfig,
        region: &str,
        credentials: SharedCredentialsProvider,
    ) -> SdkConfig {
        let times = TimeoutConfig::builder()
            .operation_timeout(LONGEST_CALL)
            .operation_attempt_timeout(LONGEST_CALL)
            .build();
        let mut builder = base
            .into_builder()
            .region(Region::new(region.to_owned()))
            .credentials_provider(credentials)
            // What is cached is cached here, where it is renewed ahead.
            .identity_cache(IdentityCache::no_cache())
            .http_client(self.inner.wire.clone())
            .timeout_config(times)
            .retry_config(RetryConfig::disabled())
            // A wrong clock is told, not hidden: it decides when access ends.
            .disable_clock_skew_correction(true)
            .time_source(Signing(Arc::clone(&self.inner.options.clock)));
        builder.set_app_name(AppName::new(APP_NAME).ok());
        builder.build()
    }
}

/// The credentials of a chain, for the SDK: always those of the moment.
struct Renewing {
    sessions: Sessions,
    key: Key,
}

impl fmt::Debug for Renewing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Renewing").finish_non_exhaustive()
    }
}

impl ProvideCredentials for Renewing {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async move {
            self.sessions
                .credentials(&self.key)
                .await
                .map_err(CredentialsError::provider_error)
        })
    }
}

/// The time requests are signed with.
#[derive(Debug)]
struct Signing(SharedClock);

impl TimeSource for Signing {
    fn now(&self) -> SystemTime {
        SystemTime::from(self.0.now())
    }
}
