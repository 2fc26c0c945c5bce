//! Owns making many live logins fast: by SQL that leaves roles, marks, memberships and records as so many starts would. Never measures.

use super::person::as_admin;
use crate::company::World;
use apono_connector::domain::{Grant, LoginName, Permission, Principal, ResourceRef};
use apono_connector::pg::Session;
use apono_connector::targets::Target;
use sha2::{Digest, Sha256};
use std::fmt::Write;

/// Logins made in one transaction.
const AT_ONCE: usize = 500;
/// What the target of [`World::new`] is called.
const CONNECTOR: &str = "c-1";

/// Of a password nobody knows, after a single round: the server tries every new verifier against the empty password, and with the usual
/// 4,096 rounds making logins would take minutes.
const VERIFIER: &str = "SCRAM-SHA-256$1:c2FsdHNhbHRzYWx0c2FsdA==$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

/// Live logins, all with the same access.
pub(super) struct Crowd<'a> {
    world: &'a World,
    on: ResourceRef,
    /// A grant that was started through the target: the others are copies of its records.
    first: Grant,
    live: Vec<Grant>,
    made: usize,
}

impl<'a> Crowd<'a> {
    pub(super) fn of(world: &'a World, on: ResourceRef, first: Grant) -> Self {
        Self {
            world,
            on,
            first,
            live: Vec::new(),
            made: 0,
        }
    }

    /// Makes logins until so many are live, the first one included, and asks the target whether it takes them for its own.
    pub(super) async fn grow(&mut self, size: usize) {
        let admin = as_admin(self.world).await;
        let root = self.world.root().await;
        while self.live.len() + 1 < size {
            let count = AT_ONCE.min(size - 1 - self.live.len());
            let people: Vec<Grant> = (0..count).map(|_| self.next()).collect();
            self.make(&admin, &root, &people).await;
            self.live.extend(people);
        }
        root.batch("tidy up", "VACUUM ANALYZE").await.unwrap();
        let target = &self.world.target;
        let recorded = target.recorded().await.unwrap();
        let live = recorded.iter().filter(|grant| grant.ended.is_none());
        assert_eq!(live.count(), size);
        let mended = target.mend().await.unwrap();
        assert!(mended.is_empty(), "{mended:?}");
    }

    /// Takes some out, to be ended.
    pub(super) fn take(&mut self, count: usize) -> Vec<Grant> {
        self.live.split_off(self.live.len() - count)
    }

    fn next(&mut self) -> Grant {
        self.made += 1;
        let who = Principal::parse(&format!("crowd{}@example.com", self.made)).unwrap();
        self.world
            .grant(&who, self.on.clone(), Permission::ReadOnly)
    }

    async fn make(&self, admin: &Session, root: &Session, people: &[Grant]) {
        let options = match admin.server().major() {
            ..16 => "",
            16.. => " WITH INHERIT TRUE, SET FALSE",
        };
        let (mut roles, mut marks, mut names, mut rows) =
            (String::new(), String::new(), Vec::new(), Vec::new());
        for grant in people {
            let login = LoginName::derive(&grant.principal);
            let database = &self.world.database;
            let key = hex16(&["mark", CONNECTOR, database, "login", login.as_str()]);
            writeln!(roles, "CREATE ROLE {login} LOGIN PASSWORD '{VERIFIER}' CONNECTION LIMIT 10 VALID UNTIL '{}';", grant.expiry).unwrap();
            writeln!(
                marks,
                "COMMENT ON ROLE {login} IS 'apono v1 connector={CONNECTOR} kind=login key={key}';"
            )
            .unwrap();
            rows.push(format!(
                "('{}', '{login}', '{}')",
                grant.id.as_uuid(),
                grant.principal
            ));
            names.push(login.to_string());
        }
        let copy = |table: &str, fields: &str, of: &str| {
            format!(
                "INSERT INTO apono.{table} SELECT (jsonb_populate_record(t, jsonb_build_object({fields}))).*\n\
                 FROM apono.{table} t, (VALUES {}) v (id, login, principal) WHERE {of};\n",
                rows.join(", ")
            )
        };
        let first = self.first.id.as_uuid();
        let access = "SELECT access_role FROM apono.\"grant\" WHERE id";
        let access = admin
            .batch("ask", &format!("{access} = '{first}'"))
            .await
            .unwrap();
        let sql = format!(
            "BEGIN; {roles}GRANT {} TO {}{options};\n{}{}COMMIT;",
            access.text().unwrap(),
            names.join(", "),
            copy(
                "login",
                "'name', v.login, 'principal', v.principal, 'password_grant', v.id",
                &format!("t.name = '{}'", LoginName::derive(&self.first.principal))
            ),
            copy(
                "\"grant\"",
                "'id', v.id, 'login', v.login, 'principal', v.principal",
                &format!("t.id = '{first}'")
            ),
        );
        admin.batch("make logins", &sql).await.unwrap();
        root.batch("mark the logins", &marks).await.unwrap();
    }
}

/// The connector's hash of texts, each with its length.
fn hex16(texts: &[&str]) -> String {
    let mut hasher = Sha256::new();
    for text in texts {
        hasher.update((text.len() as u64).to_be_bytes());
        hasher.update(text.as_bytes());
    }
    let digest = hasher.finalize();
    digest.iter().take(8).map(|b| format!("{b:02x}")).collect()
}
