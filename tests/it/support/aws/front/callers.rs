//! Owns who may call: keys, sessions and roles, and what their policies allow.

use super::chance::digest;
use super::clock::Moment;
use super::policies::{Context, Question, Verdict, identity};
use super::refusal::Refusal;
use aws_credential_types::Credentials;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

/// Marks keys of a user with every permission in the account whose number follows.
const KEY_MARK: &str = "AKIAFRNT";

/// Whoever holds a key.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    pub(super) secret: String,
    pub(super) token: Option<String>,
    pub(super) expires: Option<Moment>,
    pub(super) account: String,
    pub(super) arn: String,
    /// The role behind a session.
    pub(super) role: Option<String>,
    pub(super) source_identity: Option<String>,
    pub(super) tags: BTreeMap<String, String>,
    pub(super) transitive: BTreeSet<String>,
    /// What the user or role may do; `None` for everything.
    pub(super) policies: Option<Vec<Value>>,
    /// What the session was narrowed to.
    pub(super) session_policies: Vec<Value>,
}

/// A role that can be assumed.
#[derive(Debug, Clone)]
pub(crate) struct Role {
    pub(super) arn: String,
    pub(super) trust: Value,
    pub(super) policies: Option<Vec<Value>>,
    pub(super) longest: Duration,
}

impl Role {
    /// A role everybody in the other account may assume, tag and name a source for, and that may do everything.
    pub(crate) fn new(account: &str, name: &str, trusted_account: &str) -> Self {
        Self {
            arn: format!("arn:aws:iam::{account}:role/{name}"),
            trust: json!({"Statement": [{
                "Effect": "Allow",
                "Principal": {"AWS": format!("arn:aws:iam::{trusted_account}:root")},
                "Action": ["sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity"],
            }]}),
            policies: None,
            longest: Duration::from_secs(3600),
        }
    }

    pub(crate) fn arn(&self) -> &str {
        &self.arn
    }

    pub(crate) fn trusting(mut self, policy: Value) -> Self {
        self.trust = policy;
        self
    }

    /// Asks for an external id.
    pub(crate) fn external_id(mut self, id: &str) -> Self {
        self.trust["Statement"][0]["Condition"] = json!({"StringEquals": {"sts:ExternalId": id}});
        self
    }

    /// Narrows the role to a policy, or widens it by one more.
    pub(crate) fn policy(mut self, policy: Value) -> Self {
        self.policies.get_or_insert_default().push(policy);
        self
    }

    pub(crate) fn longest_session(mut self, longest: Duration) -> Self {
        self.longest = longest;
        self
    }
}

/// Everybody the front knows.
#[derive(Debug, Default)]
pub(super) struct Callers {
    keys: HashMap<String, Caller>,
    pub(super) roles: BTreeMap<String, Role>,
}

/// Returns a key of a user with every permission in an account.
pub(super) fn key_of_account(account: &str) -> Credentials {
    let id = format!("{KEY_MARK}{account}");
    let secret = digest(&["secret", &id]);
    Credentials::new(id, secret, None, None, "front")
}

impl Callers {
    pub(super) fn of_key(&self, key: &str) -> Option<Caller> {
        if let Some(caller) = self.keys.get(key) {
            return Some(caller.clone());
        }
        let account = key.strip_prefix(KEY_MARK)?.to_owned();
        Some(Caller {
            secret: key_of_account(&account).secret_access_key().to_owned(),
            token: None,
            expires: None,
            arn: format!("arn:aws:iam::{account}:user/tester"),
            account,
            role: None,
            source_identity: None,
            tags: BTreeMap::new(),
            transitive: BTreeSet::new(),
            policies: None,
            session_policies: Vec::new(),
        })
    }

    /// Takes in a session, or a user with policies of its own, under a key.
    pub(super) fn add(&mut self, key: &str, caller: Caller) {
        self.keys.insert(key.to_owned(), caller);
    }

    /// Ends every session of a role that is gone.
    pub(super) fn end_sessions_of(&mut self, role: &str) {
        self.keys
            .retain(|_, caller| caller.role.as_deref() != Some(role));
    }
}

impl Caller {
    /// Tells whether every policy allows an action on a resource.
    pub(super) fn may(
        &self,
        action: &str,
        resource: &str,
        context: &Context,
    ) -> Result<(), Refusal> {
        let context = self.context(context);
        let question = Question {
            action,
            resource,
            context: &context,
            principals: &[],
        };
        let mut verdicts = Vec::new();
        if let Some(policies) = &self.policies {
            verdicts.push(identity(policies, &question));
        }
        if !self.session_policies.is_empty() {
            verdicts.push(identity(&self.session_policies, &question));
        }
        if verdicts.iter().all(|verdict| *verdict == Verdict::Allowed) {
            return Ok(());
        }
        let explicit = verdicts.contains(&Verdict::Denied);
        Err(Refusal::denied(&self.arn, action, resource, explicit))
    }

    /// Adds what every request of this caller carries.
    pub(super) fn context(&self, more: &Context) -> Context {
        let mut context = more.clone();
        let principal = self.role.as_ref().unwrap_or(&self.arn);
        context.insert("aws:PrincipalArn".to_owned(), vec![principal.clone()]);
        context.insert(
            "aws:PrincipalAccount".to_owned(),
            vec![self.account.clone()],
        );
        if let Some(source) = &self.source_identity {
            context.insert("aws:SourceIdentity".to_owned(), vec![source.clone()]);
        }
        for (key, value) in &self.tags {
            context.insert(format!("aws:PrincipalTag/{key}"), vec![value.clone()]);
        }
        context
    }

    /// Returns the names a trust policy may know the caller by, its own first.
    pub(super) fn names(&self) -> Vec<String> {
        let mut names = vec![self.arn.clone()];
        names.extend(self.role.clone());
        names.push(format!("arn:aws:iam::{}:root", self.account));
        names.push(self.account.clone());
        names
    }
}
