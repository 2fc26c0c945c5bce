//! Owns the forms of an AWS credential: an access key, a console password, or both.

use super::Form;
use super::credential::variables;
use crate::control::protocol::DetailSpec;
use serde::Deserialize;
use serde_json::json;
use std::fmt::{self, Write};
use uuid::Uuid;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// What a person needs to use AWS.
#[derive(Deserialize, Zeroize, ZeroizeOnDrop)]
pub(super) struct AwsCredential {
    login: String,
    account: String,
    region: String,
    profile: String,
    expiry: String,
    access_key_id: Option<String>,
    secret_access_key: Option<String>,
    password: Option<String>,
    console_url: Option<String>,
}

impl fmt::Debug for AwsCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AwsCredential").finish_non_exhaustive()
    }
}

impl AwsCredential {
    /// Writes the credential in one form, ready to be printed. An address or a pgpass line there is none of: these are as for people.
    pub(super) fn show(&self, form: Form, grant: Uuid, details: &[DetailSpec]) -> String {
        match form {
            Form::Text | Form::Uri | Form::Pgpass => self.text(grant, details),
            Form::Env => self.env(grant),
            Form::Json => {
                let value = json!({
                    "grant": grant, "login": self.login, "account": self.account,
                    "region": self.region, "profile": self.profile, "expiry": self.expiry,
                    "access_key_id": self.access_key_id,
                    "secret_access_key": self.secret_access_key,
                    "password": self.password, "console_url": self.console_url,
                    "details": details,
                });
                format!("{value:#}\n")
            }
        }
    }

    fn text(&self, grant: Uuid, details: &[DetailSpec]) -> String {
        let mut text = format!(
            "grant    {grant}\nlogin    {}\nexpires  {}\n",
            self.login, self.expiry
        );
        let mut line = |name: &str, value: &str| {
            // Writing to a string cannot fail.
            writeln!(text, "{name}{value}").unwrap_or_default();
        };
        if let (Some(url), Some(password)) = (&self.console_url, &self.password) {
            line("console  ", url);
            line("password ", password);
        }
        if let (Some(id), Some(secret)) = (&self.access_key_id, &self.secret_access_key) {
            let profile = &self.profile;
            line("\n~/.aws/credentials:", "");
            line(
                "",
                &format!("[{profile}]\naws_access_key_id = {id}\naws_secret_access_key = {secret}"),
            );
        }
        for DetailSpec { name, value } in details {
            line("", &format!("\n{name}:\n{value}"));
        }
        text
    }

    fn env(&self, grant: Uuid) -> String {
        let grant = grant.to_string();
        let mut pairs = vec![
            ("AWS_REGION", self.region.as_str()),
            ("APONO_GRANT", grant.as_str()),
        ];
        if let (Some(id), Some(secret)) = (&self.access_key_id, &self.secret_access_key) {
            pairs.push(("AWS_ACCESS_KEY_ID", id));
            pairs.push(("AWS_SECRET_ACCESS_KEY", secret));
        }
        variables(&pairs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_and_a_password_are_shown_as_people_need_them() {
        let credential: AwsCredential = serde_json::from_str(
            r#"{"kind":"aws","login":"alice_apono","account":"123456789012","region":"eu-west-1","profile":"apono",
                "expiry":"2026-12-01T18:00:00Z","access_key_id":"AKIA","secret_access_key":"s's",
                "password":"p","console_url":"https://123456789012.signin.aws.amazon.com/console"}"#,
        )
        .unwrap();
        let text = credential.show(Form::Text, Uuid::nil(), &[]);
        assert!(text.contains("[apono]\naws_access_key_id = AKIA\naws_secret_access_key = s's\n"));
        assert!(text.contains("password p\n"));
        let env = credential.show(Form::Env, Uuid::nil(), &[]);
        assert!(env.contains("AWS_SECRET_ACCESS_KEY='s'\\''s'\n"), "{env}");
        assert!(
            credential
                .show(Form::Json, Uuid::nil(), &[])
                .contains("\"AKIA\"")
        );
        assert_eq!(format!("{credential:?}"), "AwsCredential { .. }");
    }
}
