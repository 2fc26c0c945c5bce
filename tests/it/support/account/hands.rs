//! Owns what an administrator of the account does and sees by hand.

use super::{Credentials, Given, House, ROOT_SECRET, s3};
use aws_sdk_iam::types::Tag;
use serde_json::{Value, json};

/// A policy that allows one action on everything, with so many characters besides.
fn allows(action: &str, padding: usize) -> String {
    json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Effect": "Allow",
            "Action": [action, format!("s3:{}", "x".repeat(padding))],
            "Resource": "*",
        }],
    })
    .to_string()
}

impl House {
    /// Makes a role that trusts the account.
    pub(crate) async fn make_role(&self, name: &str) -> String {
        let root = format!("arn:aws:iam::{}:root", self.account);
        self.make_role_trusting(name, &root).await
    }

    pub(crate) async fn make_role_trusting(&self, name: &str, whom: &str) -> String {
        let trust = json!({
            "Version": "2012-10-17",
            "Statement": [{
                "Effect": "Allow",
                "Principal": {"AWS": whom},
                "Action": "sts:AssumeRole",
            }],
        });
        let call = self.iam.create_role().role_name(name);
        let made = call.assume_role_policy_document(trust.to_string()).send();
        made.await.unwrap().role().unwrap().arn().to_owned()
    }

    /// Makes a managed policy that allows one action, with so many characters besides.
    pub(crate) async fn make_policy(&self, name: &str, action: &str, padding: usize) -> String {
        let call = self.iam.create_policy().policy_name(name);
        let made = call.policy_document(allows(action, padding)).send();
        let made = made.await.unwrap();
        made.policy().unwrap().arn().unwrap().to_owned()
    }

    /// Makes a group that may do one thing.
    pub(crate) async fn make_group(&self, name: &str, action: &str) {
        let made = self.iam.create_group().group_name(name).send().await;
        made.unwrap();
        let call = self.iam.put_group_policy().group_name(name);
        let call = call.policy_name("may").policy_document(allows(action, 1));
        call.send().await.unwrap();
    }

    pub(crate) async fn make_bucket(&self, name: &str) {
        let root = Credentials::new(&self.account, ROOT_SECRET, None, None, "test");
        assert_eq!(s3(&root, "PUT", &format!("/{name}")).await, 200);
    }

    /// Makes a user that is not ours, with a policy of its own, and returns its key.
    pub(crate) async fn make_person(&self, name: &str, tags: &[(&str, &str)]) -> Given {
        let tags = tags.iter().map(|(key, value)| {
            let tag = Tag::builder().key(*key).value(*value);
            tag.build().unwrap()
        });
        let call = self.iam.create_user().user_name(name);
        call.set_tags(Some(tags.collect())).send().await.unwrap();
        let call = self.iam.put_user_policy().user_name(name);
        let call = call
            .policy_name("own")
            .policy_document(allows("sns:ListTopics", 1));
        call.send().await.unwrap();
        let key = self.iam.create_access_key().user_name(name).send().await;
        let key = key.unwrap();
        let key = key.access_key().unwrap();
        Given::of(json!({
            "login": name,
            "access_key_id": key.access_key_id(),
            "secret_access_key": key.secret_access_key(),
        }))
    }

    /// Gives a user an inline policy of so many characters and more.
    pub(crate) async fn fill_policies(&self, user: &str, characters: usize) {
        let call = self.iam.put_user_policy().user_name(user);
        let call = call
            .policy_name("filler")
            .policy_document(allows("sns:ListTopics", characters));
        call.send().await.unwrap();
    }

    /// Gives a user a policy it has once more, under another name.
    pub(crate) async fn copy_policy(&self, user: &str, from: &str, to: &str) {
        let document = self.document(user, from).await.to_string();
        let call = self.iam.put_user_policy().user_name(user).policy_name(to);
        call.policy_document(document).send().await.unwrap();
    }

    pub(crate) async fn attach(&self, user: &str, arn: &str) {
        let call = self.iam.attach_user_policy().user_name(user);
        call.policy_arn(arn).send().await.unwrap();
    }

    pub(crate) async fn join(&self, user: &str, group: &str) {
        let call = self.iam.add_user_to_group().user_name(user);
        call.group_name(group).send().await.unwrap();
    }

    pub(crate) async fn untag(&self, user: &str, key: &str) {
        let call = self.iam.untag_user().user_name(user);
        call.tag_keys(key).send().await.unwrap();
    }

    /// Returns the names of a user's inline policies; nothing when there is no such user.
    pub(crate) async fn policies(&self, user: &str) -> Option<Vec<String>> {
        let listed = self.iam.list_user_policies().user_name(user).send().await;
        Some(listed.ok()?.policy_names().to_vec())
    }

    pub(crate) async fn attached(&self, user: &str) -> Vec<String> {
        let call = self.iam.list_attached_user_policies().user_name(user);
        let listed = call.send().await.unwrap();
        let policies = listed.attached_policies().iter();
        policies
            .map(|policy| policy.policy_arn().unwrap().to_owned())
            .collect()
    }

    pub(crate) async fn groups(&self, user: &str) -> Vec<String> {
        let listed = self.iam.list_groups_for_user().user_name(user).send().await;
        let listed = listed.unwrap();
        let groups = listed.groups().iter();
        groups.map(|group| group.group_name().to_owned()).collect()
    }

    /// Returns the ids of a user's access keys; none when there is no such user.
    pub(crate) async fn keys(&self, user: &str) -> Vec<String> {
        let listed = self.iam.list_access_keys().user_name(user).send().await;
        let Ok(listed) = listed else {
            return Vec::new();
        };
        let keys = listed.access_key_metadata().iter();
        keys.map(|key| key.access_key_id().unwrap().to_owned())
            .collect()
    }

    /// Returns an inline policy, as it is stored.
    pub(crate) async fn document(&self, user: &str, policy: &str) -> Value {
        let call = self.iam.get_user_policy().user_name(user);
        let read = call.policy_name(policy).send().await.unwrap();
        // Read as the value of a form's field: percent signs and all.
        let form = format!("document={}", read.policy_document());
        let mut fields = url::form_urlencoded::parse(form.as_bytes());
        serde_json::from_str(&fields.next().unwrap().1).unwrap()
    }

    pub(crate) async fn has_password(&self, user: &str) -> bool {
        let asked = self.iam.get_login_profile().user_name(user).send().await;
        asked.is_ok()
    }

    pub(crate) async fn has_user(&self, user: &str) -> bool {
        self.iam.get_user().user_name(user).send().await.is_ok()
    }

    pub(crate) async fn tags(&self, user: &str) -> Vec<(String, String)> {
        let listed = self.iam.list_user_tags().user_name(user).send().await;
        let tags = listed.unwrap().tags().to_vec();
        let pair = |tag: &Tag| (tag.key().to_owned(), tag.value().to_owned());
        tags.iter().map(pair).collect()
    }
}
