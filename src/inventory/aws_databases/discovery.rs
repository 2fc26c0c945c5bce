//! Owns how a server of RDS asks by its tags to be managed. Pure: instances and clusters in, integrations or what is missing out.

use super::FoundDatabases;
use crate::domain::{Discovered, InvalidValue, SecretRef, shown};
use std::collections::BTreeMap;

/// The tag that asks for it, with value `true`.
const CONNECT: &str = "apono-connect";
const AUTH_TYPE: &str = "apono-auth-type";
const SECRET: &str = "apono-secret";
const DATABASE: &str = "apono-database";

/// An instance or a cluster as a list of RDS has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tagged<'a> {
    /// Its identifier.
    pub(super) identifier: &'a str,
    /// Its engine, for example `aurora-postgresql`.
    pub(super) engine: &'a str,
    /// The region it is in.
    pub(super) region: &'a str,
    /// The cluster it is a member of: that one is the server then.
    pub(super) member_of: Option<&'a str>,
    /// What it replicates.
    pub(super) replica_of: Option<&'a str>,
    /// The database made with it.
    pub(super) database: Option<&'a str>,
    /// Its tags.
    pub(super) tags: &'a BTreeMap<String, String>,
}

/// Turns a server that asks to be managed into the integration it would be, and says all that is in the way of that: tags that are missing
/// or cannot be used. Nothing for one that does not ask.
pub(super) fn discover(
    server: &Tagged<'_>,
    found: &FoundDatabases,
) -> Option<(Discovered, Vec<InvalidValue>)> {
    let tag = |name: &str| server.tags.get(name).map(String::as_str);
    if tag(CONNECT) != Some("true") {
        return None;
    }
    let mut problems = Vec::new();
    if let Some(wrong) = wrong_server(server) {
        problems.push(wrong);
    }
    let auth_type = match tag(AUTH_TYPE) {
        Some(known @ ("iam" | "password")) => Some(known),
        Some(other) => {
            let problem = format!("is `{}`, must be `iam` or `password`", shown(other));
            problems.push(InvalidValue::new(format!("tag `{AUTH_TYPE}`"), problem));
            None
        }
        None => {
            problems.push(missing(AUTH_TYPE, "`iam` or `password`"));
            None
        }
    };
    let secret = match (auth_type, tag(SECRET)) {
        (Some("iam") | None, _) => None,
        (Some(_), None) => {
            let expected = "the name or ARN of the secret with the database password";
            problems.push(missing(SECRET, expected));
            None
        }
        (Some(_), Some(text)) => parse_secret(text)
            .map_err(|problem| problems.push(problem))
            .ok(),
    };
    let database = tag(DATABASE)
        .or(server.database)
        .filter(|name| !name.is_empty());
    if database.is_none() {
        problems.push(missing(
            DATABASE,
            "the database the connector keeps its record in",
        ));
    }
    let told = [
        ("region", Some(server.region)),
        ("instance_id", Some(server.identifier)),
        ("auth_type", auth_type),
        ("end_user_auth", auth_type),
        ("database_name", database),
    ];
    let mut settings = found.settings.clone();
    for (key, value) in told {
        if let Some(value) = value {
            settings.insert(key.to_owned(), value.to_owned());
        }
    }
    let discovered = Discovered {
        name: server.identifier.to_owned(),
        kind: found.kind.to_owned(),
        settings,
        secret,
    };
    Some((discovered, problems))
}

fn missing(tag: &str, expected: &str) -> InvalidValue {
    let problem = format!("is missing, must be {expected}");
    InvalidValue::new(format!("tag `{tag}`"), problem)
}

/// Says why the integration must be another server's.
fn wrong_server(server: &Tagged<'_>) -> Option<InvalidValue> {
    let problem = if !matches!(server.engine, "postgres" | "aurora-postgresql") {
        format!(
            "runs `{}`, only PostgreSQL and Aurora PostgreSQL can be managed: take tag `{CONNECT}` away",
            shown(server.engine)
        )
    } else if let Some(cluster) = server.member_of {
        format!("is a member of cluster `{}`: tag that one", shown(cluster))
    } else if let Some(source) = server.replica_of {
        format!("is a read replica of `{}`: tag that one", shown(source))
    } else {
        return None;
    };
    let what = format!("server `{}`", server.identifier);
    Some(InvalidValue::new(what, problem))
}

/// A whole reference, or the name or ARN of a secret in AWS Secrets Manager: tags may not hold every character a reference may.
fn parse_secret(text: &str) -> Result<SecretRef, InvalidValue> {
    let has_scheme = ["aws-secretsmanager:", "kubernetes:", "vault:"]
        .iter()
        .any(|scheme| text.starts_with(scheme));
    let whole = if has_scheme {
        text.to_owned()
    } else {
        format!("aws-secretsmanager:{text}")
    };
    // A file of the connector's is for whoever configures the connector, not for whoever may set tags.
    SecretRef::parse(&whole)
        .map_err(|invalid| InvalidValue::new(format!("tag `{SECRET}`"), invalid.problem))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(text: &str) -> BTreeMap<String, String> {
        text.split_whitespace()
            .filter_map(|pair| pair.split_once('='))
            .map(|(key, value)| (format!("apono-{key}"), value.to_owned()))
            .collect()
    }

    fn found() -> FoundDatabases {
        let common = [("role_arn", "R"), ("region", "of the account")];
        FoundDatabases {
            kind: "aws-rds-postgresql",
            settings: common
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
        }
    }

    fn server(tags: &BTreeMap<String, String>) -> Tagged<'_> {
        Tagged {
            identifier: "orders",
            engine: "postgres",
            region: "eu-west-1",
            member_of: None,
            replica_of: None,
            database: None,
            tags,
        }
    }

    fn told(server: &Tagged<'_>) -> String {
        let Some((discovered, problems)) = discover(server, &found()) else {
            return "nothing".to_owned();
        };
        assert_eq!(discovered.kind, "aws-rds-postgresql");
        assert_eq!(discovered.name, server.identifier);
        if !problems.is_empty() {
            let lines: Vec<_> = problems.iter().map(ToString::to_string).collect();
            return lines.join("; ");
        }
        let settings: Vec<_> = discovered
            .settings
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        let secret = discovered.secret.as_ref();
        let secret = secret.map_or("no secret", SecretRef::as_str);
        format!("{} {secret}", settings.join(" "))
    }

    #[test]
    fn what_tags_say_becomes_an_integration_or_the_tags_that_are_missing() {
        for (text, expected) in [
            ("", "nothing"),
            ("connect=false auth-type=iam database=app", "nothing"),
            (
                "connect=true auth-type=iam database=app secret=ignored",
                "auth_type=iam database_name=app end_user_auth=iam instance_id=orders region=eu-west-1 role_arn=R no secret",
            ),
            (
                "connect=true auth-type=password secret=prod/orders database=app",
                "auth_type=password database_name=app end_user_auth=password instance_id=orders region=eu-west-1 role_arn=R aws-secretsmanager:prod/orders",
            ),
            (
                "connect=true auth-type=password secret=vault:kv/orders database=app",
                "auth_type=password database_name=app end_user_auth=password instance_id=orders region=eu-west-1 role_arn=R vault:kv/orders",
            ),
            (
                "connect=true",
                "tag `apono-auth-type` is missing, must be `iam` or `password`; tag `apono-database` is missing, must be the database the connector keeps its record in",
            ),
            (
                "connect=true auth-type=password database=app",
                "tag `apono-secret` is missing, must be the name or ARN of the secret with the database password",
            ),
            (
                "connect=true auth-type=kerberos database=app",
                "tag `apono-auth-type` is `kerberos`, must be `iam` or `password`",
            ),
            (
                "connect=true auth-type=password secret=file:/etc/shadow database=app",
                "tag `apono-secret` is `aws-secretsmanager:file:/etc/shadow`, must be `aws-secretsmanager:` and the name or the whole ARN of a secret in AWS Secrets Manager",
            ),
        ] {
            assert_eq!(told(&server(&tags(text))), expected, "{text}");
        }
    }

    #[test]
    fn members_other_engines_and_replicas_are_told_apart() {
        let tags = tags("connect=true auth-type=iam");
        let named = Tagged {
            database: Some("app"),
            ..server(&tags)
        };
        assert!(told(&named).contains("database_name=app"));
        for (other, expected) in [
            (
                Tagged {
                    engine: "docdb",
                    ..named.clone()
                },
                "server `orders` runs `docdb`, only PostgreSQL and Aurora PostgreSQL can be managed: take tag `apono-connect` away",
            ),
            (
                Tagged {
                    member_of: Some("orders-cluster"),
                    ..named.clone()
                },
                "server `orders` is a member of cluster `orders-cluster`: tag that one",
            ),
            (
                Tagged {
                    replica_of: Some("main"),
                    ..named.clone()
                },
                "server `orders` is a read replica of `main`: tag that one",
            ),
        ] {
            assert_eq!(told(&other), expected);
        }
    }
}
