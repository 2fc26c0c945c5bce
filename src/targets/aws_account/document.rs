//! Owns the text of policies: each ends by itself at its grant's expiry. Pure.

use super::escape::unescaped;
use super::mark::whole;
use crate::domain::Permission;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

/// Most characters of all inline policies of a user together, white space not counted. Fixed by AWS.
pub(super) const MOST_INLINE: usize = 2048;

const NOW: &str = "aws:CurrentTime";
const BEFORE: &str = "DateLessThan";

/// Allows a role to be assumed.
pub(super) fn assume(role_arn: &str, until: Timestamp) -> String {
    allow(json!("sts:AssumeRole"), json!(role_arn), until)
}

/// What may be done on a bucket. Nobody gets what would outlive the grant: bucket policies, access control lists, replication, ownership.
fn bucket_actions(permission: Permission) -> &'static [&'static str] {
    match permission {
        Permission::ReadWrite => &[
            "s3:GetObject*",
            "s3:ListBucket*",
            "s3:GetBucketLocation",
            "s3:PutObject",
            "s3:PutObjectTagging",
            "s3:DeleteObject",
            "s3:AbortMultipartUpload",
            "s3:ListMultipartUploadParts",
        ],
        Permission::Admin => &[
            "s3:Get*",
            "s3:List*",
            "s3:PutObject",
            "s3:PutObjectTagging",
            "s3:DeleteObject*",
            "s3:RestoreObject",
            "s3:AbortMultipartUpload",
            "s3:PutLifecycleConfiguration",
            "s3:PutBucketVersioning",
            "s3:PutBucketTagging",
            "s3:PutBucketCORS",
            "s3:PutEncryptionConfiguration",
        ],
        Permission::ReadOnly
        | Permission::Member
        | Permission::Assume
        | Permission::Attach
        | Permission::Named(_) => &["s3:GetObject*", "s3:ListBucket*", "s3:GetBucketLocation"],
    }
}

/// Allows a bucket and what is in it to be used.
pub(super) fn bucket(
    partition: &str,
    name: &str,
    permission: Permission,
    until: Timestamp,
) -> String {
    let arn = format!("arn:{partition}:s3:::{name}");
    let inside = format!("{arn}/*");
    allow(
        json!(bucket_actions(permission)),
        json!([arn, inside]),
        until,
    )
}

/// Denies everything from a moment on: what a user of ours has by membership or attachment ends then, too.
pub(super) fn nothing_from(at: Timestamp) -> String {
    json!({
        "Version": "2012-10-17",
        "Statement": {
            "Effect": "Deny",
            "Action": "*",
            "Resource": "*",
            "Condition": {"DateGreaterThanEquals": {NOW: whole(at).to_string()}},
        },
    })
    .to_string()
}

/// Copies a policy with an end to each of its statements; nothing when it has a bound in time of its own, or is none.
pub(super) fn copy(document: &str, until: Timestamp) -> Option<String> {
    let source: Value = serde_json::from_str(document).ok()?;
    let version = source.get("Version").and_then(Value::as_str);
    let statements = match source.get("Statement")? {
        Value::Array(statements) => statements.clone(),
        one @ Value::Object(_) => vec![one.clone()],
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => return None,
    };
    let ended: Option<Vec<Value>> = statements
        .into_iter()
        .map(|statement| with_end(statement, until))
        .collect();
    // Without a version the meaning of variables is another one, so none is added.
    let mut copied = Map::new();
    if let Some(version) = version {
        copied.insert("Version".to_owned(), json!(version));
    }
    copied.insert("Statement".to_owned(), Value::Array(ended?));
    Some(Value::Object(copied).to_string())
}

/// Moves the end of a policy of ours; nothing when it is none.
pub(super) fn moved(document: &str, until: Timestamp) -> Option<String> {
    let mut document: Value = serde_json::from_str(document).ok()?;
    let statements = match document.get_mut("Statement")? {
        Value::Array(statements) => statements.iter_mut().collect::<Vec<_>>(),
        one @ Value::Object(_) => vec![one],
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => return None,
    };
    for statement in statements {
        let at = statement
            .get_mut("Condition")?
            .get_mut(BEFORE)?
            .get_mut(NOW)?;
        *at = json!(whole(until).to_string());
    }
    Some(document.to_string())
}

fn with_end(statement: Value, until: Timestamp) -> Option<Value> {
    let Value::Object(mut statement) = statement else {
        return None;
    };
    // A label only, and there is little room.
    statement.remove("Sid");
    let conditions = statement
        .entry("Condition")
        .or_insert_with(|| json!({}))
        .as_object_mut()?;
    let before = conditions
        .entry(BEFORE)
        .or_insert_with(|| json!({}))
        .as_object_mut()?;
    // Two values of one key mean either.
    if before.keys().any(|key| key.eq_ignore_ascii_case(NOW)) {
        return None;
    }
    before.insert(NOW.to_owned(), json!(whole(until).to_string()));
    Some(Value::Object(statement))
}

fn allow(action: Value, resource: Value, until: Timestamp) -> String {
    json!({
        "Version": "2012-10-17",
        "Statement": {
            "Effect": "Allow",
            "Action": action,
            "Resource": resource,
            "Condition": {BEFORE: {NOW: whole(until).to_string()}},
        },
    })
    .to_string()
}

/// Counts as AWS does: white space is free.
pub(super) fn size(document: &str) -> usize {
    document.chars().filter(|c| !c.is_whitespace()).count()
}

/// Returns from when on a policy of ours gives nothing; nothing when it has no such time.
pub(super) fn end_of(document: &str) -> Option<Timestamp> {
    let document: Value = serde_json::from_str(document).ok()?;
    let statement = document.get("Statement")?;
    let first = statement.get(0).unwrap_or(statement);
    let conditions = first.get("Condition")?;
    let at = [BEFORE, "DateGreaterThanEquals"]
        .into_iter()
        .find_map(|operator| conditions.get(operator)?.get(NOW)?.as_str());
    at?.parse().ok()
}

/// Tells whether two texts are the same policy.
pub(super) fn is_same(one: &str, other: &str) -> bool {
    let read = |text: &str| serde_json::from_str::<Value>(text).ok();
    read(one).is_some_and(|one| read(other) == Some(one))
}

/// Reads a document as IAM sends it: percent-encoded.
pub(super) fn decoded(text: &str) -> String {
    unescaped(text, '%').unwrap_or_else(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn until() -> Timestamp {
        "2030-01-01T12:00:00.75Z".parse().unwrap()
    }

    #[test]
    fn every_document_ends_by_itself_and_never_later_than_its_grant() {
        let role = assume("arn:aws:iam::123456789012:role/deploy", until());
        insta::assert_snapshot!(role, @r#"{"Statement":{"Action":"sts:AssumeRole","Condition":{"DateLessThan":{"aws:CurrentTime":"2030-01-01T12:00:00Z"}},"Effect":"Allow","Resource":"arn:aws:iam::123456789012:role/deploy"},"Version":"2012-10-17"}"#);
        insta::assert_snapshot!(nothing_from(until()), @r#"{"Statement":{"Action":"*","Condition":{"DateGreaterThanEquals":{"aws:CurrentTime":"2030-01-01T12:00:00Z"}},"Effect":"Deny","Resource":"*"},"Version":"2012-10-17"}"#);
        for document in [
            role,
            bucket("aws", "logs", Permission::ReadOnly, until()),
            bucket("aws-cn", "logs", Permission::Admin, until()),
            nothing_from(until()),
        ] {
            assert_eq!(
                end_of(&document),
                Some("2030-01-01T12:00:00Z".parse().unwrap()),
                "{document}"
            );
        }
    }

    #[test]
    fn no_level_of_a_bucket_gives_what_would_outlive_the_grant() {
        for permission in [
            Permission::ReadOnly,
            Permission::ReadWrite,
            Permission::Admin,
        ] {
            let document = bucket("aws", &"x".repeat(63), permission, until());
            for never in [
                "Policy",
                "Acl",
                "Replication",
                "Ownership",
                "AccessPoint",
                "s3:*\"",
                "s3:Put*",
            ] {
                assert!(!document.contains(never), "{permission}: {never}");
            }
            assert!(size(&document) < 800, "{permission}: {}", size(&document));
        }
    }

    #[test]
    fn a_copy_ends_every_statement_and_keeps_its_conditions() {
        let source = r#"{"Version": "2012-10-17", "Statement": [
            {"Sid": "One", "Effect": "Allow", "Action": "ec2:*", "Resource": "*",
             "Condition": {"StringEquals": {"aws:RequestedRegion": "eu-west-1"}}},
            {"Effect": "Deny", "NotAction": ["ec2:Describe*"], "Resource": "*"}]}"#;
        insta::assert_snapshot!(copy(source, until()).unwrap(), @r#"{"Statement":[{"Action":"ec2:*","Condition":{"DateLessThan":{"aws:CurrentTime":"2030-01-01T12:00:00Z"},"StringEquals":{"aws:RequestedRegion":"eu-west-1"}},"Effect":"Allow","Resource":"*"},{"Condition":{"DateLessThan":{"aws:CurrentTime":"2030-01-01T12:00:00Z"}},"Effect":"Deny","NotAction":["ec2:Describe*"],"Resource":"*"}],"Version":"2012-10-17"}"#);
        let one = r#"{"Statement": {"Effect": "Allow", "Action": "a:b", "Resource": "*"}}"#;
        assert!(end_of(&copy(one, until()).unwrap()).is_some());
        let moved = moved(
            &copy(source, until()).unwrap(),
            "2030-02-01T00:00:00Z".parse().unwrap(),
        );
        let moved = moved.unwrap();
        assert_eq!(moved.matches("2030-02-01T00:00:00Z").count(), 2, "{moved}");
        for bound in [
            r#"{"Statement": [{"Effect": "Allow", "Condition": {"DateLessThan": {"aws:currenttime": "2031-01-01T00:00:00Z"}}}]}"#,
            r#"{"Statement": "all"}"#,
            r#"{"Statement": ["all"]}"#,
            "{}",
            "no policy",
        ] {
            assert_eq!(copy(bound, until()), None, "{bound}");
        }
    }

    #[test]
    fn sizes_and_sameness_are_those_of_aws() {
        let spaced = "{ \"Version\" :\n\t\"2012-10-17\" }";
        assert_eq!(size(spaced), r#"{"Version":"2012-10-17"}"#.len());
        assert!(is_same(spaced, r#"{"Version":"2012-10-17"}"#));
        assert!(!is_same(spaced, "{}"));
        assert!(!is_same("x", "x"));
        assert_eq!(decoded("%7B%22a%22%3A%22%2A%22%7D"), r#"{"a":"*"}"#);
        assert_eq!(end_of("{}"), None);
    }
}
