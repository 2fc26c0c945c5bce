//! Owns what the inventory of an AWS account is made of, from the settings of its integration. Asks nobody.

use crate::aws::{Chain, Hop, Sessions};
use crate::domain::{ConnectorId, ErrorClass, Integration, shown};
use crate::inventory::{AccountListing, AwsAccount, FoundDatabases, MemberDatabases};
use crate::targets::{TargetError, rds};
use std::collections::BTreeMap;

/// Regions to list beside or instead of `region`, apart by commas.
const REGIONS: &str = "regions";
/// Name of the role in the member accounts of an organization.
const MEMBER_ROLE: &str = "member_role_name";
/// Most regions: there are fewer than 40.
const MOST_REGIONS: usize = 40;
/// Settings with this in front are for every database that is found, without it.
const FOR_DATABASES: &str = "database.";
/// Settings that lead into an account, the first role first; a database that is found there is reached the same way.
const ROLES: [&str; 2] = ["management_role_arn", "role_arn"];
const EXTERNAL_ID: &str = "external_id";

/// Makes the walk over an account.
pub(super) fn source(
    integration: &Integration,
    connector: &ConnectorId,
    sessions: Sessions,
) -> Result<AwsAccount, TargetError> {
    let roads = roads(integration, connector);
    let chain = Chain {
        region: integration
            .settings
            .get("region")
            .cloned()
            .unwrap_or_default(),
        hops: hops(&roads),
    };
    chain
        .check()
        .map_err(|invalid| refused(integration, invalid.to_string()))?;
    Ok(AwsAccount::new(AccountListing {
        integration: integration.id,
        regions: regions(integration, &chain.region)?,
        chain,
        sessions,
        found: found(integration, roads),
    }))
}

/// Reads the settings that lead into the account. The external id is the connector's id where none is set.
fn roads(integration: &Integration, connector: &ConnectorId) -> BTreeMap<String, String> {
    let value = |key: &str| integration.settings.get(key).map(|text| text.trim());
    let roles = ROLES.into_iter().filter_map(|key| Some((key, value(key)?)));
    let mut roads: BTreeMap<String, String> = roles
        .filter(|(_, arn)| !arn.is_empty())
        .map(|(key, arn)| (key.to_owned(), arn.to_owned()))
        .collect();
    if !roads.is_empty() {
        let id = value(EXTERNAL_ID).filter(|id| !id.is_empty());
        let id = id.unwrap_or(connector.as_str()).to_owned();
        roads.insert(EXTERNAL_ID.to_owned(), id);
    }
    roads
}

fn hops(roads: &BTreeMap<String, String>) -> Vec<Hop> {
    let roles = ROLES.into_iter().filter_map(|key| roads.get(key));
    roles
        .map(|role_arn| Hop {
            role_arn: role_arn.clone(),
            external_id: roads.get(EXTERNAL_ID).cloned(),
        })
        .collect()
}

/// Reads what is to be listed beside what no region has.
pub(super) fn regions(integration: &Integration, home: &str) -> Result<Vec<String>, TargetError> {
    let text = integration
        .settings
        .get(REGIONS)
        .map_or(home, String::as_str);
    let mut regions: Vec<String> = Vec::new();
    for region in text.split(|c: char| c == ',' || c.is_whitespace()) {
        if region.is_empty() || regions.iter().any(|known| known == region) {
            continue;
        }
        let fits = region.len() <= 32
            && region
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if !fits || regions.len() >= MOST_REGIONS {
            let problem = format!(
                "`{REGIONS}` holds `{}`, must hold at most {MOST_REGIONS} regions such as `eu-west-1`, apart by commas",
                shown(region)
            );
            return Err(refused(integration, problem));
        }
        regions.push(region.to_owned());
    }
    Ok(regions)
}

/// Says what integrations of databases found in an integration have in common: what is set for all of them, and the way there.
pub(super) fn found(integration: &Integration, roads: BTreeMap<String, String>) -> FoundDatabases {
    let mut settings = BTreeMap::new();
    for (key, value) in &integration.settings {
        if let Some(key) = key.strip_prefix(FOR_DATABASES) {
            settings.insert(key.to_owned(), value.clone());
        }
    }
    settings.extend(roads);
    FoundDatabases {
        kind: rds::KIND,
        settings,
    }
}

/// Says how the member accounts of an organization are looked into for databases; nothing where no role to do so is named.
pub(super) fn members(
    integration: &Integration,
    management: &Chain,
) -> Result<Option<MemberDatabases>, TargetError> {
    let role = integration
        .settings
        .get(MEMBER_ROLE)
        .map(|role| role.trim());
    let Some(role) = role.filter(|role| !role.is_empty()) else {
        return Ok(None);
    };
    let fits = role
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"/_+=,.@-".contains(&b));
    if !fits || role.starts_with('/') {
        let problem = format!(
            "`{MEMBER_ROLE}` is `{}`, must be the name of a role that each account has, `apono-connector` or `path/apono-connector`",
            shown(role)
        );
        return Err(refused(integration, problem));
    }
    Ok(Some(MemberDatabases {
        role: role.to_owned(),
        regions: regions(integration, &management.region)?,
        found: found(integration, BTreeMap::new()),
    }))
}

fn refused(integration: &Integration, problem: String) -> TargetError {
    TargetError::new(
        ErrorClass::NeedsOperator,
        "settings_invalid",
        format!("integration `{}`: {problem}", integration.id),
    )
    .hint("correct the integration's settings")
}
