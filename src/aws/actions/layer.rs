//! Owns the policies people deploy, made from the list: a role has the layers of its level and of every lower one, each a policy of its own.
//! Pure.

use super::scope::Condition;
use super::{Action, Feature, all};
use serde_json::{Map, Value, json};

/// One policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layer {
    /// The connector's own role, and the management account's, which enters member accounts.
    Sessions,
    /// An account is read.
    AccountInventory,
    /// Databases of an account are entered, with the credentials that are marked for it.
    Databases,
    /// IAM users of an account get access.
    AccountAccess,
    /// An organization is read.
    OrganizationRead,
    /// Permission sets are assigned: everything but the assigning itself, and all of the taking away.
    Assignments,
    /// Any permission set may be assigned.
    AnyPermissionSet,
    /// Only permission sets with a tag may be assigned.
    TaggedPermissionSets,
    /// Permission sets are assigned in the management account too.
    ManagementAccount,
    /// Permission sets are made, changed and removed.
    PermissionSets,
}

/// One statement that allows something.
#[derive(Debug, PartialEq, Eq)]
pub struct Statement {
    /// Unique within the policy.
    pub sid: &'static str,
    /// Sorted.
    pub actions: Vec<&'static str>,
    /// Patterns of ARNs, with placeholders.
    pub resources: &'static [&'static str],
    /// All must hold.
    pub conditions: &'static [Condition],
}

impl Layer {
    /// Every layer, lower ones before those that stand on them.
    pub const ALL: [Self; 10] = [
        Self::Sessions,
        Self::AccountInventory,
        Self::Databases,
        Self::AccountAccess,
        Self::OrganizationRead,
        Self::Assignments,
        Self::AnyPermissionSet,
        Self::TaggedPermissionSets,
        Self::ManagementAccount,
        Self::PermissionSets,
    ];

    /// Returns the stable name, also that of its file.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sessions => "sessions",
            Self::AccountInventory => "account-inventory",
            Self::Databases => "databases",
            Self::AccountAccess => "account-access",
            Self::OrganizationRead => "organization-read",
            Self::Assignments => "assignments",
            Self::AnyPermissionSet => "any-permission-set",
            Self::TaggedPermissionSets => "tagged-permission-sets",
            Self::ManagementAccount => "management-account",
            Self::PermissionSets => "permission-sets",
        }
    }

    /// Returns the features it allows, and those a role that has it is allowed already.
    fn features(self) -> (&'static [Feature], &'static [Feature]) {
        match self {
            Self::Sessions => (&[Feature::Sessions], &[]),
            Self::AccountInventory => (&[Feature::AccountInventory], &[]),
            Self::Databases => (
                &[Feature::Rds, Feature::SecretsManager],
                &[Feature::AccountInventory],
            ),
            Self::AccountAccess => (&[Feature::AccountAccess], &[Feature::AccountInventory]),
            Self::OrganizationRead => (&[Feature::OrganizationRead], &[]),
            Self::Assignments => (&[Feature::Assignments], &[Feature::OrganizationRead]),
            Self::AnyPermissionSet => (&[Feature::AnyPermissionSet], &[]),
            Self::TaggedPermissionSets => (&[Feature::TaggedPermissionSets], &[]),
            Self::ManagementAccount => (&[Feature::ManagementAccount], &[]),
            Self::PermissionSets => (
                &[Feature::PermissionSets],
                &[Feature::OrganizationRead, Feature::Assignments],
            ),
        }
    }

    /// Returns its statements: one for each scope, with all actions that have it.
    #[must_use]
    pub fn statements(self) -> Vec<Statement> {
        let (features, before) = self.features();
        let among = |action: &Action, of: &[Feature]| {
            action.features.iter().any(|feature| of.contains(feature))
        };
        let mut statements: Vec<Statement> = Vec::new();
        for action in all().filter(|one| among(one, features) && !among(one, before)) {
            for scope in action.scopes {
                let known = statements.iter_mut().find(|one| one.sid == scope.sid);
                match known {
                    Some(statement) => statement.actions.push(action.name),
                    None => statements.push(Statement {
                        sid: scope.sid,
                        actions: vec![action.name],
                        resources: scope.resources,
                        conditions: scope.conditions,
                    }),
                }
            }
        }
        for statement in &mut statements {
            statement.actions.sort_unstable();
        }
        statements
    }

    /// Returns the policy, with placeholders.
    #[must_use]
    pub fn document(self) -> Value {
        let statements: Vec<Value> = self.statements().iter().map(Statement::document).collect();
        json!({"Version": "2012-10-17", "Statement": statements})
    }
}

impl Statement {
    fn document(&self) -> Value {
        let mut document = json!({
            "Sid": self.sid,
            "Effect": "Allow",
            "Action": self.actions,
            "Resource": self.resources,
        });
        let mut conditions = Map::new();
        for condition in self.conditions {
            let operator = conditions
                .entry(condition.operator)
                .or_insert_with(|| json!({}));
            operator[condition.key] = json!(condition.values);
        }
        if !conditions.is_empty() {
            document["Condition"] = Value::Object(conditions);
        }
        document
    }
}

#[cfg(test)]
mod tests {
    use super::super::scope::{PLACEHOLDERS, Scope};
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn every_action_is_in_a_policy_and_nothing_else_is() {
        let mut given: Vec<&str> = Layer::ALL
            .into_iter()
            .flat_map(Layer::statements)
            .flat_map(|statement| statement.actions)
            .collect();
        given.sort_unstable();
        given.dedup();
        let mut listed: Vec<&str> = all().map(|action| action.name).collect();
        listed.sort_unstable();
        listed.dedup();
        assert_eq!(given, listed);
    }

    #[test]
    fn no_action_has_a_wildcard_and_no_name_stands_for_two_scopes() {
        let mut known: HashMap<&str, &Scope> = HashMap::new();
        for action in all() {
            assert!(!action.name.contains('*'));
            for scope in action.scopes {
                let first = known.entry(scope.sid).or_insert(scope);
                assert_eq!(*first, *scope, "`{}`", scope.sid);
                assert!(scope.sid.bytes().all(|b| b.is_ascii_alphanumeric()));
            }
        }
    }

    #[test]
    fn only_what_aws_cannot_narrow_counts_everywhere() {
        // From the service authorization reference: these know no resource, or are lists of all an account or organization has.
        let wide = [
            "iam:GetAccountAuthorizationDetails",
            "iam:ListGroups",
            "iam:ListPolicies",
            "iam:ListRoles",
            "organizations:DescribeOrganization",
            "organizations:ListAccounts",
            "organizations:ListRoots",
            "sso:ListInstances",
            "sts:GetCallerIdentity",
            "tag:GetResources",
        ];
        let mut found: Vec<&str> = Layer::ALL
            .into_iter()
            .flat_map(Layer::statements)
            .filter(|statement| statement.resources.contains(&"*"))
            .flat_map(|statement| statement.actions)
            .collect();
        found.sort_unstable();
        found.dedup();
        assert_eq!(found, wide);
    }

    #[test]
    fn every_placeholder_is_known() {
        for layer in Layer::ALL {
            let mut text = layer.document().to_string();
            for (name, value) in PLACEHOLDERS {
                text = text.replace(name, value);
            }
            assert!(!text.contains("${"), "{}: {text}", layer.as_str());
        }
    }

    #[test]
    fn the_policies_of_a_role_fit_into_it() {
        // All inline policies of a role together may have 10,240 characters.
        let management = [
            Layer::Sessions,
            Layer::OrganizationRead,
            Layer::Assignments,
            Layer::AnyPermissionSet,
            Layer::ManagementAccount,
            Layer::PermissionSets,
        ];
        let account = [
            Layer::Sessions,
            Layer::AccountInventory,
            Layer::Databases,
            Layer::AccountAccess,
        ];
        for role in [&management[..], &account] {
            let size: usize = role
                .iter()
                .map(|layer| layer.document().to_string().len())
                .sum();
            // The rest is for placeholders that are longer when filled.
            assert!(size < 9_000, "{size}");
        }
    }
}
