//! Owns what an organization's integration can be set to. Never looks anything up.

use super::declaration::{Declaration, PREFIX};
use super::note::Per;
use crate::aws::{Chain, Hop};
use crate::domain::{
    ConnectorId, ErrorClass, Integration, IntegrationId, Permission, SettingsDigest, shown,
};
use crate::targets::TargetError;
use jiff::SignedDuration;
use std::collections::{BTreeMap, BTreeSet};

/// Everything an integration of type `aws-organization` can say, checked.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) integration: IntegrationId,
    pub(super) digest: SettingsDigest,
    /// The way to the account that administers Identity Center, in its primary region.
    pub(super) chain: Chain,
    /// The portal people sign in at, without a slash at its end.
    pub(super) portal: Option<String>,
    /// Nothing starts in these OUs and what is below them.
    pub(super) excluded: BTreeSet<String>,
    pub(super) connector: ConnectorId,
    /// Permissions whose sets we make, by name.
    pub(super) declared: BTreeMap<String, Declaration>,
    /// For whom they are made.
    pub(super) per: Per,
    /// How long a person's set is kept unused.
    pub(super) keep_unused: SignedDuration,
}

/// Names of settings, for messages.
const SSO_REGION: &str = "sso_region";
const REGION: &str = "region";
const ROLE: &str = "management_role_arn";
const EXTERNAL_ID: &str = "management_external_id";
const PORTAL: &str = "sso_portal";
const EXCLUDED: &str = "exclude_ou_ids";
const PER: &str = "permission_set_per";
const KEEP_UNUSED: &str = "permission_set_keep_unused_s";
/// Every setting that has one name; those of databases that are found are read where they are found.
const KNOWN: [&str; 12] = [
    SSO_REGION,
    REGION,
    ROLE,
    EXTERNAL_ID,
    PORTAL,
    EXCLUDED,
    PER,
    KEEP_UNUSED,
    "member_role_name",
    "regions",
    "connect_discovered",
    "enable_audit",
];
/// What names of all other settings begin with.
const FAMILIES: [&str; 2] = [PREFIX, "database."];
/// A week.
const KEPT_UNUSED_S: i64 = 7 * 24 * 3600;
/// A year.
const LONGEST_UNUSED_S: i64 = 366 * 24 * 3600;

impl Settings {
    pub(super) fn parse(
        integration: &Integration,
        connector: &ConnectorId,
    ) -> Result<Self, TargetError> {
        refuse_unknown(integration)?;
        let get = |name: &str| {
            let value = integration.settings.get(name).map(|value| value.trim());
            value.filter(|value| !value.is_empty())
        };
        let region = get(SSO_REGION).or_else(|| get(REGION)).ok_or_else(|| {
            refused(integration, format!("`{SSO_REGION}` is missing"))
                .hint(format!("set `{SSO_REGION}` to the primary region of IAM Identity Center, for example `eu-west-1`"))
        })?;
        let role = get(ROLE).ok_or_else(|| {
            refused(integration, format!("`{ROLE}` is missing"))
                .hint(format!("set `{ROLE}` to the role in the management account, or in the delegated administrator's, that the connector's role may assume"))
        })?;
        let external_id = get(EXTERNAL_ID).unwrap_or(connector.as_str());
        let chain = Chain {
            region: region.to_owned(),
            hops: vec![Hop {
                role_arn: role.to_owned(),
                external_id: Some(external_id.to_owned()),
            }],
        };
        chain
            .check()
            .map_err(|invalid| refused(integration, invalid.to_string()))?;
        Ok(Self {
            integration: integration.id,
            digest: integration.digest(),
            chain,
            portal: get(PORTAL)
                .map(|url| portal(integration, url))
                .transpose()?,
            excluded: get(EXCLUDED)
                .map(|list| units(integration, list))
                .transpose()?
                .unwrap_or_default(),
            connector: connector.clone(),
            declared: declared(integration)?,
            per: match get(PER) {
                None | Some("grant") => Per::Grant,
                Some("person") => Per::Person,
                Some(other) => {
                    let other = shown(other);
                    let problem = format!("`{PER}` is `{other}`, must be `grant` or `person`");
                    return Err(refused(integration, problem));
                }
            },
            keep_unused: get(KEEP_UNUSED)
                .map_or(Ok(KEPT_UNUSED_S), |text| unused(integration, text))
                .map(SignedDuration::from_secs)?,
        })
    }

    /// Tells whether a setting says what sets of ours hold, and not which organization it is.
    pub(super) fn is_of_declarations(name: &str) -> bool {
        name.starts_with(PREFIX) || name == PER || name == KEEP_UNUSED
    }
}

/// A name nobody knows may be a known one misspelt: a unit meant to be excluded would not be.
fn refuse_unknown(integration: &Integration) -> Result<(), TargetError> {
    let is_known =
        |key: &str| KNOWN.contains(&key) || FAMILIES.iter().any(|family| key.starts_with(family));
    let Some(unknown) = integration.settings.keys().find(|key| !is_known(key)) else {
        return Ok(());
    };
    let known = KNOWN.map(|name| format!("`{name}`")).join(", ");
    let problem = format!(
        "`{}` is not known, `{}` knows {known}, and `{PREFIX}NAME` and `database.NAME`",
        shown(unknown),
        super::KIND
    );
    Err(refused(integration, problem))
}

fn declared(integration: &Integration) -> Result<BTreeMap<String, Declaration>, TargetError> {
    let settings = integration.settings.iter();
    let declared = settings.filter_map(|(key, text)| Some((key.strip_prefix(PREFIX)?, text)));
    declared
        .map(|(name, text)| {
            if !matches!(Permission::parse(name), Ok(Permission::Named(_))) {
                let problem = format!(
                    "`{PREFIX}{}` has no proper name: 1 to 32 letters, digits and `_+=,.@-`, and none of the fixed levels",
                    shown(name)
                );
                return Err(refused(integration, problem));
            }
            let declaration = Declaration::parse(text);
            let declaration = declaration
                .map_err(|problem| refused(integration, format!("`{PREFIX}{name}` {problem}")))?;
            Ok((name.to_owned(), declaration))
        })
        .collect()
}

fn unused(integration: &Integration, text: &str) -> Result<i64, TargetError> {
    let seconds = text.parse().ok();
    seconds
        .filter(|seconds| (0..=LONGEST_UNUSED_S).contains(seconds))
        .ok_or_else(|| {
            let problem = format!(
                "`{KEEP_UNUSED}` is `{}`, must be 0 to {LONGEST_UNUSED_S} seconds",
                shown(text)
            );
            refused(integration, problem)
        })
}

fn portal(integration: &Integration, url: &str) -> Result<String, TargetError> {
    let parsed = url::Url::parse(url).ok();
    if parsed.is_some_and(|url| url.scheme() == "https" && url.has_host()) {
        return Ok(url.trim_end_matches('/').to_owned());
    }
    let problem = format!(
        "`{PORTAL}` is `{}`, must be an https address such as `https://d-1234567890.awsapps.com/start`",
        shown(url)
    );
    Err(refused(integration, problem))
}

/// Understands a list of OU ids, apart by commas or white space.
fn units(integration: &Integration, list: &str) -> Result<BTreeSet<String>, TargetError> {
    let ids = list.split(|c: char| c == ',' || c.is_whitespace());
    ids.filter(|id| !id.is_empty())
        .map(|id| {
            let fits = id.starts_with("ou-")
                && id
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
            if fits {
                return Ok(id.to_owned());
            }
            let problem = format!(
                "`{EXCLUDED}` holds `{}`, must hold ids of organizational units such as `ou-ab12-cd345678`",
                shown(id)
            );
            Err(refused(integration, problem))
        })
        .collect()
}

fn refused(integration: &Integration, problem: String) -> TargetError {
    TargetError::new(
        ErrorClass::NeedsOperator,
        "settings_invalid",
        format!("integration `{}`: {problem}", integration.id),
    )
}
