//! Owns what a grant is turned into: an inline policy that ends by itself wherever that can be, else a membership or attachment. Never changes anything.

use super::AccountTarget;
use super::catalog::{ManagedPolicy, Role};
use super::desk::Carrier;
use super::document::{self, MOST_INLINE};
use super::effect::{Effect, Thing};
use super::mark;
use super::service::Service;
use super::settings::is_policy_arn;
use crate::domain::{Detail, ErrorClass, Grant, shown};
use crate::targets::TargetError;
use crate::targets::refusal::refused;
use serde_json::Value;

/// Most managed policies a user may have. An account's quota can be raised to 20; that is not counted on.
const MOST_ATTACHED: usize = 10;
/// Most groups a user may be in. Fixed by AWS.
const MOST_GROUPS: usize = 10;
/// Most tags a user may have, less those a person's own may need meanwhile. AWS takes 50.
const MOST_TAGS: usize = 46;

/// An effect, and what the requester is told of it.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) effect: Effect,
    pub(super) details: Vec<Detail>,
}

/// An inline policy that may still not fit.
struct Inline {
    document: String,
    details: Vec<Detail>,
}

impl AccountTarget {
    /// Looks up what is asked for and decides how it is given. Every quota is looked at here, before anything is changed.
    pub(super) async fn wanted(
        &self,
        service: &Service,
        carrier: &Carrier,
        grant: &Grant,
    ) -> Result<Wanted, TargetError> {
        if carrier.tags.len() >= MOST_TAGS {
            return Err(full(
                "user_tags_full",
                &format!(
                    "IAM user `{}` has {} tags, and each grant takes two",
                    carrier.name,
                    carrier.tags.len()
                ),
                "wait until ended grants are cleaned up, or take tags off the user",
            ));
        }
        match Thing::of(&grant.resource) {
            Some(Thing::Role(name)) => {
                let role = self.role(service, carrier, name).await?;
                let inline = Inline {
                    document: document::assume(&role.arn, grant.expiry),
                    details: self.assume_details(&role, name),
                };
                self.inline(service, carrier, grant, inline).await
            }
            Some(Thing::Bucket(name)) => {
                let details = vec![Detail::new("bucket", bucket(name)?)];
                let partition = self.desk.partition().await?;
                let inline = Inline {
                    document: document::bucket(partition, name, grant.permission, grant.expiry),
                    details,
                };
                self.inline(service, carrier, grant, inline).await
            }
            Some(Thing::Policy(arn)) => self.managed(service, carrier, grant, arn).await,
            Some(Thing::Group(name)) => self.member(service, carrier, name).await,
            None => {
                let kind = grant.resource.kind();
                let message = format!("an account has no resources of type `{kind}` to grant");
                Err(refused(ErrorClass::Bug, "wrong_resource_type", message, ""))
            }
        }
    }

    async fn inline(
        &self,
        service: &Service,
        carrier: &Carrier,
        grant: &Grant,
        inline: Inline,
    ) -> Result<Wanted, TargetError> {
        let Inline {
            document,
            mut details,
        } = inline;
        let others = self.used(service, carrier, grant).await?;
        let size = document::size(&document);
        if others + size > MOST_INLINE {
            let message = format!(
                "the policy of this grant takes {size} characters, and the inline policies of IAM user `{}` have {others} of {MOST_INLINE}",
                carrier.name
            );
            return Err(full(
                "inline_policies_full",
                &message,
                "end another grant of this person, or give one role in the place of several grants",
            ));
        }
        details.push(Detail::new(
            "ends_by_itself",
            format!(
                "AWS itself refuses it from {} on",
                mark::whole(grant.expiry)
            ),
        ));
        Ok(Wanted {
            effect: Effect::Policy { document },
            details,
        })
    }

    /// Counts what the user's inline policies take, without that of this grant.
    async fn used(
        &self,
        service: &Service,
        carrier: &Carrier,
        grant: &Grant,
    ) -> Result<usize, TargetError> {
        let own = mark::policy_name(grant.id);
        let until = document::size(&document::nothing_from(grant.expiry));
        let mut used = if carrier.is_ours { until } else { 0 };
        if !carrier.exists {
            return Ok(used);
        }
        for name in service.policies(&carrier.name).await? {
            if name == own || (carrier.is_ours && name == mark::UNTIL) {
                continue;
            }
            let document = service.policy(&carrier.name, &name).await?;
            used += document.as_deref().map_or(0, document::size);
        }
        Ok(used)
    }

    async fn role(
        &self,
        service: &Service,
        carrier: &Carrier,
        name: &str,
    ) -> Result<Role, TargetError> {
        if !is_name(name, 64) {
            return Err(malformed("role", name));
        }
        let role = service.role(name).await?;
        let account = self.desk.account().await?;
        let role = role.ok_or_else(|| unknown("role_unknown", "role", name, account))?;
        if trusts(&role.trust, account, &carrier.name) {
            return Ok(role);
        }
        let message = format!("role `{name}` trusts neither account {account} nor its users");
        let partition = self.desk.partition().await?;
        let hint = format!(
            "add to the role's trust policy: {{\"Effect\":\"Allow\",\"Principal\":{{\"AWS\":\"arn:{partition}:iam::{account}:root\"}},\"Action\":\"sts:AssumeRole\"}}"
        );
        Err(refused(
            ErrorClass::NeedsOperator,
            "role_does_not_trust",
            message,
            &hint,
        ))
    }

    /// A managed policy: copied with an end where it fits, else attached to a user of ours, whose end AWS enforces as a whole.
    async fn managed(
        &self,
        service: &Service,
        carrier: &Carrier,
        grant: &Grant,
        arn: &str,
    ) -> Result<Wanted, TargetError> {
        if !is_policy_arn(arn) {
            return Err(malformed("policy", arn));
        }
        let found = service.managed_policy(arn).await?;
        let account = self.desk.account().await?;
        let ManagedPolicy { version, document } =
            found.ok_or_else(|| unknown("policy_unknown", "policy", arn, account))?;
        if let Some(copy) = document::copy(&document, grant.expiry) {
            let note = format!("{version}; later versions do not reach this grant");
            let inline = Inline {
                document: copy,
                details: vec![Detail::new("copy_of_version", note)],
            };
            let inline = self.inline(service, carrier, grant, inline).await;
            match inline {
                Err(error)
                    if carrier.is_ours && error.failure().reason == "inline_policies_full" => {}
                other => return other,
            }
        } else if !carrier.is_ours {
            return Err(cannot_end("policy", arn, carrier));
        }
        let attached = self.attached(service, carrier).await?;
        if attached.len() >= MOST_ATTACHED && !attached.iter().any(|one| one == arn) {
            return Err(full(
                "attached_policies_full",
                &format!(
                    "IAM user `{}` has {} attached policies",
                    carrier.name,
                    attached.len()
                ),
                "end another grant of this person",
            ));
        }
        Ok(Wanted {
            effect: Effect::Attach {
                arn: arn.to_owned(),
            },
            details: vec![attached_detail(
                "attached as it is: too large to be given an end of its own",
            )],
        })
    }

    async fn attached(
        &self,
        service: &Service,
        carrier: &Carrier,
    ) -> Result<Vec<String>, TargetError> {
        if !carrier.exists {
            return Ok(Vec::new());
        }
        Ok(service.attached(&carrier.name).await?)
    }

    async fn member(
        &self,
        service: &Service,
        carrier: &Carrier,
        name: &str,
    ) -> Result<Wanted, TargetError> {
        if !is_name(name, 128) {
            return Err(malformed("group", name));
        }
        if !carrier.is_ours {
            return Err(cannot_end("group", name, carrier));
        }
        let account = self.desk.account().await?;
        if !service.has_group(name).await? {
            return Err(unknown("group_unknown", "group", name, account));
        }
        let groups = if carrier.exists {
            service.groups(&carrier.name).await?
        } else {
            Vec::new()
        };
        if groups.len() >= MOST_GROUPS && !groups.iter().any(|one| one == name) {
            return Err(full(
                "groups_full",
                &format!("IAM user `{}` is in {} groups", carrier.name, groups.len()),
                "end another grant of this person",
            ));
        }
        Ok(Wanted {
            effect: Effect::Member {
                group: name.to_owned(),
            },
            details: vec![attached_detail(
                "by membership, which has no end of its own",
            )],
        })
    }

    fn assume_details(&self, role: &Role, name: &str) -> Vec<Detail> {
        let settings = &self.desk.settings;
        let (profile, region) = (&settings.profile, &settings.chain.region);
        let config = format!(
            "[profile {profile}-{name}]\nrole_arn = {}\nsource_profile = {profile}\nregion = {region}\n",
            role.arn
        );
        vec![
            Detail::new("role_arn", &role.arn),
            Detail::new("aws_config", config),
            Detail::new("residual_session", period(role.session)),
        ]
    }
}

fn attached_detail(how: &str) -> Detail {
    let value = format!(
        "{how}; the connector takes it away, and AWS itself refuses everything to this user from the end of its last grant on"
    );
    Detail::new("ends_by_itself", value)
}

/// Writes seconds as AWS does: `PT1H`, `PT90M`.
pub(super) fn period(seconds: i32) -> String {
    if seconds % 3600 == 0 {
        format!("PT{}H", seconds / 3600)
    } else {
        format!("PT{}M", seconds / 60)
    }
}

/// A name of IAM: nothing in it can be taken for a pattern or a variable.
fn is_name(name: &str, most: usize) -> bool {
    (1..=most).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"_+=,.@-".contains(&b))
}

fn bucket(name: &str) -> Result<&str, TargetError> {
    let fits = (3..=63).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b".-".contains(&b));
    fits.then_some(name)
        .ok_or_else(|| malformed("bucket", name))
}

/// Tells whether a trust policy lets users of an account in, on their own policies or by name. Conditions are left to AWS.
fn trusts(trust: &str, account: &str, user: &str) -> bool {
    let Ok(trust) = serde_json::from_str::<Value>(trust) else {
        return false;
    };
    let listed = |value: &Value| -> Vec<String> {
        match value {
            Value::String(one) => vec![one.clone()],
            Value::Array(many) => many
                .iter()
                .filter_map(|one| one.as_str().map(str::to_owned))
                .collect(),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => Vec::new(),
        }
    };
    let is_us = |who: &String| {
        let of_account = who.contains(&format!(":iam::{account}:"));
        who == "*"
            || who == account
            || (of_account && (who.ends_with(":root") || who.ends_with(&format!("/{user}"))))
    };
    listed_statements(&trust).iter().any(|statement| {
        let who = statement.get("Principal");
        let who = who.and_then(|who| who.get("AWS")).or(who);
        statement.get("Effect").and_then(Value::as_str) == Some("Allow")
            && who.is_some_and(|who| listed(who).iter().any(is_us))
    })
}

fn listed_statements(policy: &Value) -> Vec<&Value> {
    match policy.get("Statement") {
        Some(Value::Array(statements)) => statements.iter().collect(),
        Some(one) => vec![one],
        None => Vec::new(),
    }
}

fn unknown(reason: &'static str, what: &str, name: &str, account: &str) -> TargetError {
    let message = format!("account {account} has no {what} `{}`", shown(name));
    refused(ErrorClass::NotFound, reason, message, "")
}

fn malformed(what: &str, name: &str) -> TargetError {
    let message = format!("`{}` cannot be the name of a {what}", shown(name));
    refused(ErrorClass::Bug, "resource_name_invalid", message, "")
}

fn full(reason: &'static str, message: &str, hint: &str) -> TargetError {
    refused(ErrorClass::NeedsOperator, reason, message, hint)
}

fn cannot_end(what: &str, name: &str, carrier: &Carrier) -> TargetError {
    let message = format!(
        "{what} `{}` can be given only in a way that AWS does not end by itself, and IAM user `{}` is the person's own",
        shown(name),
        carrier.name
    );
    let hint = "grant a role or a smaller policy, or take the tag off the user so that one of ours is made";
    refused(ErrorClass::NeedsOperator, "would_not_end", message, hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_must_trust_the_account_or_the_user() {
        let trust = |who: &str| {
            format!(
                r#"{{"Statement": [{{"Effect": "Deny", "Principal": "*"}}, {{"Effect": "Allow", "Principal": {who}, "Action": "sts:AssumeRole"}}]}}"#
            )
        };
        for yes in [
            r#"{"AWS": "arn:aws:iam::123456789012:root"}"#,
            r#"{"AWS": ["123456789012", "arn:aws:iam::1:root"]}"#,
            r#"{"AWS": "arn:aws:iam::123456789012:user/apono/alice_apono"}"#,
            r#""*""#,
        ] {
            assert!(trusts(&trust(yes), "123456789012", "alice_apono"), "{yes}");
        }
        for no in [
            r#"{"Service": "ec2.amazonaws.com"}"#,
            r#"{"AWS": "arn:aws:iam::210987654321:root"}"#,
            r#"{"AWS": "arn:aws:iam::123456789012:role/other"}"#,
        ] {
            assert!(!trusts(&trust(no), "123456789012", "alice_apono"), "{no}");
        }
        assert!(!trusts("no policy", "123456789012", "alice_apono"));
    }

    #[test]
    fn a_name_that_could_be_a_pattern_is_none() {
        for bad in ["", "*", "a*", "a?", "${aws:username}", "a/b", "ro le"] {
            assert!(!is_name(bad, 64), "{bad}");
            assert!(bucket(bad).is_err(), "{bad}");
        }
        assert!(is_name("deploy+=,.@-_", 64));
        assert!(bucket("logs.example-1").is_ok());
        assert!(bucket("Logs").is_err());
        assert_eq!(
            (period(3600).as_str(), period(5400).as_str()),
            ("PT1H", "PT90M")
        );
    }
}
