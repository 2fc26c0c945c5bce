//! Owns what an account's integration can be set to. Never looks anything up.

use crate::aws::{Chain, Hop};
use crate::domain::{
    ConnectorId, ErrorClass, Integration, IntegrationId, InvalidValue, SettingsDigest, shown,
};
use crate::targets::TargetError;
use jiff::SignedDuration;

/// Every setting of an `aws-account`.
const KNOWN: [&str; 13] = [
    "region",
    "regions",
    "profile",
    "role_arn",
    "management_role_arn",
    "external_id",
    "user_tag",
    "credentials",
    "permissions_boundary_arn",
    "credentials_rotation_period_in_days",
    "credentials_cleanup_period_in_days",
    "connect_discovered",
    "enable_audit",
];
/// What the settings of databases that are found begin with; those are checked where the databases are.
const FOR_DATABASES: &str = "database.";
/// Name of the profile in people's configuration, where the settings name none.
const PROFILE: &str = "apono";
/// Longest periods that can be set, in days.
const MOST_DAYS: u16 = 365;
/// Age from which on a key is replaced at the next start, where the settings name none.
const ROTATION_DAYS: u16 = 90;

/// What people get to work with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Credentials {
    /// An access key and a console password.
    Both,
    Keys,
    Console,
}

impl Credentials {
    pub(super) fn has_keys(self) -> bool {
        self != Self::Console
    }

    pub(super) fn has_password(self) -> bool {
        self != Self::Keys
    }
}

/// Everything an integration of type `aws-account` can say, checked.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) integration: IntegrationId,
    pub(super) digest: SettingsDigest,
    pub(super) connector: ConnectorId,
    /// The way into the account; no role is assumed where the connector's own credentials are those of the account.
    pub(super) chain: Chain,
    /// Name of the profile in people's configuration.
    pub(super) profile: String,
    /// The tag whose value names the person an existing user belongs to.
    pub(super) user_tag: Option<String>,
    pub(super) credentials: Credentials,
    /// What no user of ours may exceed.
    pub(super) boundary: Option<String>,
    /// A key that is older is replaced at the next start.
    pub(super) rotation: SignedDuration,
    /// How long a user of ours is kept after its last grant.
    pub(super) clean_up: SignedDuration,
}

impl Settings {
    pub(super) fn parse(
        integration: &Integration,
        connector: &ConnectorId,
    ) -> Result<Self, TargetError> {
        let mut reading = Reading {
            integration,
            problems: Vec::new(),
        };
        let settings = reading.all(connector);
        if reading.problems.is_empty() {
            return Ok(settings);
        }
        let list: Vec<String> = reading.problems.iter().map(ToString::to_string).collect();
        let message = format!(
            "integration `{}`: {}",
            shown(&integration.name),
            list.join("; ")
        );
        Err(
            TargetError::new(ErrorClass::NeedsOperator, "settings_invalid", message)
                .hint("correct the integration's settings"),
        )
    }
}

/// The settings while they are read, with everything that is wrong.
struct Reading<'a> {
    integration: &'a Integration,
    problems: Vec<InvalidValue>,
}

impl<'a> Reading<'a> {
    fn all(&mut self, connector: &ConnectorId) -> Settings {
        self.unknown();
        let chain = self.chain(connector);
        let flag = ["true", "false"];
        if let Some(text) = self
            .value("enable_audit")
            .filter(|text| !flag.contains(text))
        {
            self.wrong("enable_audit", text, "`true` or `false`");
        }
        Settings {
            integration: self.integration.id,
            digest: self.integration.digest(),
            connector: connector.clone(),
            chain,
            profile: self.profile(),
            user_tag: self.user_tag(),
            credentials: self.credentials(),
            boundary: self.boundary(),
            rotation: self.days("credentials_rotation_period_in_days", 1, ROTATION_DAYS),
            clean_up: self.days("credentials_cleanup_period_in_days", 0, 0),
        }
    }

    fn value(&self, key: &str) -> Option<&'a str> {
        let value = self.integration.settings.get(key)?.trim();
        (!value.is_empty()).then_some(value)
    }

    fn wrong(&mut self, key: &str, text: &str, expected: &str) {
        let problem = format!("is `{}`, must be {expected}", shown(text));
        self.problems
            .push(InvalidValue::new(format!("`settings.{key}`"), problem));
    }

    fn unknown(&mut self) {
        let settings = self.integration.settings.keys();
        let is_known =
            |key: &String| KNOWN.contains(&key.as_str()) || key.starts_with(FOR_DATABASES);
        for key in settings.filter(|key| !is_known(key)) {
            let known: Vec<_> = KNOWN.iter().map(|key| format!("`{key}`")).collect();
            let problem = format!("is not known, `{}` knows {}", super::KIND, known.join(", "));
            let what = format!("`settings.{}`", shown(key));
            self.problems.push(InvalidValue::new(what, problem));
        }
    }

    fn chain(&mut self, connector: &ConnectorId) -> Chain {
        if self.value("region").is_none() {
            let problem = "is absent, must be a region such as `eu-west-1`";
            self.problems
                .push(InvalidValue::new("`settings.region`", problem));
        }
        let external_id = self.value("external_id").unwrap_or(connector.as_str());
        let roles = ["management_role_arn", "role_arn"].into_iter();
        let chain = Chain {
            region: self.value("region").unwrap_or("us-east-1").to_owned(),
            hops: roles
                .filter_map(|key| self.value(key))
                .map(|role_arn| Hop {
                    role_arn: role_arn.to_owned(),
                    external_id: Some(external_id.to_owned()),
                })
                .collect(),
        };
        self.problems.extend(chain.check().err());
        chain
    }

    fn profile(&mut self) -> String {
        let profile = self.value("profile").unwrap_or(PROFILE);
        let fits = profile.len() <= 64
            && profile
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"_.@+-".contains(&b));
        if !fits {
            let expected = "1 to 64 letters, digits or `_.@+-`";
            self.wrong("profile", profile, expected);
        }
        profile.to_owned()
    }

    fn user_tag(&mut self) -> Option<String> {
        let key = self.value("user_tag")?;
        let fits = key.len() <= 128
            && !key.starts_with("apono-connector")
            && !key.starts_with("apono-principal")
            && key
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b" _.:/=+@-".contains(&b));
        if !fits {
            self.wrong("user_tag", key, "the key of a tag, such as `apono-user`");
        }
        Some(key.to_owned())
    }

    fn credentials(&mut self) -> Credentials {
        match self.value("credentials") {
            None | Some("both") => Credentials::Both,
            Some("keys") => Credentials::Keys,
            Some("console") => Credentials::Console,
            Some(text) => {
                self.wrong("credentials", text, "`both`, `keys` or `console`");
                Credentials::Keys
            }
        }
    }

    fn boundary(&mut self) -> Option<String> {
        let arn = self.value("permissions_boundary_arn")?;
        if !is_policy_arn(arn) {
            let expected = "the ARN of a managed policy, `arn:aws:iam::123456789012:policy/name`";
            self.wrong("permissions_boundary_arn", arn, expected);
        }
        Some(arn.to_owned())
    }

    fn days(&mut self, key: &str, least: u16, usual: u16) -> SignedDuration {
        let text = self.value(key);
        let days = text.map_or(Some(usual), |text| {
            let days = text.parse::<u16>().ok();
            days.filter(|days| (least..=MOST_DAYS).contains(days))
        });
        if let (None, Some(text)) = (days, text) {
            self.wrong(key, text, &format!("a whole number, {least}..={MOST_DAYS}"));
        }
        SignedDuration::from_hours(24 * i64::from(days.unwrap_or(usual)))
    }
}

/// Tells whether a text can be the ARN of a managed policy, of AWS or of an account. Nothing in it can be taken for a pattern.
pub(super) fn is_policy_arn(arn: &str) -> bool {
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    let ["arn", partition, "iam", "", account, policy] = parts.as_slice() else {
        return false;
    };
    let is_account = account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit());
    partition.starts_with("aws")
        && (*account == "aws" || is_account)
        && policy.strip_prefix("policy/").is_some_and(|name| {
            !name.is_empty()
                && name
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"/_+=,.@-".contains(&b))
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::IntegrationState;

    fn parse(settings: &[(&str, &str)]) -> Result<Settings, String> {
        let integration = Integration {
            id: IntegrationId::new(uuid::Uuid::nil()),
            name: "shop".to_owned(),
            kind: super::super::KIND.to_owned(),
            settings: settings
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
            secret: None,
            state: IntegrationState::Active,
        };
        let connector = ConnectorId::parse("c-1").unwrap();
        Settings::parse(&integration, &connector).map_err(|error| error.to_string())
    }

    #[test]
    fn a_region_is_enough_and_the_rest_has_safe_defaults() {
        let settings = parse(&[("region", "eu-west-1")]).unwrap();
        assert_eq!(settings.profile, "apono");
        assert!(settings.chain.hops.is_empty());
        assert_eq!(settings.credentials, Credentials::Both);
        assert_eq!(settings.user_tag, None);
        assert_eq!(settings.clean_up, SignedDuration::ZERO);
        let hop = parse(&[
            ("region", "eu-west-1"),
            ("role_arn", "arn:aws:iam::123456789012:role/apono-member"),
        ]);
        let hops = hop.unwrap().chain.hops;
        assert_eq!(hops[0].external_id.as_deref(), Some("c-1"));
    }

    #[test]
    fn every_problem_is_told_at_once_and_by_key() {
        let problems = parse(&[
            ("profile", "my profile"),
            ("role_arn", "apono"),
            ("user_tag", "apono-principal"),
            ("credentials", "none"),
            ("permissions_boundary_arn", "arn:aws:iam::1:policy/*"),
            ("credentials_rotation_period_in_days", "0"),
            ("credentials_cleanup_period_in_days", "soon"),
            ("enable_audit", "yes"),
            ("colour", "blue"),
        ]);
        insta::assert_snapshot!(problems.unwrap_err().replace("; ", "\n"), @r"
        integration `shop`: `settings.colour` is not known, `aws-account` knows `region`, `regions`, `profile`, `role_arn`, `management_role_arn`, `external_id`, `user_tag`, `credentials`, `permissions_boundary_arn`, `credentials_rotation_period_in_days`, `credentials_cleanup_period_in_days`, `connect_discovered`, `enable_audit`
        `settings.region` is absent, must be a region such as `eu-west-1`
        role ARN is `apono`, must be `arn:aws:iam::ACCOUNT:role/NAME`
        `settings.enable_audit` is `yes`, must be `true` or `false`
        `settings.profile` is `my profile`, must be 1 to 64 letters, digits or `_.@+-`
        `settings.user_tag` is `apono-principal`, must be the key of a tag, such as `apono-user`
        `settings.credentials` is `none`, must be `both`, `keys` or `console`
        `settings.permissions_boundary_arn` is `arn:aws:iam::1:policy/*`, must be the ARN of a managed policy, `arn:aws:iam::123456789012:policy/name`
        `settings.credentials_rotation_period_in_days` is `0`, must be a whole number, 1..=365
        `settings.credentials_cleanup_period_in_days` is `soon`, must be a whole number, 0..=365
        ");
    }

    #[test]
    fn an_arn_with_a_pattern_in_it_is_none() {
        assert!(is_policy_arn(
            "arn:aws:iam::aws:policy/job-function/Billing"
        ));
        assert!(is_policy_arn("arn:aws-us-gov:iam::123456789012:policy/a/b"));
        for bad in [
            "arn:aws:iam::aws:policy/*",
            "arn:aws:iam::aws:policy/",
            "arn:aws:iam::aws:role/x",
            "arn:aws:iam::12:policy/x",
            "arn:aws:s3:::bucket",
            "AdministratorAccess",
        ] {
            assert!(!is_policy_arn(bad), "{bad}");
        }
    }
}
