//! Owns declared permissions: what an integration wants permission sets of ours to hold, and what they are called. Never looks anything up.

use super::definition::{Boundary, CustomerPolicy, Definition};
use crate::domain::shown;
use jiff::SignedDuration;
use serde::Deserialize;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

/// Settings that declare a permission begin with this; its name follows.
pub(super) const PREFIX: &str = "permission.";
/// Largest declaration: 4 KiB, as much as a setting can hold. So an inline policy is always under AWS's 10,240 bytes.
const LARGEST: usize = 4 << 10;
/// AWS's quota of policies of one set, its own and the customer's together.
const MOST_POLICIES: usize = 20;
/// What AWS takes for a session: 1 to 12 hours.
const SESSIONS: std::ops::RangeInclusive<i64> = 3_600..=43_200;
const LONGEST_DESCRIPTION: usize = 700;
const LONGEST_POLICY_NAME: usize = 128;
const LONGEST_PATH: usize = 512;
const LONGEST_ARN: usize = 2_048;
/// What a set says of itself where its declaration says nothing.
const DESCRIPTION: &str =
    "Made by apono-connector for access with an end. Do not change or assign it.";
/// Letters of the hash in the name of a set of ours: 50 bits.
const HASH: usize = 10;
/// What AWS takes for the name of a permission set.
const LONGEST_NAME: usize = 32;
const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// A permission the integration declares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Declaration {
    pub(super) definition: Definition,
    /// Of the definition; two are the same exactly when sets need not be changed.
    pub(super) digest: String,
}

/// As it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    description: Option<String>,
    session_duration: Option<String>,
    #[serde(default)]
    managed_policies: Vec<String>,
    #[serde(default)]
    customer_managed_policies: Vec<CustomerPolicy>,
    inline_policy: Option<Map<String, Value>>,
    permissions_boundary: Option<Boundary>,
}

impl Declaration {
    /// Understands a declaration; the error is a sentence about it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text.len() > LARGEST {
            let bytes = text.len();
            return Err(format!("has {bytes} bytes, must have at most {LARGEST}"));
        }
        let written: Written = serde_json::from_str(text)
            .map_err(|error| format!("cannot be understood: {}", shown(&error.to_string())))?;
        let definition = written.check()?;
        let form = serde_json::to_vec(&definition).map_err(|error| error.to_string())?;
        let digest = Sha256::digest(form);
        let digest = digest.iter().take(16).map(|byte| format!("{byte:02x}"));
        Ok(Self {
            definition,
            digest: digest.collect(),
        })
    }
}

impl Written {
    fn check(self) -> Result<Definition, String> {
        let policies = self.managed_policies.len() + self.customer_managed_policies.len();
        if policies == 0 && self.inline_policy.is_none() {
            return Err("gives nothing: it must have at least one policy".to_owned());
        }
        if policies > MOST_POLICIES {
            return Err(format!(
                "has {policies} policies, AWS takes at most {MOST_POLICIES}"
            ));
        }
        let description = self.description.unwrap_or_else(|| DESCRIPTION.to_owned());
        check_description(&description)?;
        for arn in &self.managed_policies {
            check_arn("managed_policies", arn)?;
        }
        for policy in &self.customer_managed_policies {
            check_policy("customer_managed_policies", policy)?;
        }
        match &self.permissions_boundary {
            Some(Boundary::ManagedPolicy(arn)) => check_arn("permissions_boundary", arn)?,
            Some(Boundary::CustomerManagedPolicy(policy)) => {
                check_policy("permissions_boundary", policy)?;
            }
            None => {}
        }
        let inline = self.inline_policy.map(Value::Object);
        if let Some(policy) = &inline {
            check_inline(policy)?;
        }
        let definition = Definition {
            description: Some(description),
            session: Some(session(self.session_duration.as_deref().unwrap_or("PT1H"))?),
            managed: self.managed_policies.into_iter().collect(),
            customer: self.customer_managed_policies.into_iter().collect(),
            inline,
            boundary: self.permissions_boundary,
        };
        if definition.managed.len() + definition.customer.len() < policies {
            return Err("names a policy twice".to_owned());
        }
        Ok(definition)
    }
}

/// Returns a duration in the one form in which AWS gives it back.
fn session(text: &str) -> Result<String, String> {
    let proper = text.starts_with("PT") && !text.contains(char::is_whitespace);
    let span = proper
        .then(|| text.parse::<SignedDuration>().ok())
        .flatten();
    let whole = span.filter(|span| span.subsec_nanos() == 0 && SESSIONS.contains(&span.as_secs()));
    let seconds = whole.map(|span| span.as_secs()).ok_or_else(|| {
        format!(
            "`session_duration` is `{}`, must be a duration from PT1H to PT12H",
            shown(text)
        )
    })?;
    let mut form = "PT".to_owned();
    for (number, unit) in [
        (seconds / 3_600, 'H'),
        (seconds / 60 % 60, 'M'),
        (seconds % 60, 'S'),
    ] {
        if number > 0 {
            form.push_str(&format!("{number}{unit}"));
        }
    }
    Ok(form)
}

fn check_description(text: &str) -> Result<(), String> {
    let allowed = |c| matches!(c, '\t' | '\n' | '\r' | ' '..='~' | '\u{a1}'..='\u{ff}');
    if (1..=LONGEST_DESCRIPTION).contains(&text.chars().count()) && text.chars().all(allowed) {
        return Ok(());
    }
    Err(format!(
        "`description` must be 1 to {LONGEST_DESCRIPTION} characters of Latin-1"
    ))
}

/// Letters names of IAM are made of.
fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_+=,.@-".contains(&byte)
}

fn check_arn(key: &str, arn: &str) -> Result<(), String> {
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    let fits = match parts.as_slice() {
        ["arn", partition, "iam", "", "aws", policy] => {
            let path = policy.strip_prefix("policy/").unwrap_or_default();
            let partition = partition.strip_prefix("aws");
            partition.is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'))
                && path
                    .split('/')
                    .all(|part| !part.is_empty() && part.bytes().all(is_name_byte))
        }
        _ => false,
    };
    if fits && arn.len() <= LONGEST_ARN {
        return Ok(());
    }
    Err(format!(
        "`{key}` holds `{}`, must be the ARN of a policy of AWS such as `arn:aws:iam::aws:policy/ReadOnlyAccess`; the account's own are named in `customer_managed_policies`",
        shown(arn)
    ))
}

fn check_policy(key: &str, policy: &CustomerPolicy) -> Result<(), String> {
    let CustomerPolicy { name, path } = policy;
    let is_name =
        |text: &str, longest| (1..=longest).contains(&text.len()) && text.bytes().all(is_name_byte);
    if !is_name(name, LONGEST_POLICY_NAME) {
        return Err(format!(
            "`{key}` holds the name `{}`, must be 1 to {LONGEST_POLICY_NAME} letters, digits and `_+=,.@-`",
            shown(name)
        ));
    }
    let between = path
        .strip_prefix('/')
        .and_then(|rest| rest.strip_suffix('/'));
    let is_path = path == "/"
        || between.is_some_and(|parts| parts.split('/').all(|part| is_name(part, LONGEST_PATH)));
    if is_path && path.len() <= LONGEST_PATH {
        return Ok(());
    }
    Err(format!(
        "`{key}` holds the path `{}`, must be `/`, or begin and end with it",
        shown(path)
    ))
}

fn check_inline(policy: &Value) -> Result<(), String> {
    if policy.get("Statement").is_none() {
        return Err("`inline_policy` has no `Statement`".to_owned());
    }
    // AWS takes no others, and JSON needs none.
    if policy
        .to_string()
        .chars()
        .all(|c| matches!(c, ' '..='\u{ff}'))
    {
        return Ok(());
    }
    Err("`inline_policy` must be made of the characters of Latin-1".to_owned())
}

/// Returns the name of the set of ours that belongs to an owner: the beginning of the permission's, and a hash of all that makes it one.
pub(super) fn set_name(
    connector: &str,
    integration: &str,
    permission: &str,
    owner: &str,
) -> String {
    let mut hasher = Sha256::new();
    for part in [connector, integration, permission, owner] {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part.as_bytes());
    }
    let whole = hasher.finalize();
    let letters = whole.iter().take(HASH);
    let hash = letters.map(|byte| char::from(ALPHABET[usize::from(byte % 32)]));
    let room = LONGEST_NAME - HASH - 1;
    let head: String = permission.chars().take(room).collect();
    format!("{head}-{}", hash.collect::<String>())
}

/// Tells whether a set could be one of ours by its name. Only its marks say that it is.
pub(super) fn looks_made(name: &str) -> bool {
    name.rsplit_once('-').is_some_and(|(_, hash)| {
        hash.len() == HASH && hash.bytes().all(|byte| ALPHABET.contains(&byte))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const READ: &str = "arn:aws:iam::aws:policy/ReadOnlyAccess";

    #[test]
    fn a_declaration_is_understood_whole() {
        let text = r#"{"description": "Für Prüfer", "session_duration": "PT90M",
            "managed_policies": ["arn:aws-cn:iam::aws:policy/job-function/ViewOnlyAccess"],
            "customer_managed_policies": [{"name": "limits", "path": "/team/"}, {"name": "more"}],
            "inline_policy": {"Version": "2012-10-17", "Statement": []},
            "permissions_boundary": {"customer_managed_policy": {"name": "edge"}}}"#;
        let declaration = Declaration::parse(text).unwrap();
        let definition = &declaration.definition;
        assert_eq!(definition.session.as_deref(), Some("PT1H30M"));
        assert_eq!(definition.customer.len(), 2);
        assert_eq!(declaration.digest.len(), 32);
        let spaced = text.replace("PT90M", "PT1H30M").replace(", ", " , ");
        assert_eq!(Declaration::parse(&spaced), Ok(declaration.clone()));
        let other = Declaration::parse(&text.replace("edge", "ledge")).unwrap();
        assert_ne!(other.digest, declaration.digest);
    }

    #[test]
    fn hostile_declarations_are_refused_in_words() {
        let many: Vec<String> = (0..21)
            .map(|n| format!("\"arn:aws:iam::aws:policy/P{n}\""))
            .collect();
        let many = format!("{{\"managed_policies\": [{}]}}", many.join(","));
        let with = |more: &str| format!("{{\"managed_policies\": [\"{READ}\"], {more}}}");
        let deep = with(&format!(
            "\"inline_policy\": {{\"Statement\": {}{}}}",
            "[".repeat(1500),
            "]".repeat(1500)
        ));
        for (text, words) in [
            (String::new(), "cannot be understood"),
            ("[]".into(), "cannot be understood"),
            ("{}".into(), "gives nothing"),
            (
                with("\"managed_policys\": []"),
                "unknown field `managed_policys`",
            ),
            (
                with("\"description\": \"a\", \"description\": \"b\""),
                "duplicate field `description`",
            ),
            (with("\"description\": \"\""), "`description`"),
            (with("\"description\": \"\\u4e16\""), "`description`"),
            (with("\"session_duration\": \"PT59M59S\""), "PT1H to PT12H"),
            (with("\"session_duration\": \"PT12H1S\""), "PT1H to PT12H"),
            (with("\"session_duration\": \"-PT2H\""), "PT1H to PT12H"),
            (with("\"session_duration\": \"2h\""), "PT1H to PT12H"),
            (with("\"session_duration\": 3600"), "cannot be understood"),
            (with("\"inline_policy\": {}"), "no `Statement`"),
            (with("\"inline_policy\": \"{}\""), "cannot be understood"),
            (
                with("\"inline_policy\": {\"Statement\": \"\\u0100\"}"),
                "Latin-1",
            ),
            (with("\"permissions_boundary\": {}"), "cannot be understood"),
            (
                with("\"permissions_boundary\": {\"managed_policy\": \"x\"}"),
                "`permissions_boundary` holds `x`",
            ),
            (
                with("\"customer_managed_policies\": [{\"name\": \"a/b\"}]"),
                "holds the name `a/b`",
            ),
            (
                with("\"customer_managed_policies\": [{\"name\": \"a\", \"path\": \"x\"}]"),
                "holds the path `x`",
            ),
            (
                with("\"customer_managed_policies\": [{\"name\": \"a\", \"pfad\": \"/\"}]"),
                "unknown field `pfad`",
            ),
            (
                with("\"customer_managed_policies\": [{\"name\": \"a\"}, {\"name\": \"a\"}]"),
                "twice",
            ),
            (
                "{\"managed_policies\": [\"arn:aws:iam::222222222222:policy/own\"]}".into(),
                "must be the ARN of a policy of AWS",
            ),
            (
                "{\"managed_policies\": [\"arn:aws:iam::aws:policy/\"]}".into(),
                "must be the ARN of a policy of AWS",
            ),
            (many, "at most 20"),
            (deep, "cannot be understood"),
            (
                with(&format!("\"description\": \"{}\"", "x".repeat(5000))),
                "at most 4096",
            ),
        ] {
            let problem = Declaration::parse(&text).unwrap_err();
            assert!(
                problem.contains(words),
                "`{words}` is not in `{problem}`: {text}"
            );
        }
    }

    #[test]
    fn names_fit_and_differ_by_all_that_makes_a_set_one() {
        let long = "x".repeat(32);
        let name = |permission: &str, owner: &str| set_name("c", "i", permission, owner);
        let names = [
            name("Read", "1"),
            name("Read", "2"),
            name(&long, "1"),
            name(&long[..31], "1"),
            set_name("d", "i", "Read", "1"),
            set_name("c", "j", "Read", "1"),
        ];
        let different: std::collections::HashSet<_> = names.iter().collect();
        assert_eq!(different.len(), names.len());
        assert!(
            names
                .iter()
                .all(|name| name.len() <= 32 && looks_made(name))
        );
        assert!(names[0].starts_with("Read-"));
        for foreign in [
            "Read",
            "Read-",
            "Read-ABCDEFGHIJ",
            "Read-abcdefghi",
            "Read-abcdefgh01",
        ] {
            assert!(!looks_made(foreign), "{foreign}");
        }
    }
}
