//! Owns the ways to say where a credential is, never the credential itself.

use super::{InvalidValue, shown};
use std::fmt;

/// Longest reference, in bytes: a whole ARN has at most some 700.
const MAX_BYTES: usize = 2048;
/// Longest name of a secret in AWS Secrets Manager, without the six characters an ARN adds.
const MAX_AWS_NAME: usize = 512;
/// Longest label of the domain name system, which bounds namespaces.
const MAX_LABEL: usize = 63;
/// Longest name of an object in Kubernetes, and of a key in a secret.
const MAX_OBJECT: usize = 253;

/// Where a credential can be fetched.
///
/// | form | place |
/// |---|---|
/// | `file:/absolute/path` | a file |
/// | `aws-secretsmanager:name`, `aws-secretsmanager:arn:…` | AWS Secrets Manager, by name or whole ARN |
/// | `kubernetes:namespace/name`, `kubernetes:namespace/name/key` | a secret of the cluster the connector runs in |
/// | `vault:mount/path` | a key-value engine of HashiCorp Vault |
#[derive(Clone, PartialEq, Eq)]
pub struct SecretRef {
    text: String,
    place: SecretPlace,
}

/// A reference, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretPlace {
    /// A file.
    File {
        /// Its absolute path.
        path: String,
    },
    /// AWS Secrets Manager.
    AwsSecretsManager {
        /// Name or whole ARN.
        id: String,
        /// The region an ARN names.
        region: Option<String>,
    },
    /// A secret in Kubernetes.
    Kubernetes {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// The key that holds all as JSON; without one, the secret has keys `username` and `password`.
        key: Option<String>,
    },
    /// HashiCorp Vault.
    Vault {
        /// Mount and path, two names or more; only Vault knows where the one ends and the other begins.
        path: String,
    },
}

impl SecretRef {
    /// Parses a reference.
    ///
    /// # Errors
    /// When the scheme is unknown or what follows does not fit it.
    pub fn parse(text: &str) -> Result<Self, InvalidValue> {
        let wrong = |expected: &str| {
            InvalidValue::new(
                "`secret`",
                format!("is `{}`, must be {expected}", shown(text)),
            )
        };
        if text.len() > MAX_BYTES {
            return Err(wrong("at most 2048 bytes long"));
        }
        let place = match text.split_once(':') {
            Some(("file", path)) => file(path).ok_or("`file:` and an absolute path"),
            Some(("aws-secretsmanager", id)) => aws(id).ok_or(
                "`aws-secretsmanager:` and the name or the whole ARN of a secret in AWS Secrets Manager",
            ),
            Some(("kubernetes", rest)) => kubernetes(rest).ok_or(
                "`kubernetes:` and namespace/name or namespace/name/key of a secret in Kubernetes",
            ),
            Some(("vault", path)) => vault(path)
                .ok_or("`vault:` and mount/path of a key-value secret in HashiCorp Vault"),
            _ => Err(
                "`file:`, `aws-secretsmanager:`, `kubernetes:` or `vault:` and where the secret is, for example `file:` and an absolute path",
            ),
        };
        let place = place.map_err(wrong)?;
        Ok(Self {
            text: text.to_owned(),
            place,
        })
    }

    /// Returns the reference as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the reference taken apart.
    #[must_use]
    pub fn place(&self) -> &SecretPlace {
        &self.place
    }
}

impl fmt::Debug for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SecretRef").field(&self.text).finish()
    }
}

fn file(path: &str) -> Option<SecretPlace> {
    (path.starts_with('/') && !path.contains('\0')).then(|| SecretPlace::File {
        path: path.to_owned(),
    })
}

fn aws(id: &str) -> Option<SecretPlace> {
    let region = if id.starts_with("arn:") {
        Some(arn_region(id)?)
    } else if is_aws_name(id) {
        None
    } else {
        return None;
    };
    Some(SecretPlace::AwsSecretsManager {
        id: id.to_owned(),
        region,
    })
}

/// The region of `arn:partition:secretsmanager:region:account:secret:name-6chars`.
fn arn_region(arn: &str) -> Option<String> {
    let parts: Vec<&str> = arn.split(':').collect();
    let [
        "arn",
        partition,
        "secretsmanager",
        region,
        account,
        "secret",
        name,
    ] = parts.as_slice()
    else {
        return None;
    };
    let word = |text: &str| {
        !text.is_empty()
            && text
                .bytes()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-')
    };
    let fits = partition.starts_with("aws")
        && word(partition)
        && word(region)
        && account.len() == 12
        && account.bytes().all(|c| c.is_ascii_digit())
        && has_suffix(name)
        && is_aws_name(name);
    fits.then(|| (*region).to_owned())
}

/// Without its suffix an ARN may name another secret than the one meant.
fn has_suffix(name: &str) -> bool {
    name.rsplit_once('-').is_some_and(|(stem, suffix)| {
        !stem.is_empty() && suffix.len() == 6 && suffix.bytes().all(|c| c.is_ascii_alphanumeric())
    })
}

fn is_aws_name(name: &str) -> bool {
    (1..=MAX_AWS_NAME + 7).contains(&name.len())
        && name
            .bytes()
            .all(|c| c.is_ascii_alphanumeric() || b"/_+=.@-".contains(&c))
}

fn kubernetes(rest: &str) -> Option<SecretPlace> {
    let parts: Vec<&str> = rest.split('/').collect();
    let (namespace, name, key) = match parts.as_slice() {
        [namespace, name] => (namespace, name, None),
        [namespace, name, key] => (namespace, name, Some(*key)),
        _ => return None,
    };
    let key_fits = key.is_none_or(|key| {
        is_name(key, MAX_OBJECT, |c| {
            c.is_ascii_alphanumeric() || b"-_.".contains(&c)
        }) && !matches!(key, "." | "..")
    });
    let fits = is_name(namespace, MAX_LABEL, |c| is_lower(c) || c == b'-')
        && is_name(name, MAX_OBJECT, |c| is_lower(c) || b"-.".contains(&c))
        && is_lower(*name.as_bytes().first()?)
        && key_fits;
    fits.then(|| SecretPlace::Kubernetes {
        namespace: (*namespace).to_owned(),
        name: (*name).to_owned(),
        key: key.map(str::to_owned),
    })
}

fn vault(path: &str) -> Option<SecretPlace> {
    let names: Vec<&str> = path.split('/').collect();
    // What a URL gives a meaning of its own to is no name of a secret.
    let fits = names.len() >= 2
        && names.iter().all(|name| {
            is_name(name, MAX_OBJECT, |c| {
                c.is_ascii_alphanumeric() || b"-_.@+=:, ".contains(&c)
            }) && !matches!(*name, "." | "..")
        });
    fits.then(|| SecretPlace::Vault {
        path: path.to_owned(),
    })
}

fn is_lower(c: u8) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit()
}

fn is_name(text: &str, longest: usize, fits: impl Fn(u8) -> bool) -> bool {
    (1..=longest).contains(&text.len()) && text.bytes().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str) -> SecretPlace {
        SecretRef::parse(text).unwrap().place().clone()
    }

    #[test]
    fn each_form_is_taken_apart_and_shown_as_it_was_given() {
        assert_eq!(
            place("file:/run/secrets/db"),
            SecretPlace::File {
                path: "/run/secrets/db".to_owned()
            }
        );
        assert_eq!(
            place("aws-secretsmanager:prod/orders+1=@db.x"),
            SecretPlace::AwsSecretsManager {
                id: "prod/orders+1=@db.x".to_owned(),
                region: None
            }
        );
        let arn = "arn:aws-cn:secretsmanager:cn-north-1:123456789012:secret:prod/orders-AbC123";
        assert_eq!(
            place(&format!("aws-secretsmanager:{arn}")),
            SecretPlace::AwsSecretsManager {
                id: arn.to_owned(),
                region: Some("cn-north-1".to_owned())
            }
        );
        let kubernetes = |key: Option<&str>| SecretPlace::Kubernetes {
            namespace: "apono".to_owned(),
            name: "orders.db".to_owned(),
            key: key.map(str::to_owned),
        };
        assert_eq!(place("kubernetes:apono/orders.db"), kubernetes(None));
        assert_eq!(
            place("kubernetes:apono/orders.db/all.json"),
            kubernetes(Some("all.json"))
        );
        assert_eq!(
            place("vault:kv/team a/orders"),
            SecretPlace::Vault {
                path: "kv/team a/orders".to_owned()
            }
        );
        assert_eq!(
            format!("{:?}", SecretRef::parse("file:/x").unwrap()),
            r#"SecretRef("file:/x")"#
        );
    }

    #[test]
    fn what_does_not_fit_its_form_is_refused_and_the_form_named() {
        for (text, expected) in [
            ("/run/secrets/db", "`file:`, `aws-secretsmanager:`"),
            ("env:PASSWORD", "`file:`, `aws-secretsmanager:`"),
            ("file:relative", "`file:` and an absolute path"),
            ("aws-secretsmanager:", "the name or the whole ARN"),
            ("aws-secretsmanager:a b", "the name or the whole ARN"),
            (
                // Without the six characters at its end.
                "aws-secretsmanager:arn:aws:secretsmanager:eu-west-1:123456789012:secret:orders",
                "the name or the whole ARN",
            ),
            (
                "aws-secretsmanager:arn:aws:secretsmanager:eu-west-1:12345:secret:orders-AbC123",
                "the name or the whole ARN",
            ),
            (
                "aws-secretsmanager:arn:aws:rds:eu-west-1:123456789012:secret:orders-AbC123",
                "the name or the whole ARN",
            ),
            ("kubernetes:orders", "namespace/name"),
            ("kubernetes:Apono/orders", "namespace/name"),
            ("kubernetes:apono/orders/key/more", "namespace/name"),
            ("kubernetes:apono/../secrets", "namespace/name"),
            ("kubernetes:apono/..", "namespace/name"),
            ("kubernetes:apono/orders?x=1", "namespace/name"),
            ("vault:kv", "mount/path"),
            ("vault:kv/", "mount/path"),
            ("vault:kv/../sys/seal", "mount/path"),
            ("vault:/kv/orders", "mount/path"),
            ("vault:kv/orders?version=1", "mount/path"),
        ] {
            let error = SecretRef::parse(text).unwrap_err().to_string();
            assert!(error.starts_with("`secret` is `"), "{error}");
            assert!(error.contains(expected), "{text}: {error}");
        }
        let long = format!("file:/{}", "x".repeat(MAX_BYTES));
        assert!(SecretRef::parse(&long).is_err());
    }
}
