//! Owns the calls to IAM that look at what access is given to, and at all users at once. Never changes anything.

use super::document::decoded;
use super::mark::Tags;
use super::service::{Service, absent_is_none, read_tags};
use crate::aws::{AwsError, refused};
use crate::domain::ErrorClass;
use aws_sdk_iam::types::{EntityType, UserDetail};
use jiff::Timestamp;

/// Users of a page.
const USERS: i32 = 200;
/// Most pages: 5,000 users, the quota, take 25 when all are full.
const MOST_PAGES: usize = 500;

/// An IAM role, as far as a grant needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Role {
    pub(super) arn: String,
    /// Longest session in seconds.
    pub(super) session: i32,
    /// Who may assume it: a policy.
    pub(super) trust: String,
}

/// A managed policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ManagedPolicy {
    pub(super) version: String,
    pub(super) document: String,
}

/// A user with everything it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Holder {
    pub(super) name: String,
    pub(super) path: String,
    pub(super) tags: Tags,
    /// Inline policies: name and document.
    pub(super) policies: Vec<(String, String)>,
    /// ARNs.
    pub(super) attached: Vec<String>,
    pub(super) groups: Vec<String>,
    pub(super) made: Option<Timestamp>,
}

impl Service {
    pub(super) async fn role(&self, name: &str) -> Result<Option<Role>, AwsError> {
        let answer = self.iam.get_role().role_name(name).send().await;
        let answer = absent_is_none(answer.map_err(|error| refused("iam:GetRole", error)))?;
        Ok(answer.and_then(|answer| {
            let role = answer.role()?;
            Some(Role {
                arn: role.arn().to_owned(),
                session: role.max_session_duration().unwrap_or(3600),
                trust: decoded(role.assume_role_policy_document().unwrap_or_default()),
            })
        }))
    }

    pub(super) async fn has_group(&self, name: &str) -> Result<bool, AwsError> {
        let answer = self.iam.get_group().group_name(name).max_items(1);
        let answer = answer.send().await;
        let answer = answer.map_err(|error| refused("iam:GetGroup", error));
        Ok(absent_is_none(answer)?.is_some())
    }

    pub(super) async fn managed_policy(
        &self,
        arn: &str,
    ) -> Result<Option<ManagedPolicy>, AwsError> {
        let answer = self.iam.get_policy().policy_arn(arn).send().await;
        let answer = absent_is_none(answer.map_err(|error| refused("iam:GetPolicy", error)))?;
        let policy = answer.and_then(|answer| answer.policy);
        let Some(version) = policy.and_then(|policy| policy.default_version_id) else {
            return Ok(None);
        };
        let call = self.iam.get_policy_version().policy_arn(arn);
        let answer = call.version_id(&version).send().await;
        let answer = answer.map_err(|error| refused("iam:GetPolicyVersion", error));
        let found = absent_is_none(answer)?.and_then(|answer| answer.policy_version);
        Ok(found.map(|found| ManagedPolicy {
            document: decoded(found.document().unwrap_or_default()),
            version,
        }))
    }

    /// Walks over all users of the account, in pages, and keeps those that are wanted.
    pub(super) async fn holders(
        &self,
        wanted: impl Fn(&Holder) -> bool,
    ) -> Result<Vec<Holder>, AwsError> {
        const OPERATION: &str = "iam:GetAccountAuthorizationDetails";
        let mut kept = Vec::new();
        let mut page: Option<String> = None;
        for _ in 0..MOST_PAGES {
            let call = self
                .iam
                .get_account_authorization_details()
                .filter(EntityType::User)
                .max_items(USERS)
                .set_marker(page);
            let answer = call.send().await;
            let answer = answer.map_err(|error| refused(OPERATION, error))?;
            let users = answer.user_detail_list().iter();
            kept.extend(users.filter_map(holder).filter(&wanted));
            page = answer.marker().map(str::to_owned);
            if !answer.is_truncated() || page.is_none() {
                return Ok(kept);
            }
        }
        let message = format!("there are more than {MOST_PAGES} pages");
        Err(AwsError::new(
            OPERATION,
            ErrorClass::Bug,
            "list_endless",
            message,
        ))
    }
}

fn holder(user: &UserDetail) -> Option<Holder> {
    let policies = user.user_policy_list().iter().filter_map(|policy| {
        let document = decoded(policy.policy_document()?);
        Some((policy.policy_name()?.to_owned(), document))
    });
    let attached = user.attached_managed_policies().iter();
    Some(Holder {
        name: user.user_name()?.to_owned(),
        path: user.path().unwrap_or("/").to_owned(),
        tags: read_tags(user.tags()),
        policies: policies.collect(),
        attached: attached
            .filter_map(|policy| policy.policy_arn().map(str::to_owned))
            .collect(),
        groups: user.group_list().to_vec(),
        made: user
            .create_date()
            .and_then(|made| Timestamp::from_second(made.secs()).ok()),
    })
}
