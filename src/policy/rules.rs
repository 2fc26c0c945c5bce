//! Owns the rules, one function each. Never looks at anything but its arguments.

use super::Judged;
use crate::domain::{Integration, IntegrationState};
use jiff::{SignedDuration, Timestamp};

/// How long after it was issued a start may still begin; design: 10 minutes, longer than any retry within a lease.
pub const ORDER_VALIDITY: SignedDuration = SignedDuration::from_mins(10);

/// The local limits.
#[derive(Debug, Clone)]
pub struct Guardrails {
    /// Longest time from the first start of a grant to its expiry.
    pub longest_grant: SignedDuration,
    /// Whether all new access is refused until further notice.
    pub frozen: bool,
    /// How far apart the control plane's clock and ours are.
    pub clock_skew: SignedDuration,
    /// Largest skew at which starts are still allowed.
    pub largest_skew: SignedDuration,
}

impl Default for Guardrails {
    /// 12 hours at the longest, 30 seconds of skew.
    fn default() -> Self {
        Self {
            longest_grant: SignedDuration::from_hours(12),
            frozen: false,
            clock_skew: SignedDuration::ZERO,
            largest_skew: SignedDuration::from_secs(30),
        }
    }
}

/// A refusal that names its rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("denied by {rule}: {message}")]
pub struct Denial {
    /// Stable snake_case name of the rule.
    pub rule: &'static str,
    /// What was asked and what the limit is.
    pub message: String,
    /// What to change.
    pub hint: Option<String>,
}

fn deny(rule: &'static str, message: String, hint: &str) -> Result<(), Denial> {
    Err(Denial {
        rule,
        message,
        hint: Some(hint.to_owned()),
    })
}

pub(super) fn check<'a>(
    guardrails: &Guardrails,
    judged: &Judged<'a>,
    now: Timestamp,
) -> Result<&'a Integration, Denial> {
    let integration = assigned(judged)?;
    not_retiring(integration)?;
    not_frozen(guardrails)?;
    clocks_agree(guardrails)?;
    permission_fits(judged)?;
    principal_fits(judged)?;
    order_is_fresh(judged, now)?;
    expiry_is_ahead(judged, now)?;
    not_too_long(guardrails, judged, now)?;
    lease_is_alive(judged, now)?;
    Ok(integration)
}

fn assigned<'a>(judged: &Judged<'a>) -> Result<&'a Integration, Denial> {
    judged.integration.ok_or_else(|| Denial {
        rule: "integration_not_assigned",
        message: format!("integration `{}` is not assigned to this connector", judged.grant.integration),
        hint: Some("assign the integration to this connector, or send the order to the connector that has it".to_owned()),
    })
}

fn not_retiring(integration: &Integration) -> Result<(), Denial> {
    match integration.state {
        IntegrationState::Active => Ok(()),
        IntegrationState::Retiring => deny(
            "integration_retiring",
            format!(
                "integration `{}` is retiring and takes no new access",
                integration.id
            ),
            "add a new integration for the same system, or take the retirement back",
        ),
    }
}

fn not_frozen(guardrails: &Guardrails) -> Result<(), Denial> {
    if guardrails.frozen {
        return deny(
            "frozen",
            "starts are frozen on this instance".to_owned(),
            "run `apono-connector unfreeze` on the instance once it is safe to start access again",
        );
    }
    Ok(())
}

fn clocks_agree(guardrails: &Guardrails) -> Result<(), Denial> {
    if guardrails.clock_skew.abs() > guardrails.largest_skew {
        return deny(
            "clock_skew",
            format!(
                "the control plane's clock and ours are {} s apart, limit {} s",
                guardrails.clock_skew.as_secs(),
                guardrails.largest_skew.as_secs()
            ),
            "run a time service on the connector's host and on the control plane's",
        );
    }
    Ok(())
}

fn permission_fits(judged: &Judged<'_>) -> Result<(), Denial> {
    judged.grant.check_permission().map_err(|invalid| Denial {
        rule: "unknown_permission",
        message: invalid.to_string(),
        hint: None,
    })
}

fn principal_fits(judged: &Judged<'_>) -> Result<(), Denial> {
    judged.grant.check_principal().map_err(|invalid| Denial {
        rule: "principal_does_not_fit",
        message: invalid.to_string(),
        hint: None,
    })
}

fn order_is_fresh(judged: &Judged<'_>, now: Timestamp) -> Result<(), Denial> {
    let Some(issued_at) = judged.issued_at else {
        return Ok(());
    };
    let age = now.duration_since(issued_at);
    if age > ORDER_VALIDITY {
        return deny(
            "order_too_old",
            format!(
                "the order is {} s old, limit {} s",
                age.as_secs(),
                ORDER_VALIDITY.as_secs()
            ),
            "order the access again",
        );
    }
    Ok(())
}

fn expiry_is_ahead(judged: &Judged<'_>, now: Timestamp) -> Result<(), Denial> {
    if judged.grant.is_over(now) {
        return deny(
            "expiry_past",
            format!(
                "the expiry {} is not in the future, it is {now}",
                judged.grant.expiry
            ),
            "order the access again with a later expiry",
        );
    }
    Ok(())
}

fn not_too_long(
    guardrails: &Guardrails,
    judged: &Judged<'_>,
    now: Timestamp,
) -> Result<(), Denial> {
    let from = judged.first_started.unwrap_or(now);
    let asked = judged.grant.expiry.duration_since(from);
    if asked > guardrails.longest_grant {
        return deny(
            "longest_grant",
            format!(
                "asked for {} s from the first start, limit {} s",
                asked.as_secs(),
                guardrails.longest_grant.as_secs()
            ),
            "ask for less, or raise `guardrails.longest_grant_s` in the connector's configuration",
        );
    }
    Ok(())
}

fn lease_is_alive(judged: &Judged<'_>, now: Timestamp) -> Result<(), Denial> {
    match judged.lease_deadline {
        Some(deadline) if now >= deadline => deny(
            "lease_over",
            format!("the lease ended at {deadline}, it is {now}"),
            "the order is delivered again; nothing to do",
        ),
        Some(_) | None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Authorization, judge};
    use super::*;
    use crate::domain::{
        Grant, GrantId, IntegrationId, Permission, Principal, ResourceKind, ResourceRef, SecretRef,
    };

    fn now() -> Timestamp {
        "2030-01-01T00:00:00Z".parse().unwrap()
    }

    struct Case {
        grant: Grant,
        integration: Option<Integration>,
        issued_at: Option<Timestamp>,
        first_started: Option<Timestamp>,
        lease_deadline: Option<Timestamp>,
        guardrails: Guardrails,
    }

    fn good() -> Case {
        let id = IntegrationId::generate();
        Case {
            grant: Grant {
                id: GrantId::generate(),
                integration: id,
                principal: Principal::parse("alice@example.com").unwrap(),
                resource: ResourceRef::new(
                    ResourceKind::PostgresSchema,
                    vec!["app".into(), "public".into()],
                )
                .unwrap(),
                permission: Permission::ReadOnly,
                expiry: now() + SignedDuration::from_hours(1),
            },
            integration: Some(Integration {
                id,
                name: "orders".into(),
                kind: "postgresql".into(),
                settings: [("hostname".to_owned(), "db".to_owned())].into(),
                secret: Some(SecretRef::parse("file:/run/secret").unwrap()),
                state: IntegrationState::Active,
            }),
            issued_at: Some(now()),
            first_started: None,
            lease_deadline: Some(now() + SignedDuration::from_secs(60)),
            guardrails: Guardrails::default(),
        }
    }

    #[track_caller]
    fn check_rule(case: &Case, expect: Option<&str>) {
        let judged = Judged {
            grant: &case.grant,
            integration: case.integration.as_ref(),
            issued_at: case.issued_at,
            first_started: case.first_started,
            lease_deadline: case.lease_deadline,
        };
        let rule = match judge(&case.guardrails, judged, now()) {
            Authorization::Permitted(_) => None,
            Authorization::Denied(denial) => Some(denial.rule),
        };
        assert_eq!(rule, expect);
    }

    #[test]
    fn a_good_order_is_permitted_until_the_earlier_of_lease_and_expiry() {
        let case = good();
        check_rule(&case, None);
        let judged = Judged {
            grant: &case.grant,
            integration: case.integration.as_ref(),
            issued_at: case.issued_at,
            first_started: None,
            lease_deadline: case.lease_deadline,
        };
        let Authorization::Permitted(permit) = judge(&case.guardrails, judged, now()) else {
            panic!("denied");
        };
        assert_eq!(permit.deadline(), now() + SignedDuration::from_secs(60));
        let judged = case.integration.unwrap();
        let (grant, settings) = (case.grant.id, judged.digest());
        assert!(permit.covers(grant, judged.id, settings));
        assert!(!permit.covers(GrantId::generate(), judged.id, settings));
        assert!(!permit.covers(grant, IntegrationId::generate(), settings));
        let other = Integration {
            kind: "another".to_owned(),
            ..judged.clone()
        };
        assert!(!permit.covers(grant, judged.id, other.digest()));
    }

    #[test]
    fn an_integration_that_is_unknown_or_retiring_takes_no_start() {
        check_rule(
            &Case {
                integration: None,
                ..good()
            },
            Some("integration_not_assigned"),
        );
        let mut case = good();
        case.integration.as_mut().unwrap().state = IntegrationState::Retiring;
        check_rule(&case, Some("integration_retiring"));
    }

    #[test]
    fn an_expiry_in_the_past_or_a_hundred_years_away_is_refused() {
        let mut case = good();
        case.grant.expiry = now();
        check_rule(&case, Some("expiry_past"));
        case.grant.expiry = now() + SignedDuration::from_hours(24 * 365 * 100);
        check_rule(&case, Some("longest_grant"));
    }

    #[test]
    fn the_longest_duration_counts_from_the_first_start() {
        let mut case = good();
        case.first_started = Some(now() - SignedDuration::from_hours(11));
        case.grant.expiry = now() + SignedDuration::from_mins(59);
        check_rule(&case, None);
        case.grant.expiry = now() + SignedDuration::from_mins(61);
        check_rule(&case, Some("longest_grant"));
    }

    #[test]
    fn a_start_older_than_ten_minutes_is_refused() {
        let mut case = good();
        case.issued_at = Some(now() - SignedDuration::from_secs(601));
        check_rule(&case, Some("order_too_old"));
        case.issued_at = None;
        check_rule(&case, None);
    }

    #[test]
    fn a_lease_that_is_over_starts_nothing() {
        check_rule(
            &Case {
                lease_deadline: Some(now()),
                ..good()
            },
            Some("lease_over"),
        );
    }

    #[test]
    fn a_frozen_instance_or_one_with_a_wrong_clock_starts_nothing() {
        let mut case = good();
        case.guardrails.frozen = true;
        check_rule(&case, Some("frozen"));
        let mut case = good();
        case.guardrails.clock_skew = SignedDuration::from_secs(-31);
        check_rule(&case, Some("clock_skew"));
    }

    #[test]
    fn a_permission_the_resource_does_not_know_is_refused() {
        let mut case = good();
        case.grant.permission = Permission::Member;
        check_rule(&case, Some("unknown_permission"));
    }
}
