//! Owns the calls to IAM that look at and change users: one request each. Never decides.

use super::document::decoded;
use super::mark::Tags;
use crate::aws::{AwsError, NotAfter, SdkConfig, refused};
use crate::domain::ErrorClass;
use aws_sdk_iam::Client;
use aws_sdk_iam::types::Tag;
use jiff::Timestamp;

/// Entries of a page: all a user can have.
pub(super) const PAGE: i32 = 100;

/// The client of one session.
#[derive(Debug, Clone)]
pub(super) struct Service {
    pub(super) iam: Client,
}

/// An IAM user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct User {
    pub(super) name: String,
    pub(super) path: String,
    pub(super) tags: Tags,
}

/// What a new user is made with.
pub(super) struct NewUser<'a> {
    pub(super) name: &'a str,
    pub(super) path: &'a str,
    pub(super) tags: Vec<(String, String)>,
    pub(super) boundary: Option<&'a str>,
}

impl Service {
    pub(super) fn new(config: &SdkConfig) -> Self {
        Self {
            iam: Client::new(config),
        }
    }

    pub(super) async fn user(&self, name: &str) -> Result<Option<User>, AwsError> {
        let answer = self.iam.get_user().user_name(name).send().await;
        let answer = answer.map_err(|error| refused("iam:GetUser", error));
        let answer = absent_is_none(answer)?;
        Ok(answer.and_then(|answer| {
            let user = answer.user()?;
            Some(User {
                name: user.user_name().to_owned(),
                path: user.path().to_owned(),
                tags: read_tags(user.tags()),
            })
        }))
    }

    pub(super) async fn create_user(
        &self,
        new: NewUser<'_>,
        signed_by: Timestamp,
    ) -> Result<(), AwsError> {
        const OPERATION: &str = "iam:CreateUser";
        let call = self
            .iam
            .create_user()
            .user_name(new.name)
            .path(new.path)
            .set_permissions_boundary(new.boundary.map(str::to_owned))
            .set_tags(Some(made_tags(OPERATION, new.tags)?));
        let sent = call.customize().interceptor(NotAfter::new(signed_by));
        let answer = sent.send().await;
        answer.map(drop).map_err(|error| refused(OPERATION, error))
    }

    pub(super) async fn tag(
        &self,
        user: &str,
        tags: Vec<(String, String)>,
    ) -> Result<(), AwsError> {
        const OPERATION: &str = "iam:TagUser";
        let tags = made_tags(OPERATION, tags)?;
        let call = self.iam.tag_user().user_name(user).set_tags(Some(tags));
        let answer = call.send().await;
        answer.map(drop).map_err(|error| refused(OPERATION, error))
    }

    pub(super) async fn untag(&self, user: &str, keys: Vec<String>) -> Result<(), AwsError> {
        let call = self.iam.untag_user().user_name(user);
        let answer = call.set_tag_keys(Some(keys)).send().await;
        let answer = answer.map_err(|error| refused("iam:UntagUser", error));
        absent_is_none(answer).map(drop)
    }

    /// Reads the inline policy of a user; nothing when there is none.
    pub(super) async fn policy(
        &self,
        user: &str,
        policy: &str,
    ) -> Result<Option<String>, AwsError> {
        let call = self.iam.get_user_policy().user_name(user);
        let answer = call.policy_name(policy).send().await;
        let answer = answer.map_err(|error| refused("iam:GetUserPolicy", error));
        let answer = absent_is_none(answer)?;
        Ok(answer.map(|answer| decoded(answer.policy_document())))
    }

    /// Lists the names of a user's inline policies.
    pub(super) async fn policies(&self, user: &str) -> Result<Vec<String>, AwsError> {
        let call = self.iam.list_user_policies().user_name(user);
        let answer = call.max_items(PAGE).send().await;
        let answer = answer.map_err(|error| refused("iam:ListUserPolicies", error));
        let answer = absent_is_none(answer)?;
        Ok(answer.map_or_else(Vec::new, |answer| answer.policy_names().to_vec()))
    }

    pub(super) async fn put_policy(
        &self,
        user: &str,
        (policy, document): (&str, &str),
        signed_by: Timestamp,
    ) -> Result<(), AwsError> {
        let call = self
            .iam
            .put_user_policy()
            .user_name(user)
            .policy_name(policy)
            .policy_document(document);
        let sent = call.customize().interceptor(NotAfter::new(signed_by));
        let answer = sent.send().await;
        answer
            .map(drop)
            .map_err(|error| refused("iam:PutUserPolicy", error))
    }

    pub(super) async fn delete_policy(&self, user: &str, policy: &str) -> Result<(), AwsError> {
        let call = self.iam.delete_user_policy().user_name(user);
        let answer = call.policy_name(policy).send().await;
        let answer = answer.map_err(|error| refused("iam:DeleteUserPolicy", error));
        absent_is_none(answer).map(drop)
    }

    /// Lists the ARNs of the managed policies a user has.
    pub(super) async fn attached(&self, user: &str) -> Result<Vec<String>, AwsError> {
        let call = self.iam.list_attached_user_policies().user_name(user);
        let answer = call.max_items(PAGE).send().await;
        let answer = answer.map_err(|error| refused("iam:ListAttachedUserPolicies", error));
        let answer = absent_is_none(answer)?;
        let attached = answer.iter().flat_map(|answer| answer.attached_policies());
        Ok(attached
            .filter_map(|policy| policy.policy_arn().map(str::to_owned))
            .collect())
    }

    pub(super) async fn attach(
        &self,
        user: &str,
        policy: &str,
        signed_by: Timestamp,
    ) -> Result<(), AwsError> {
        let call = self.iam.attach_user_policy().user_name(user);
        let call = call.policy_arn(policy).customize();
        let answer = call.interceptor(NotAfter::new(signed_by)).send().await;
        answer
            .map(drop)
            .map_err(|error| refused("iam:AttachUserPolicy", error))
    }

    pub(super) async fn detach(&self, user: &str, policy: &str) -> Result<(), AwsError> {
        let call = self.iam.detach_user_policy().user_name(user);
        let answer = call.policy_arn(policy).send().await;
        let answer = answer.map_err(|error| refused("iam:DetachUserPolicy", error));
        absent_is_none(answer).map(drop)
    }

    /// Lists the names of the groups a user is in.
    pub(super) async fn groups(&self, user: &str) -> Result<Vec<String>, AwsError> {
        let call = self.iam.list_groups_for_user().user_name(user);
        let answer = call.max_items(PAGE).send().await;
        let answer = answer.map_err(|error| refused("iam:ListGroupsForUser", error));
        let answer = absent_is_none(answer)?;
        let groups = answer.iter().flat_map(|answer| answer.groups());
        Ok(groups.map(|group| group.group_name().to_owned()).collect())
    }

    pub(super) async fn add_to_group(
        &self,
        user: &str,
        group: &str,
        signed_by: Timestamp,
    ) -> Result<(), AwsError> {
        let call = self.iam.add_user_to_group().user_name(user);
        let call = call.group_name(group).customize();
        let answer = call.interceptor(NotAfter::new(signed_by)).send().await;
        answer
            .map(drop)
            .map_err(|error| refused("iam:AddUserToGroup", error))
    }

    pub(super) async fn remove_from_group(&self, user: &str, group: &str) -> Result<(), AwsError> {
        let call = self.iam.remove_user_from_group().user_name(user);
        let answer = call.group_name(group).send().await;
        let answer = answer.map_err(|error| refused("iam:RemoveUserFromGroup", error));
        absent_is_none(answer).map(drop)
    }

    pub(super) async fn delete_user(&self, user: &str) -> Result<(), AwsError> {
        let answer = self.iam.delete_user().user_name(user).send().await;
        let answer = answer.map_err(|error| refused("iam:DeleteUser", error));
        absent_is_none(answer).map(drop)
    }
}

pub(super) fn read_tags(tags: &[Tag]) -> Tags {
    let pair = |tag: &Tag| (tag.key().to_owned(), tag.value().to_owned());
    tags.iter().map(pair).collect()
}

fn made_tags(operation: &str, tags: Vec<(String, String)>) -> Result<Vec<Tag>, AwsError> {
    let tag = |(key, value)| Tag::builder().key(key).value(value).build();
    let made: Result<Vec<_>, _> = tags.into_iter().map(tag).collect();
    made.map_err(|error| {
        AwsError::new(
            operation,
            ErrorClass::Bug,
            "request_invalid",
            error.to_string(),
        )
    })
}

pub(super) fn absent_is_none<T>(answer: Result<T, AwsError>) -> Result<Option<T>, AwsError> {
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.class() == ErrorClass::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
