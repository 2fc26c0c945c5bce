//! What is planned from what was seen.

use super::*;
use crate::domain::{EndReason, GrantId, IntegrationId, Permission, ResourceKind, ResourceRef};
use crate::targets::postgres::observe::{AccessRole, Membership, OtherGrant};
use jiff::Timestamp;

fn home() -> Home {
    Home::for_tests("c-1", "app")
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn order() -> Start {
    let path = vec!["app".to_owned(), "shop".to_owned()];
    Start {
        grant: Grant {
            id: GrantId::parse("01890a5d-ac96-774b-bcce-b302099a8057").unwrap(),
            integration: IntegrationId::new(uuid::Uuid::nil()),
            principal: Principal::parse("alice@example.com").unwrap(),
            resource: ResourceRef::new(ResourceKind::PostgresSchema, path).unwrap(),
            permission: Permission::ReadOnly,
            expiry: at("2030-01-01T01:00:00Z"),
        },
        recipient: String::new(),
        attempt: 2,
        checkpoint: None,
        lease_deadline: at("2030-01-01T00:01:00Z"),
    }
}

fn access_role() -> String {
    access_role_name(&home(), &order().grant.resource, Permission::ReadOnly)
}

fn login_row(name: &str, connector: &str, principal: &str) -> LoginRow {
    LoginRow {
        name: name.to_owned(),
        connector: connector.to_owned(),
        principal: principal.to_owned(),
        version: 7,
        password_grant: None,
    }
}

fn role(name: &str, marked_by: MarkedBy) -> Role {
    Role {
        name: name.to_owned(),
        marked_by,
        elevated: false,
        administered: true,
        can_login: true,
    }
}

fn ready() -> Observed {
    Observed {
        access_role: AccessRole {
            row: true,
            role: Some(role(&access_role(), MarkedBy::Us)),
            fresh: true,
            complete: true,
        },
        ..Observed::default()
    }
}

fn own_row() -> GrantRow {
    GrantRow {
        connector: "c-1".to_owned(),
        login: "alice_apono".to_owned(),
        access_role: access_role(),
        principal: "alice@example.com".to_owned(),
        expiry: at("2030-01-01T01:00:00Z"),
        is_over: false,
        attempt: 1,
        started_at: None,
        ended: None,
    }
}

#[track_caller]
fn refused(seen: &Observed) -> (ErrorClass, String) {
    let error = crate::targets::TargetError::from(start(&home(), &order(), seen).unwrap_err());
    (error.class(), error.failure().reason.to_owned())
}

fn planned(seen: &Observed) -> StartGrant {
    let plan = start(&home(), &order(), seen).unwrap();
    plan.steps
        .into_iter()
        .find_map(|step| match step.change {
            Change::StartGrant(planned) => Some(planned),
            Change::PrepareAccessRole { .. }
            | Change::Remember(_)
            | Change::PreparePermissionSet { .. }
            | Change::Assign
            | Change::PrepareUser { .. }
            | Change::GiveRights
            | Change::MoveExpiry { .. }
            | Change::SetCredential { .. }
            | Change::Verify
            | Change::CloseDoor
            | Change::EndSessions
            | Change::BlockLogin
            | Change::CleanUp => None,
        })
        .expect("a start")
}

fn kinds(plan: &Plan) -> Vec<&'static str> {
    plan.steps
        .iter()
        .map(|step| match step.change {
            Change::PrepareAccessRole { .. } => "prepare",
            Change::StartGrant(_) => "start",
            Change::SetCredential { .. } => "credential",
            Change::Verify => "verify",
            Change::Remember(_)
            | Change::PreparePermissionSet { .. }
            | Change::Assign
            | Change::PrepareUser { .. }
            | Change::GiveRights
            | Change::MoveExpiry { .. }
            | Change::CloseDoor
            | Change::EndSessions
            | Change::BlockLogin
            | Change::CleanUp => "other",
        })
        .collect()
}

#[test]
fn the_first_start_makes_role_login_and_password() {
    let plan = start(&home(), &order(), &Observed::default()).unwrap();
    assert_eq!(kinds(&plan), ["prepare", "start", "verify"]);
    let planned = planned(&Observed::default());
    assert_eq!(planned.login, "alice_apono");
    assert!(planned.make_login && planned.set_password);
    assert_eq!(planned.login_version, 0);
}

#[test]
fn a_complete_access_role_is_not_prepared_again() {
    let plan = start(&home(), &order(), &ready()).unwrap();
    assert_eq!(kinds(&plan), ["start", "verify"]);
}

#[test]
fn a_plan_holds_no_sql_and_names_who_and_until_when() {
    let plan = start(&home(), &order(), &ready()).unwrap();
    assert_eq!(
        plan.steps[0].note,
        format!(
            "make the login and grant `{}` to `alice_apono` until 2030-01-01T01:00:00Z",
            access_role()
        )
    );
}

#[test]
fn beside_another_live_grant_the_password_stays_and_the_date_is_the_later_one() {
    let mut seen = ready();
    seen.logins = vec![login_row("alice_apono", "c-1", "alice@example.com")];
    seen.roles = vec![role("alice_apono", MarkedBy::Us)];
    seen.others = vec![OtherGrant {
        login: "alice_apono".to_owned(),
        access_role: "a_1_apono".to_owned(),
        expiry: at("2030-01-01T05:00:00Z"),
    }];
    seen.memberships = vec![Membership {
        login: "alice_apono".to_owned(),
        role: "a_1_apono".to_owned(),
        ours: true,
    }];
    let planned = planned(&seen);
    assert!(!planned.make_login && !planned.set_password);
    assert_eq!(planned.valid_until, at("2030-01-01T05:00:00Z"));
    assert_eq!(planned.login_version, 7);
}

#[test]
fn a_name_held_by_another_principal_or_connector_is_left_alone() {
    for row in [
        login_row("alice_apono", "c-1", "alice@other.example"),
        login_row("alice_apono", "c-2", "alice@example.com"),
    ] {
        let mut seen = ready();
        seen.logins = vec![row];
        seen.roles = vec![role("alice_apono", MarkedBy::Us)];
        let name = planned(&seen).login;
        assert!(
            name.starts_with("alice_") && name != "alice_apono",
            "{name}"
        );
    }
    let mut seen = ready();
    seen.roles = vec![role("alice_apono", MarkedBy::OurOtherHome)];
    assert_ne!(planned(&seen).login, "alice_apono");
}

#[test]
fn a_role_that_is_not_ours_is_refused() {
    let cases = [
        role("alice_apono", MarkedBy::Nobody),
        role("alice_apono", MarkedBy::Another),
        Role {
            elevated: true,
            ..role("alice_apono", MarkedBy::Us)
        },
        Role {
            administered: false,
            ..role("alice_apono", MarkedBy::Us)
        },
    ];
    for case in cases {
        let mut seen = ready();
        seen.roles = vec![case];
        assert_eq!(
            refused(&seen),
            (ErrorClass::NeedsOperator, "login_not_ours".to_owned())
        );
    }
}

#[test]
fn a_redelivered_start_does_only_what_is_missing() {
    let mut seen = ready();
    seen.grant = Some(own_row());
    seen.logins = vec![login_row("alice_apono", "c-1", "alice@example.com")];
    let plan = start(&home(), &order(), &seen).unwrap();
    assert_eq!(kinds(&plan), ["verify"]);
    seen.logins[0].password_grant = Some(order().grant.id.to_string());
    let plan = start(&home(), &order(), &seen).unwrap();
    assert_eq!(kinds(&plan), ["credential", "verify"]);
}

#[test]
fn an_ended_grant_never_starts_again() {
    let ended = GrantRow {
        ended: Some(EndReason::Revoked),
        ..own_row()
    };
    let over = GrantRow {
        is_over: true,
        ..own_row()
    };
    for row in [ended, over] {
        let mut seen = ready();
        seen.grant = Some(row);
        assert_eq!(refused(&seen), (ErrorClass::Bug, "grant_ended".to_owned()));
    }
    let mut seen = ready();
    seen.in_history = true;
    assert_eq!(refused(&seen).1, "grant_ended");
}

#[test]
fn an_earlier_delivery_and_a_mix_up_of_ids_are_refused() {
    let mut seen = ready();
    seen.grant = Some(GrantRow {
        attempt: 3,
        ..own_row()
    });
    assert_eq!(refused(&seen).1, "stale_attempt");
    seen.grant = Some(GrantRow {
        principal: "bob@example.com".to_owned(),
        ..own_row()
    });
    assert_eq!(refused(&seen).1, "grant_mismatch");
}
