//! Owns what a chain of roles is. Never assumes one.

use super::AccountId;
use crate::domain::{GrantId, InvalidValue, shown};
use std::fmt;

/// Most roles in a chain: more is a mistake in the settings, and every hop costs a request per hour and a session token that grows.
const MOST_HOPS: usize = 5;

/// The way from the connector's own credentials to where calls are made: a region, and the roles to assume one after the other.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Chain {
    /// Region of the calls, and of the STS endpoint that is asked for the roles.
    pub region: String,
    /// From the first role to the last; empty for the connector's own credentials.
    pub hops: Vec<Hop>,
}

/// One role to assume.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Hop {
    /// `arn:PARTITION:iam::ACCOUNT:role/PATH/NAME`.
    pub role_arn: String,
    /// What the role's trust policy asks for, 2 to 1,224 characters.
    pub external_id: Option<String>,
}

/// What a session is for. It shows in CloudTrail, as session name and tags.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// The connector's own doing: inventory, checks, sweeps.
    Connector,
    /// One grant.
    Grant(GrantId),
}

/// Who a chain makes us, by `GetCallerIdentity`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The account.
    pub account: AccountId,
    /// The ARN of the session.
    pub arn: String,
}

impl Chain {
    /// Checks every part against what AWS takes, before anything is sent.
    ///
    /// # Errors
    /// When the region, a role's ARN or an external id cannot be one, or there are more than 5 roles.
    pub fn check(&self) -> Result<(), InvalidValue> {
        let region_fits = (1..=32).contains(&self.region.len())
            && self
                .region
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if !region_fits {
            let problem = format!(
                "is `{}`, must be a region such as `eu-west-1`",
                shown(&self.region)
            );
            return Err(InvalidValue::new("`region`", problem));
        }
        if self.hops.len() > MOST_HOPS {
            let problem = format!("has {} roles, at most {MOST_HOPS}", self.hops.len());
            return Err(InvalidValue::new("the chain of roles", problem));
        }
        self.hops.iter().try_for_each(Hop::check)
    }

    /// The chain that ends before the last role.
    pub(super) fn before_last(&self) -> Option<(Self, &Hop)> {
        let (last, before) = self.hops.split_last()?;
        let chain = Self {
            region: self.region.clone(),
            hops: before.to_vec(),
        };
        Some((chain, last))
    }
}

impl Hop {
    fn check(&self) -> Result<(), InvalidValue> {
        if self.account().is_none() {
            let problem = format!(
                "is `{}`, must be `arn:aws:iam::ACCOUNT:role/NAME`",
                shown(&self.role_arn)
            );
            return Err(InvalidValue::new("role ARN", problem));
        }
        let id = self.external_id.as_deref().unwrap_or("none");
        let fits = (2..=1224).contains(&id.len())
            && id
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"_+=,.@:/-".contains(&b));
        if fits {
            Ok(())
        } else {
            let problem = format!(
                "is `{}`, must be 2 to 1224 letters, digits or `_+=,.@:/-`",
                shown(id)
            );
            Err(InvalidValue::new("external id", problem))
        }
    }

    /// Returns the account the role is in; nothing when the ARN is no role's.
    #[must_use]
    pub fn account(&self) -> Option<AccountId> {
        let mut parts = self.role_arn.splitn(6, ':');
        let arn = parts.next() == Some("arn");
        let partition = parts.next().is_some_and(|part| part.starts_with("aws"));
        let iam = parts.next() == Some("iam") && parts.next() == Some("");
        let account = AccountId::parse(parts.next()?).ok()?;
        let name = parts.next()?.strip_prefix("role/")?;
        let named = (1..=577).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_graphic())
            && !name.ends_with('/');
        (arn && partition && iam && named).then_some(account)
    }
}

impl fmt::Display for Hop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.external_id {
            Some(id) => write!(
                f,
                "role `{}` with external id `{}`",
                self.role_arn,
                shown(id)
            ),
            None => write!(f, "role `{}` without an external id", self.role_arn),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hop(role_arn: &str, external_id: Option<&str>) -> Hop {
        Hop {
            role_arn: role_arn.to_owned(),
            external_id: external_id.map(str::to_owned),
        }
    }

    #[test]
    fn a_role_arn_is_checked_and_tells_its_account() {
        for good in [
            "arn:aws:iam::123456789012:role/apono",
            "arn:aws-us-gov:iam::123456789012:role/path/of/apono+=,.@-",
        ] {
            let account = hop(good, None).account().unwrap();
            assert_eq!(account.as_str(), "123456789012");
        }
        for bad in [
            "",
            "apono",
            "arn:aws:iam::123456789012:user/apono",
            "arn:aws:iam::12345678901:role/apono",
            "arn:aws:iam:eu-west-1:123456789012:role/apono",
            "arn:aws:sts::123456789012:assumed-role/apono/x",
            "arn:aws:iam::123456789012:role/",
            "arn:aws:iam::123456789012:role/a b",
        ] {
            assert!(hop(bad, None).check().is_err(), "{bad}");
        }
    }

    #[test]
    fn region_external_id_and_length_are_checked_before_anything_is_sent() {
        let role = "arn:aws:iam::123456789012:role/apono";
        let chain = |region: &str, external_id: Option<&str>, hops: usize| Chain {
            region: region.to_owned(),
            hops: vec![hop(role, external_id); hops],
        };
        assert!(
            chain("eu-west-1", Some("a/b:c@d+e=f,g.h-i_j"), 5)
                .check()
                .is_ok()
        );
        assert!(chain("us-iso-east-1", None, 0).check().is_ok());
        assert!(chain("", None, 1).check().is_err());
        assert!(chain("evil.example.com/", None, 1).check().is_err());
        assert!(chain("eu-west-1", Some("x"), 1).check().is_err());
        assert!(chain("eu-west-1", Some("two words"), 1).check().is_err());
        assert!(chain("eu-west-1", None, 6).check().is_err());
    }
}
