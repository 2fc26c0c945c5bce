//! Owns how a server of RDS asks by its tags to be managed. Pure: instances and clusters in, integrations or what is missing out.

use super::KIND;
use crate::domain::{InvalidValue, SecretRef, shown};
use std::collections::BTreeMap;

/// The tag that asks for it, with value `true`.
const CONNECT: &str = "apono-connect";
const AUTH_TYPE: &str = "apono-auth-type";
const SECRET: &str = "apono-secret";
const DATABASE: &str = "apono-database";

/// An instance or a cluster as a list of RDS has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tagged<'a> {
    /// Its identifier.
    pub identifier: &'a str,
    /// Its engine, for example `aurora-postgresql`.
    pub engine: &'a str,
    /// The region it is in.
    pub region: &'a str,
    /// The cluster it is a member of: that one is the server then.
    pub member_of: Option<&'a str>,
    /// What it replicates.
    pub replica_of: Option<&'a str>,
    /// The database made with it.
    pub database: Option<&'a str>,
    /// Its tags.
    pub tags: &'a [(String, String)],
}

/// An integration that was found, not configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiscoveredDatabase {
    /// What people call it.
    pub name: String,
    /// The kind of integration.
    pub kind: &'static str,
    /// Its settings.
    pub settings: BTreeMap<String, String>,
    /// Where its credential is; nothing under `iam`.
    pub secret: Option<SecretRef>,
}

/// Turns a server that asks to be managed into an integration. Nothing for one that does not ask, is no PostgreSQL server, or is a
/// member of a cluster.
///
/// # Errors
/// Lists every tag that is missing or cannot be used.
pub fn discover(server: &Tagged<'_>) -> Option<Result<DiscoveredDatabase, Vec<InvalidValue>>> {
    let tag = |name: &str| {
        let mut tags = server.tags.iter();
        tags.find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    };
    let asks = tag(CONNECT) == Some("true")
        && matches!(server.engine, "postgres" | "aurora-postgresql")
        && server.member_of.is_none();
    if !asks {
        return None;
    }
    let mut problems = Vec::new();
    if let Some(source) = server.replica_of {
        problems.push(InvalidValue::new(
            format!("server `{}`", server.identifier),
            format!("is a read replica of `{}`, tag that one", shown(source)),
        ));
    }
    let missing = |name: &str| InvalidValue::new(format!("tag `{name}`"), "is missing");
    let auth_type = match tag(AUTH_TYPE) {
        Some(known @ ("iam" | "password")) => Some(known),
        Some(other) => {
            let problem = format!("is `{}`, must be `iam` or `password`", shown(other));
            problems.push(InvalidValue::new(format!("tag `{AUTH_TYPE}`"), problem));
            None
        }
        None => {
            problems.push(missing(AUTH_TYPE));
            None
        }
    };
    let secret = match (auth_type, tag(SECRET)) {
        (Some("iam") | None, _) => None,
        (Some(_), None) => {
            problems.push(missing(SECRET));
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
        problems.push(missing(DATABASE));
    }
    Some(match (auth_type, database) {
        (Some(auth_type), Some(database)) if problems.is_empty() => {
            let own = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
            let settings = [
                ("region", server.region),
                ("instance_id", server.identifier),
                ("auth_type", auth_type),
                ("end_user_auth", auth_type),
                ("database_name", database),
            ];
            Ok(DiscoveredDatabase {
                name: server.identifier.to_owned(),
                kind: KIND,
                settings: settings.into_iter().map(own).collect(),
                secret,
            })
        }
        _ => Err(problems),
    })
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

    fn tags(text: &str) -> Vec<(String, String)> {
        text.split_whitespace()
            .filter_map(|pair| pair.split_once('='))
            .map(|(key, value)| (format!("apono-{key}"), value.to_owned()))
            .collect()
    }

    fn server<'a>(tags: &'a [(String, String)]) -> Tagged<'a> {
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

    #[test]
    fn what_tags_say_becomes_an_integration_or_the_tags_that_are_missing() {
        for (text, expected) in [
            ("", "nothing"),
            ("connect=false auth-type=iam database=app", "nothing"),
            (
                "connect=true auth-type=iam database=app",
                "orders auth_type=iam database_name=app end_user_auth=iam instance_id=orders region=eu-west-1 no secret",
            ),
            (
                "connect=true auth-type=password secret=prod/orders database=app",
                "orders auth_type=password database_name=app end_user_auth=password instance_id=orders region=eu-west-1 aws-secretsmanager:prod/orders",
            ),
            (
                "connect=true auth-type=password secret=vault:kv/orders database=app",
                "orders auth_type=password database_name=app end_user_auth=password instance_id=orders region=eu-west-1 vault:kv/orders",
            ),
            (
                "connect=true",
                "tag `apono-auth-type` is missing; tag `apono-database` is missing",
            ),
            (
                "connect=true auth-type=password database=app",
                "tag `apono-secret` is missing",
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
            let tags = tags(text);
            let told = match discover(&server(&tags)) {
                None => "nothing".to_owned(),
                Some(Err(problems)) => {
                    let lines: Vec<_> = problems.iter().map(ToString::to_string).collect();
                    lines.join("; ")
                }
                Some(Ok(found)) => {
                    assert_eq!(found.kind, "aws-rds-postgresql");
                    let settings: Vec<_> = found
                        .settings
                        .iter()
                        .map(|(key, value)| format!("{key}={value}"))
                        .collect();
                    let secret = found.secret.as_ref().map_or("no secret", SecretRef::as_str);
                    format!("{} {} {secret}", found.name, settings.join(" "))
                }
            };
            assert_eq!(told, expected, "{text}");
        }
    }

    #[test]
    fn members_other_engines_and_replicas_are_told_apart() {
        let tags = tags("connect=true auth-type=iam");
        let plain = server(&tags);
        let named = Tagged {
            database: Some("app"),
            ..plain.clone()
        };
        let found = discover(&named).unwrap().unwrap();
        assert_eq!(found.settings["database_name"], "app");
        for other in [
            Tagged {
                engine: "docdb",
                ..named.clone()
            },
            Tagged {
                member_of: Some("orders-cluster"),
                ..named.clone()
            },
        ] {
            assert_eq!(discover(&other), None);
        }
        let replica = Tagged {
            replica_of: Some("main"),
            ..named
        };
        let problems = discover(&replica).unwrap().unwrap_err();
        assert_eq!(
            problems[0].to_string(),
            "server `orders` is a read replica of `main`, tag that one"
        );
    }
}
