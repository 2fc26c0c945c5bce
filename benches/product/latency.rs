//! Measures the time from a request to a login that works, beside the bare SQL.

use crate::support::admin::Admin;
use crate::support::cluster::Version;
use crate::support::world::World;
use crate::{figure, ground};
use apono_connector::clock::{Clock, SystemClock};
use apono_connector::domain::GrantId;
use apono_connector::ledger::{Event, Ledger, LedgerOptions};
use apono_connector::pg::{ConnectOptions, Session};
use apono_connector::secret::Secret;
use jiff::Timestamp;
use std::time::Instant;

const NAME: &str = "grant-latency-p50";
const PEOPLE: u32 = 60;

pub(crate) async fn measure() {
    let world = ground::product(ground::server(Version::Pg15)).await;
    let admin = Admin::of(&world, "public");
    // The first person pays for the access role and for the connections.
    one(&world, &admin, "first@example.com").await;
    let mut parts: [Vec<f64>; 5] = Default::default();
    for n in 0..PEOPLE {
        let took = one(&world, &admin, &format!("p{n}@example.com")).await;
        for (part, time) in parts.iter_mut().zip(took) {
            part.push(time);
        }
    }
    let baseline = figure::median(bare(&world).await);
    let [recorded, started, reported, login, all] = parts.map(figure::median);
    figure::beside(NAME, all, "ms", baseline);
    ground::state(NAME, world.cluster).await;
    figure::behind(
        NAME,
        &format!(
            "where, in ms: request to recorded {}, to the start's transaction {}, to the credential {}, login {}",
            figure::short(recorded),
            figure::short(started),
            figure::short(reported),
            figure::short(login),
        ),
    );
    figure::behind(
        NAME,
        &format!(
            "of which one write of the ledger {} ms, one HTTP round trip {} ms",
            figure::short(journal(&world).await),
            figure::short(round_trip(&admin).await),
        ),
    );
}

/// Takes one person to a login. Returns the times between: recorded, started, reported, logged in; and the whole.
async fn one(world: &World, admin: &Admin, who: &str) -> [f64; 5] {
    let clock = SystemClock;
    let between = |from: Timestamp, to: Timestamp| to.duration_since(from).as_secs_f64() * 1000.0;
    let asked = clock.now();
    let (grant, sealed) = admin.start(who, ground::in_an_hour()).await;
    let reported = clock.now();
    let login = admin.open(&sealed, world);
    let session = Session::connect(&login).await.unwrap();
    let in_at = clock.now();
    drop(session);
    let view = admin.get(&format!("grants/{grant}")).await;
    let time = |key: &str| view[key].as_str().unwrap().parse::<Timestamp>().unwrap();
    let (recorded, started) = (time("created_at"), time("started_at"));
    [
        between(asked, recorded),
        between(recorded, started),
        between(started, reported),
        between(reported, in_at),
        between(asked, in_at),
    ]
}

/// Makes a login and gives it the access role by hand, over one session that is open already.
async fn bare(world: &World) -> Vec<f64> {
    let connector = Session::connect(&world.road.connector).await.unwrap();
    let become_admin = format!("SET ROLE {}", world.road.admin);
    connector
        .batch("become the admin", &become_admin)
        .await
        .unwrap();
    let access = world.sql("SELECT name FROM apono.access_role LIMIT 1");
    let mut times = Vec::new();
    for n in 0..PEOPLE {
        let begun = Instant::now();
        let password = format!("password-of-nobody-{n}");
        let verifier = postgres_protocol::password::scram_sha_256(password.as_bytes());
        connector
            .batch(
                "make a login by hand",
                &format!("BEGIN; CREATE ROLE bare_{n} LOGIN PASSWORD '{verifier}'; GRANT {access} TO bare_{n}; COMMIT"),
            )
            .await
            .unwrap();
        let login = ConnectOptions {
            user: format!("bare_{n}"),
            password: Secret::new(password),
            ..world.road.connector.clone()
        };
        let session = Session::connect(&login).await.unwrap();
        times.push(figure::ms(begun.elapsed()));
        drop(session);
    }
    times
}

/// One awaited write of a ledger in the same folder.
async fn journal(world: &World) -> f64 {
    let folder = world.path("another-ledger");
    let ledger = Ledger::open(&folder, LedgerOptions::default()).unwrap();
    let mut times = Vec::new();
    for _ in 0..PEOPLE {
        let begun = Instant::now();
        let event = Event::StepBegan {
            grant: GrantId::generate(),
            note: "measure".to_owned(),
        };
        ledger.append_one(event).await.unwrap();
        times.push(figure::ms(begun.elapsed()));
    }
    ledger.close().await;
    figure::median(times)
}

async fn round_trip(admin: &Admin) -> f64 {
    let mut times = Vec::new();
    for _ in 0..PEOPLE {
        let begun = Instant::now();
        admin.get("connectors").await;
        times.push(figure::ms(begun.elapsed()));
    }
    figure::median(times)
}
