//! Owns what one person costs: a start and an end through the connector's target, and the bare statements. Never prints.

use crate::company::{self, World};
use crate::figure;
use apono_connector::domain::{EndReason, Grant, Permission, Principal, ResourceRef};
use apono_connector::pg::{Limits, Session};
use std::time::{Duration, Instant};

/// Milliseconds of starts and of ends.
#[derive(Default)]
pub(super) struct Times {
    starts: Vec<f64>,
    ends: Vec<f64>,
}

impl Times {
    pub(super) fn start(&self) -> f64 {
        figure::median(self.starts.clone())
    }

    pub(super) fn end(&self) -> f64 {
        figure::median(self.ends.clone())
    }
}

/// Plans and carries out a start for somebody new, reads it back, and returns the grant and the milliseconds it took.
pub(super) async fn start(world: &World, name: &str, on: &ResourceRef) -> (Grant, f64) {
    let who = Principal::parse(&format!("{name}@example.com")).unwrap();
    let grant = world.grant(&who, on.clone(), Permission::ReadOnly);
    let order = world.order(&grant);
    let begun = Instant::now();
    world.run(&world.target, &order).await.unwrap();
    (grant, figure::ms(begun.elapsed()))
}

/// Ends a grant, all three parts, and returns the milliseconds it took.
pub(super) async fn end(world: &World, grant: &Grant) -> f64 {
    let warrant = company::warrant(grant, EndReason::Revoked);
    let begun = Instant::now();
    company::end(&world.target, &warrant).await.unwrap();
    figure::ms(begun.elapsed())
}

/// Persons one after another, each by our road and then by hand, so that both meet the same machine.
pub(super) async fn alternate(
    world: &World,
    bare: &Bare,
    on: &ResourceRef,
    people: u32,
) -> (Times, Times) {
    let (mut ours, mut by_hand) = (Times::default(), Times::default());
    for n in 0..people {
        let name = crate::support::cluster::fresh(&format!("person{n}"));
        let (grant, took) = start(world, &name, on).await;
        ours.starts.push(took);
        ours.ends.push(end(world, &grant).await);
        by_hand.starts.push(bare.start(&name).await);
        by_hand.ends.push(bare.end(&name).await);
        bare.forget(world, &name).await;
    }
    (ours, by_hand)
}

/// What the statements give.
pub(super) enum Gives {
    /// Membership of a role that holds the privileges.
    Role(String),
    /// Each table of a schema.
    Tables(String),
}

/// Longest time of the bare statements, which touch every table.
const BY_HAND_LIMIT: Duration = Duration::from_secs(300);

/// The bare statements, over one session that is open already and acts as the connector's admin role.
pub(super) struct Bare {
    session: Session,
    gives: Gives,
}

impl Bare {
    pub(super) async fn open(world: &World, gives: Gives) -> Self {
        Self {
            session: as_admin(world).await,
            gives,
        }
    }

    async fn start(&self, name: &str) -> f64 {
        let begun = Instant::now();
        let verifier = postgres_protocol::password::scram_sha_256(name.as_bytes());
        let given = match &self.gives {
            Gives::Role(role) => format!("GRANT {role} TO bare_{name}"),
            Gives::Tables(schema) => format!(
                "GRANT USAGE ON SCHEMA {schema} TO bare_{name}; GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO bare_{name}"
            ),
        };
        let sql =
            format!("BEGIN; CREATE ROLE bare_{name} LOGIN PASSWORD '{verifier}'; {given}; COMMIT");
        self.session.batch("give by hand", &sql).await.unwrap();
        figure::ms(begun.elapsed())
    }

    async fn end(&self, name: &str) -> f64 {
        let taken = match &self.gives {
            Gives::Role(role) => format!("REVOKE {role} FROM bare_{name}"),
            Gives::Tables(schema) => format!(
                "REVOKE SELECT ON ALL TABLES IN SCHEMA {schema} FROM bare_{name}; REVOKE USAGE ON SCHEMA {schema} FROM bare_{name}"
            ),
        };
        let sql = format!("BEGIN; {taken}; ALTER ROLE bare_{name} NOLOGIN; COMMIT");
        let begun = Instant::now();
        self.session.batch("take by hand", &sql).await.unwrap();
        figure::ms(begun.elapsed())
    }

    async fn forget(&self, world: &World, name: &str) {
        let sql = format!("DROP ROLE bare_{name}");
        world.root().await.batch("tidy up", &sql).await.unwrap();
    }
}

/// A session that has the connector's rights.
pub(super) async fn as_admin(world: &World) -> Session {
    let options = world
        .cluster
        .options(&world.user, company::CONNECTOR_PASSWORD, &world.database);
    let limits = Limits {
        call: BY_HAND_LIMIT,
        statement: BY_HAND_LIMIT,
        ..Limits::default()
    };
    let session = Session::connect_within(&options, limits).await.unwrap();
    let sql = format!("SET ROLE {}", world.admin);
    session.batch("act as the admin role", &sql).await.unwrap();
    session
}
