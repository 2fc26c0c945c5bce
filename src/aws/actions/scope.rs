//! Owns where and when an action is allowed: the resources and conditions of one statement of a policy. Pure.
//!
//! Texts hold placeholders that whoever deploys the policy fills in: see [`PLACEHOLDERS`].

/// What stands for the values of an installation, and what the page of permissions writes instead.
pub const PLACEHOLDERS: [(&str, &str); 6] = [
    ("${partition}", "aws"),
    ("${account}", "ACCOUNT"),
    ("${connector_id}", "CONNECTOR"),
    ("${organization_id}", "ORGANIZATION"),
    ("${database_user}", "apono_connector"),
    ("${user_boundary_arn}", "BOUNDARY"),
];

/// One statement: what it is called, on which resources it counts, and when.
#[derive(Debug, PartialEq, Eq)]
pub struct Scope {
    /// The statement's `Sid`, unique within a policy.
    pub sid: &'static str,
    /// Patterns of ARNs. An action that names several kinds of resource needs each of them, in this scope or in another one of its.
    pub resources: &'static [&'static str],
    /// All must hold.
    pub conditions: &'static [Condition],
}

/// One line of a statement's condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Condition {
    /// For example `StringEquals`.
    pub operator: &'static str,
    /// For example `aws:ResourceTag/apono-connector`.
    pub key: &'static str,
    /// One of them is enough.
    pub values: &'static [&'static str],
}

impl Condition {
    /// The key has exactly this value.
    pub(super) const fn is(key: &'static str, values: &'static [&'static str]) -> Self {
        Self {
            operator: "StringEquals",
            key,
            values,
        }
    }

    /// The key has a value of this form.
    pub(super) const fn like(key: &'static str, values: &'static [&'static str]) -> Self {
        Self {
            operator: "StringLike",
            key,
            values,
        }
    }

    /// Each value the request has for the key has this form.
    pub(super) const fn each_like(key: &'static str, values: &'static [&'static str]) -> Self {
        Self {
            operator: "ForAllValues:StringLike",
            key,
            values,
        }
    }
}

/// Actions AWS knows no narrower resource for.
pub(super) const ANYTHING: Scope = Scope {
    sid: "Anything",
    resources: &["*"],
    conditions: &[],
};

/// Returns the resources as the page shows them.
pub(super) fn resources_told(scopes: &[&Scope]) -> String {
    let all = scopes.iter().flat_map(|scope| scope.resources);
    let told: Vec<String> = all.map(|one| format!("`{}`", filled(one))).collect();
    told.join(", ")
}

/// Returns the conditions as the page shows them, empty where there are none.
pub(super) fn conditions_told(scopes: &[&Scope]) -> String {
    let all = scopes.iter().flat_map(|scope| scope.conditions);
    let told: Vec<String> = all
        .map(|one| {
            let values: Vec<String> = one.values.iter().map(|value| filled(value)).collect();
            format!("`{}` is `{}`", one.key, values.join("` or `"))
        })
        .collect();
    told.join(", ")
}

fn filled(text: &str) -> String {
    PLACEHOLDERS
        .iter()
        .fold(text.to_owned(), |text, (name, shown)| {
            text.replace(name, shown)
        })
}
