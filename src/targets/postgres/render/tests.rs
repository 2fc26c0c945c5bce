//! The statements, word for word.

use super::*;
use crate::domain::{
    EndReason, GrantId, IntegrationId, Principal, ResourceKind, Start, StartGrant,
};
use crate::secret::Secret;
use std::collections::{BTreeMap, BTreeSet};

fn home() -> Home {
    Home::for_tests("c-1", "app")
}

fn order(path: &[&str]) -> Start {
    let path = path.iter().map(|name| (*name).to_owned()).collect();
    Start {
        grant: Grant {
            id: GrantId::parse("01890a5d-ac96-774b-bcce-b302099a8057").unwrap(),
            integration: IntegrationId::new(uuid::Uuid::nil()),
            principal: Principal::parse("o'hara\\@example.com").unwrap(),
            resource: ResourceRef::new(ResourceKind::PostgresTable, path).unwrap(),
            permission: Permission::ReadOnly,
            expiry: "2030-01-01T01:00:00Z".parse().unwrap(),
        },
        recipient: String::new(),
        attempt: 1,
        checkpoint: None,
        lease_deadline: "2030-01-01T00:01:00Z".parse().unwrap(),
    }
}

#[test]
fn a_start_is_one_transaction_that_ends_in_the_fence() {
    let order = order(&["app", "sh\"op", "a'b\\c"]);
    let planned = StartGrant {
        login: "o_hara__apono".to_owned(),
        access_role: "a_0123456789abcdef_apono".to_owned(),
        make_login: true,
        set_password: true,
        valid_until: order.grant.expiry,
        login_version: 0,
        strays: vec!["a_stray_apono".to_owned()],
    };
    let verifier = Secret::new("SCRAM-SHA-256$4096:c2FsdA==$a:b".to_owned());
    let sql = start(&StartFacts {
        home: &home(),
        start: &order,
        planned: &planned,
        verifier: Some(&verifier),
        deadline: order.lease_deadline,
        server_version: 160_000,
    });
    insta::assert_snapshot!(sql.expose(), @r#"
    BEGIN READ WRITE;
    SET LOCAL lock_timeout = '2s';
    INSERT INTO apono.login (name, connector, principal) VALUES ('o_hara__apono', 'c-1',  E'o''hara\\@example.com') ON CONFLICT DO NOTHING;
    WITH held AS (SELECT version FROM apono.login WHERE name = 'o_hara__apono' AND connector = 'c-1' AND principal =  E'o''hara\\@example.com' FOR UPDATE)
    SELECT pg_catalog.int2(CASE WHEN (SELECT version FROM held) = 0 THEN 1 ELSE 70000 END);
    WITH held AS (SELECT name FROM apono.access_role WHERE name = 'a_0123456789abcdef_apono' AND complete_at IS NOT NULL FOR KEY SHARE)
    SELECT pg_catalog.int2(CASE WHEN (SELECT pg_catalog.count(*) FROM held) = 1 THEN 1 ELSE 70000 END);
    CREATE ROLE "o_hara__apono" LOGIN PASSWORD 'SCRAM-SHA-256$4096:c2FsdA==$a:b' CONNECTION LIMIT 10 VALID UNTIL '2030-01-01T01:00:00Z';
    COMMENT ON ROLE "o_hara__apono" IS 'apono v1 connector=c-1 kind=login key=8f426e6b785cb364';
    REVOKE "a_stray_apono" FROM "o_hara__apono";
    GRANT "a_0123456789abcdef_apono" TO "o_hara__apono" WITH INHERIT TRUE, SET FALSE;
    INSERT INTO apono."grant" (id, connector, integration, login, access_role, principal, kind, path, level, expiry, lease_deadline, attempt, started_at)
    VALUES ('01890a5d-ac96-774b-bcce-b302099a8057'::uuid, 'c-1', '00000000-0000-0000-0000-000000000000'::uuid, 'o_hara__apono', 'a_0123456789abcdef_apono',  E'o''hara\\@example.com', 'postgresql-table', ARRAY['app', 'sh"op',  E'a''b\\c']::text[], 'READ_ONLY', '2030-01-01T01:00:00Z'::timestamptz, '2030-01-01T00:01:00Z'::timestamptz, 1, pg_catalog.clock_timestamp());
    UPDATE apono.login SET version = version + 1, blocked_at = NULL, leftovers = '{}', password_grant = '01890a5d-ac96-774b-bcce-b302099a8057'::uuid, password_attempt = 1 WHERE name = 'o_hara__apono';
    SELECT 'started', pg_catalog.to_char(started_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') FROM apono."grant" WHERE id = '01890a5d-ac96-774b-bcce-b302099a8057'::uuid;
    SELECT 1/(pg_catalog.clock_timestamp() < '2030-01-01T00:01:00Z'::timestamptz)::int;
    COMMIT;
    "#);
}

#[test]
fn an_end_never_alters_or_drops_a_role_before_the_membership_is_gone() {
    let order = order(&["app", "shop", "orders"]);
    let facts = DoorFacts {
        home: &home(),
        grant: &order.grant,
        reason: EndReason::Revoked,
        login: "o_hara__apono",
        access_role: "a_0123456789abcdef_apono",
    };
    let read = door_read(&facts);
    let close = door_close(
        order.grant.id,
        EndReason::Revoked,
        "o_hara__apono",
        Some("a_0123456789abcdef_apono"),
    );
    for sql in [&read, &close] {
        assert!(!sql.contains("ALTER") && !sql.contains("DROP"), "{sql}");
    }
    assert!(close.contains("REVOKE \"a_0123456789abcdef_apono\" FROM \"o_hara__apono\";"));
    assert!(!door_close(order.grant.id, EndReason::Revoked, "x_apono", None).contains("REVOKE"));
}

#[test]
fn ends_together_take_each_shared_role_away_in_one_statement() {
    let grant = order(&["app", "shop", "orders"]).grant.id;
    let revoked = BTreeMap::from([
        ("a_1_apono", BTreeSet::from(["x_apono", "y\"_apono"])),
        ("a_2_apono", BTreeSet::from(["x_apono"])),
    ]);
    let sql = together::close(&[(grant, EndReason::Revoked)], &revoked, "names");
    let revokes: Vec<_> = sql.lines().filter(|l| l.starts_with("REVOKE")).collect();
    assert_eq!(
        revokes,
        [
            r#"REVOKE "a_1_apono" FROM "x_apono", "y""_apono";"#,
            r#"REVOKE "a_2_apono" FROM "x_apono";"#
        ]
    );
}

#[test]
fn membership_forbids_acting_as_the_role_where_the_server_can() {
    assert_eq!(
        membership("a", "b", 180_000),
        "GRANT \"a\" TO \"b\" WITH INHERIT TRUE, SET FALSE;\n"
    );
    assert_eq!(membership("a", "b", 150_000), "GRANT \"a\" TO \"b\";\n");
}

#[test]
fn hostile_values_stay_inside_their_quotes() {
    assert_eq!(id("a\"b; DROP"), "\"a\"\"b; DROP\"");
    assert_eq!(lit("a'b"), "'a''b'");
    assert_eq!(lit("a\\'b").trim(), "E'a\\\\''b'");
    assert_eq!(
        id("nul\0"),
        "\"\"",
        "the empty name fails the whole message"
    );
    assert_eq!(id(&"x".repeat(64)), "\"\"");
    assert!(!lit("nul\0").contains('\0'));
}

#[test]
fn access_roles_differ_by_everything_that_matters() {
    let role = |connector: &str, database: &str, path: &[&str], level| {
        access_role_name(
            &Home::for_tests(connector, database),
            &order(path).grant.resource,
            level,
        )
    };
    let names = [
        role("c-1", "app", &["app", "s", "t"], Permission::ReadOnly),
        role("c-2", "app", &["app", "s", "t"], Permission::ReadOnly),
        role("c-1", "app2", &["app", "s", "t"], Permission::ReadOnly),
        role("c-1", "app", &["app", "st", "t"], Permission::ReadOnly),
        role("c-1", "app", &["app", "s", "tt"], Permission::ReadOnly),
        role("c-1", "app", &["app", "s", "t"], Permission::Admin),
    ];
    let distinct: std::collections::BTreeSet<_> = names.iter().collect();
    assert_eq!(distinct.len(), names.len());
    assert!(
        names
            .iter()
            .all(|name| name.len() == 24 && name.starts_with("a_"))
    );
}
