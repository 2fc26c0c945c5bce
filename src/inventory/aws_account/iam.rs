//! Owns the lists of IAM roles, groups and policies. Never says what a policy allows.

use super::{Part, Walk};
use crate::aws::AwsError;
use crate::domain::{InventoryRecord, ResourceKind};
use crate::inventory::aws_calls::{Pages, is_absent, tell};
use crate::inventory::{RecordSender, SourceError};
use aws_sdk_iam::Client;
use aws_sdk_iam::operation::list_policy_tags::ListPolicyTagsOutput;
use aws_sdk_iam::operation::list_role_tags::ListRoleTagsOutput;
use aws_sdk_iam::types::{Group, Policy, PolicyScopeType, Role, Tag};
use std::collections::BTreeMap;

/// Most entries of a page: IAM gives up to 1,000, and roles bring their trust policies along.
const PAGE: i32 = 100;
/// Where AWS itself keeps roles that nobody may be given: those of its services, and those of permission sets.
const MADE_BY_AWS: [&str; 2] = ["/aws-service-role/", "/aws-reserved/"];

impl Walk<'_> {
    /// Lists the roles people could be given.
    pub(super) async fn list_roles(
        &self,
        iam: &Client,
        records: &mut RecordSender,
    ) -> Result<(), SourceError> {
        const OPERATION: &str = "iam:ListRoles";
        let mut pages = Pages::of(OPERATION);
        while pages.more() {
            let ask = || {
                let call = iam.list_roles().max_items(PAGE);
                call.set_marker(pages.token()).send()
            };
            let answer = self.turns.ask(OPERATION, ask).await?;
            for role in answer.roles() {
                if MADE_BY_AWS.iter().any(|path| role.path().starts_with(path)) {
                    continue;
                }
                match self.role(iam, role).await {
                    // Deleted since the list was made.
                    Err(error) if is_absent(&error) => {}
                    record => records.send(record?).await?,
                }
            }
            pages.turn(next(answer.is_truncated(), answer.marker()))?;
        }
        Ok(())
    }

    async fn role(&self, iam: &Client, role: &Role) -> Result<InventoryRecord, AwsError> {
        let name = role.role_name();
        let place = (name, name, role.arn());
        let mut record = self.record(ResourceKind::AwsIamRole, &Part::Roles.name(), place);
        record.comment = role.description().map(str::to_owned);
        tell(&mut record, "path", Some(role.path()));
        let longest = role.max_session_duration().map(|time| time.to_string());
        tell(&mut record, "max_session_duration_s", longest.as_deref());
        let trust = role.assume_role_policy_document().map(document);
        tell(&mut record, "trust_policy", trust.as_deref());
        let call = iam.list_role_tags().role_name(name);
        let ask = |marker| call.clone().set_marker(marker).send();
        let keep = |page: ListRoleTagsOutput| {
            keep_tags(&mut record.tags, page.tags());
            page.marker.filter(|_| page.is_truncated)
        };
        self.turns.read("iam:ListRoleTags", ask, keep).await?;
        Ok(record)
    }

    /// Lists the groups.
    pub(super) async fn list_groups(
        &self,
        iam: &Client,
        records: &mut RecordSender,
    ) -> Result<(), SourceError> {
        const OPERATION: &str = "iam:ListGroups";
        let mut pages = Pages::of(OPERATION);
        while pages.more() {
            let ask = || {
                let call = iam.list_groups().max_items(PAGE);
                call.set_marker(pages.token()).send()
            };
            let answer = self.turns.ask(OPERATION, ask).await?;
            for group in answer.groups() {
                records.send(self.group(group)).await?;
            }
            pages.turn(next(answer.is_truncated(), answer.marker()))?;
        }
        Ok(())
    }

    fn group(&self, group: &Group) -> InventoryRecord {
        let name = group.group_name();
        let place = (name, name, group.arn());
        let mut record = self.record(ResourceKind::AwsIamGroup, &Part::Groups.name(), place);
        tell(&mut record, "path", Some(group.path()));
        record
    }

    /// Lists the customer's own policies, and those of AWS that something in the account has: there are more than a thousand of them.
    pub(super) async fn list_policies(
        &self,
        iam: &Client,
        records: &mut RecordSender,
    ) -> Result<(), SourceError> {
        self.list_policies_of(iam, PolicyScopeType::Local, records)
            .await?;
        self.list_policies_of(iam, PolicyScopeType::Aws, records)
            .await
    }

    async fn list_policies_of(
        &self,
        iam: &Client,
        scope: PolicyScopeType,
        records: &mut RecordSender,
    ) -> Result<(), SourceError> {
        const OPERATION: &str = "iam:ListPolicies";
        let ours = scope == PolicyScopeType::Local;
        let call = iam.list_policies().scope(scope).only_attached(!ours);
        let call = call.max_items(PAGE);
        let mut pages = Pages::of(OPERATION);
        while pages.more() {
            let ask = || call.clone().set_marker(pages.token()).send();
            let answer = self.turns.ask(OPERATION, ask).await?;
            for policy in answer.policies() {
                match self.policy(iam, policy, ours).await {
                    // Deleted since the list was made.
                    Err(error) if is_absent(&error) => {}
                    record => {
                        if let Some(record) = record? {
                            records.send(record).await?;
                        }
                    }
                }
            }
            pages.turn(next(answer.is_truncated(), answer.marker()))?;
        }
        Ok(())
    }

    async fn policy(
        &self,
        iam: &Client,
        policy: &Policy,
        ours: bool,
    ) -> Result<Option<InventoryRecord>, AwsError> {
        let Some(arn) = policy.arn() else {
            return Ok(None);
        };
        // One of ours may have the name of one of AWS's.
        let place = (arn, policy.policy_name().unwrap_or(arn), arn);
        let mut record = self.record(ResourceKind::AwsIamPolicy, &Part::Policies.name(), place);
        let flavour = if ours {
            "customer managed"
        } else {
            "AWS managed"
        };
        flavour.clone_into(&mut record.flavour);
        tell(&mut record, "path", policy.path());
        let version = policy.default_version_id();
        tell(&mut record, "default_version", version);
        if ours {
            let call = iam.list_policy_tags().policy_arn(arn);
            let ask = |marker| call.clone().set_marker(marker).send();
            let keep = |page: ListPolicyTagsOutput| {
                keep_tags(&mut record.tags, page.tags());
                page.marker.filter(|_| page.is_truncated)
            };
            self.turns.read("iam:ListPolicyTags", ask, keep).await?;
        }
        Ok(Some(record))
    }
}

fn next(is_truncated: bool, marker: Option<&str>) -> Option<&str> {
    marker.filter(|_| is_truncated)
}

fn keep_tags(tags: &mut BTreeMap<String, String>, page: &[Tag]) {
    let pairs = page.iter();
    tags.extend(pairs.map(|tag| (tag.key().to_owned(), tag.value().to_owned())));
}

/// Decodes a policy, which IAM gives in the form of a URL, and takes out the white space between its parts.
fn document(encoded: &str) -> String {
    let mut pairs = url::form_urlencoded::parse(encoded.as_bytes());
    let decoded = match (pairs.next(), pairs.next()) {
        (Some((text, rest)), None) if rest.is_empty() => text.into_owned(),
        // Not encoded after all.
        _ => encoded.to_owned(),
    };
    let read = serde_json::from_str::<serde_json::Value>(&decoded);
    read.map_or(decoded, |read| read.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_decoded_and_one_that_is_not_encoded_stays() {
        let encoded = "%7B%22Version%22%3A%20%222012-10-17%22%2C%20%22a%22%3A%20%22%2B%26%3D%22%7D";
        let read = r#"{"Version":"2012-10-17","a":"+&="}"#;
        assert_eq!(document(encoded), read);
        assert_eq!(document(r#"{"Version": "2012-10-17", "a": "+&="}"#), read);
        assert_eq!(document("no policy"), "no policy");
    }
}
