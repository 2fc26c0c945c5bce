//! Owns the settings of an `aws-rds-postgresql` integration that `targets/postgres` does not know. Never calls AWS.

use crate::domain::{Integration, InvalidValue, shown};

/// Every setting an `aws-rds-postgresql` integration knows.
pub const SETTINGS: [&str; 18] = [
    "region",
    "instance_id",
    "auth_type",
    "username",
    "end_user_auth",
    "database_name",
    "ssl_mode",
    "ssl_root_ca",
    "address",
    "port",
    "role_arn",
    "management_role_arn",
    "external_id",
    "admin_role",
    "access_roles",
    "clean_up_delay_s",
    "replicas",
    "enable_audit",
];

/// The database user under `auth_type` `iam`, unless `username` says otherwise.
const DEFAULT_USERNAME: &str = "apono_connector";
/// Longest identifier of an instance or a cluster.
const MAX_IDENTIFIER: usize = 63;

/// How one logs in to the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthType {
    /// By a password.
    Password,
    /// By a token of AWS IAM.
    Iam,
}

/// The checked settings.
#[derive(Debug, Clone)]
pub struct RdsSettings {
    /// The AWS region.
    pub region: String,
    /// The instance or the Aurora cluster.
    pub instance_id: String,
    /// How the connector logs in.
    pub auth_type: AuthType,
    /// As whom it does so by token.
    pub username: String,
    /// How people log in.
    pub end_user_auth: AuthType,
    /// Another way to the server; tokens and certificates stay those of its name in RDS.
    pub via: Option<(String, u16)>,
}

impl RdsSettings {
    /// Reads what can be read, and names all that is wrong: others look for more before anything is refused.
    pub(super) fn read(integration: &Integration, has_ca: bool) -> (Self, Vec<InvalidValue>) {
        let mut reader = Reader {
            integration,
            problems: Vec::new(),
        };
        let settings = Self {
            region: reader.needed("region", "an AWS region such as `eu-west-1`", |text| {
                text.len() <= 32 && is_word(text, "-")
            }),
            instance_id: reader.needed(
                "instance_id",
                "the identifier of an RDS instance or an Aurora cluster",
                |text| text.len() <= MAX_IDENTIFIER && is_word(text, "-"),
            ),
            auth_type: reader.auth_type("auth_type", AuthType::Password),
            username: reader.username(),
            end_user_auth: reader.auth_type("end_user_auth", AuthType::Password),
            via: reader.via(),
        };
        reader.roles();
        reader.flag("enable_audit");
        reader.secret(settings.auth_type);
        reader.protection(settings.auth_type, has_ca);
        (settings, reader.problems)
    }
}

struct Reader<'a> {
    integration: &'a Integration,
    problems: Vec<InvalidValue>,
}

impl<'a> Reader<'a> {
    fn value(&self, key: &str) -> Option<&'a str> {
        self.integration.settings.get(key).map(String::as_str)
    }

    fn problem(&mut self, key: &str, problem: impl Into<String>) {
        let what = format!("`settings.{key}`");
        self.problems.push(InvalidValue::new(what, problem));
    }

    fn wrong(&mut self, key: &str, value: &str, expected: &str) {
        self.problem(key, format!("is `{}`, must be {expected}", shown(value)));
    }

    fn needed(&mut self, key: &str, expected: &str, fits: impl Fn(&str) -> bool) -> String {
        match self.value(key) {
            Some(text) if fits(text) => return text.to_owned(),
            Some(text) => self.wrong(key, text, expected),
            None => self.problem(key, format!("is absent, must be {expected}")),
        }
        String::new()
    }

    fn auth_type(&mut self, key: &str, default: AuthType) -> AuthType {
        match self.value(key) {
            None => default,
            Some("password") => AuthType::Password,
            Some("iam") => AuthType::Iam,
            Some(other) => {
                self.wrong(key, other, "`iam` or `password`");
                default
            }
        }
    }

    /// Part of what a token signs, where only these characters stand for themselves.
    fn username(&mut self) -> String {
        let text = self.value("username").unwrap_or(DEFAULT_USERNAME);
        let fits = (1..=63).contains(&text.len())
            && text
                .bytes()
                .all(|c| c.is_ascii_alphanumeric() || b"_-.".contains(&c));
        if !fits {
            self.wrong("username", text, "1 to 63 letters, digits, `_`, `-` or `.`");
        }
        text.to_owned()
    }

    fn via(&mut self) -> Option<(String, u16)> {
        let address = self.value("address");
        let port = self.value("port").map(|text| {
            let port = text.parse::<u16>().ok().filter(|port| *port > 0);
            if port.is_none() {
                self.wrong("port", text, "a whole number, 1..=65535");
            }
            port.unwrap_or_default()
        });
        match (address, port) {
            (None, None) => None,
            (Some(address), Some(port)) => {
                let fits = (1..=253).contains(&address.len())
                    && address
                        .bytes()
                        .all(|c| c.is_ascii_alphanumeric() || b".-_:".contains(&c));
                if !fits {
                    self.wrong("address", address, "one host name or IP address");
                }
                Some((address.to_owned(), port))
            }
            (Some(_), None) => {
                self.problem("port", "is absent, must be the port at `address`");
                None
            }
            (None, Some(_)) => {
                let problem = "is absent, must be where `port` is; without both, RDS is asked for endpoint and port";
                self.problem("address", problem);
                None
            }
        }
    }

    fn roles(&mut self) {
        for key in ["role_arn", "management_role_arn"] {
            if let Some(arn) = self.value(key)
                && !is_role(arn)
            {
                let expected = "the ARN of a role, `arn:aws:iam::123456789012:role/name`";
                self.wrong(key, arn, expected);
            }
        }
    }

    fn flag(&mut self, key: &str) {
        if let Some(text) = self.value(key)
            && !matches!(text, "true" | "false")
        {
            self.wrong(key, text, "`true` or `false`");
        }
    }

    fn secret(&mut self, auth_type: AuthType) {
        let problem = match (auth_type, &self.integration.secret) {
            (AuthType::Password, None) => {
                "is absent, must say where the database password is, for example `aws-secretsmanager:orders`; or set `auth_type` to `iam`"
            }
            (AuthType::Iam, Some(_)) => {
                "is set, must be absent under `auth_type` `iam`: the connector logs in by a token"
            }
            (AuthType::Password, Some(_)) | (AuthType::Iam, None) => return,
        };
        self.problems.push(InvalidValue::new("`secret`", problem));
    }

    fn protection(&mut self, auth_type: AuthType, has_ca: bool) {
        let mode = self.value("ssl_mode").unwrap_or("verify-full");
        if auth_type == AuthType::Iam && mode != "verify-full" {
            self.wrong(
                "ssl_mode",
                mode,
                "`verify-full` under `auth_type` `iam`: whoever gets the token can log in with it",
            );
        }
        // No system trusts these authorities by itself.
        let checks = matches!(mode, "verify-full" | "verify-ca");
        if checks && !has_ca && self.value("ssl_root_ca").is_none() {
            let problem = "is absent, must be the path of the certificate authorities of RDS: fetch \
                           https://truststore.pki.rds.amazonaws.com/global/global-bundle.pem, and name it here or once for all in `aws.rds_ca_file`";
            self.problem("ssl_root_ca", problem);
        }
    }
}

fn is_word(text: &str, more: &str) -> bool {
    !text.is_empty()
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || more.contains(c))
}

fn is_role(arn: &str) -> bool {
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    let ["arn", partition, "iam", "", account, role] = parts.as_slice() else {
        return false;
    };
    partition.starts_with("aws")
        && account.len() == 12
        && account.bytes().all(|c| c.is_ascii_digit())
        && role
            .strip_prefix("role/")
            .is_some_and(|name| is_word(name, "/_+=,.@-"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{IntegrationId, IntegrationState, SecretRef};

    fn parse(settings: &[(&str, &str)], secret: bool) -> Result<RdsSettings, String> {
        let integration = Integration {
            id: IntegrationId::new(uuid::Uuid::nil()),
            name: "orders".to_owned(),
            kind: super::super::KIND.to_owned(),
            settings: settings
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
            secret: secret.then(|| SecretRef::parse("aws-secretsmanager:orders").unwrap()),
            state: IntegrationState::Active,
        };
        let (settings, problems) = RdsSettings::read(&integration, false);
        let lines: Vec<_> = problems.iter().map(ToString::to_string).collect();
        if lines.is_empty() {
            Ok(settings)
        } else {
            Err(lines.join(
                "
",
            ))
        }
    }

    #[test]
    fn a_token_needs_no_secret_and_a_password_does() {
        let base = [
            ("region", "eu-west-1"),
            ("instance_id", "orders-1"),
            ("ssl_root_ca", "/etc/rds.pem"),
        ];
        let settings = parse(&base, true).unwrap();
        assert_eq!(settings.auth_type, AuthType::Password);
        assert_eq!(settings.end_user_auth, AuthType::Password);
        let mut by_token = base.to_vec();
        by_token.extend([
            ("auth_type", "iam"),
            ("address", "127.0.0.1"),
            ("port", "5433"),
        ]);
        let settings = parse(&by_token, false).unwrap();
        assert_eq!(settings.username, "apono_connector");
        assert_eq!(settings.via, Some(("127.0.0.1".to_owned(), 5433)));
        assert!(
            parse(&base, false)
                .unwrap_err()
                .contains("or set `auth_type` to `iam`")
        );
        assert!(
            parse(&by_token, true)
                .unwrap_err()
                .contains("must be absent")
        );
    }

    #[test]
    fn every_problem_is_reported_at_once_and_by_key() {
        let problems = parse(
            &[
                ("region", "Ireland!"),
                ("auth_type", "iam"),
                ("end_user_auth", "kerberos"),
                ("username", "o'brien"),
                ("ssl_mode", "require"),
                ("address", "db.example"),
                ("role_arn", "arn:aws:iam::12:role/x"),
                ("enable_audit", "yes"),
            ],
            true,
        )
        .unwrap_err();
        insta::assert_snapshot!(problems, @r"
        `settings.region` is `Ireland!`, must be an AWS region such as `eu-west-1`
        `settings.instance_id` is absent, must be the identifier of an RDS instance or an Aurora cluster
        `settings.username` is `o\'brien`, must be 1 to 63 letters, digits, `_`, `-` or `.`
        `settings.end_user_auth` is `kerberos`, must be `iam` or `password`
        `settings.port` is absent, must be the port at `address`
        `settings.role_arn` is `arn:aws:iam::12:role/x`, must be the ARN of a role, `arn:aws:iam::123456789012:role/name`
        `settings.enable_audit` is `yes`, must be `true` or `false`
        `secret` is set, must be absent under `auth_type` `iam`: the connector logs in by a token
        `settings.ssl_mode` is `require`, must be `verify-full` under `auth_type` `iam`: whoever gets the token can log in with it
        ");
    }

    #[test]
    fn without_authorities_the_place_of_the_bundle_is_told() {
        let problem = parse(
            &[("region", "eu-west-1"), ("instance_id", "orders-1")],
            true,
        );
        let problem = problem.unwrap_err();
        assert!(
            problem.starts_with("`settings.ssl_root_ca` is absent"),
            "{problem}"
        );
        assert!(
            problem.contains("https://truststore.pki.rds.amazonaws.com/global/global-bundle.pem")
        );
    }
}
