//! Measures starts and ends of eight persons at a time through the whole product, beside pgbench with the same statements.

use crate::support::admin::Admin;
use crate::support::cluster::{Version, place};
use crate::support::world::World;
use crate::{figure, ground, machine};
use std::process::Command;
use std::time::{Duration, Instant};

const NAME: &str = "grants-8-lanes";
const LANES: usize = 8;
const LASTS: Duration = Duration::from_secs(15);

/// Processor time by who used it, in seconds.
#[derive(Debug, Clone, Copy, Default)]
struct Cpu {
    connector: f64,
    plane: f64,
    server: f64,
    here: f64,
}

impl Cpu {
    fn now(world: &World, postmaster: u32) -> Self {
        let of = |process: &Option<crate::support::world::Process>| {
            process.as_ref().map_or(0.0, |p| machine::cpu(p.pid()))
        };
        Self {
            connector: of(&world.connector),
            plane: of(&world.plane),
            server: machine::server_cpu(postmaster),
            here: machine::cpu(std::process::id()),
        }
    }

    /// What was used since, in milliseconds for each of so many pairs.
    fn per_pair(self, before: Self, pairs: f64) -> Self {
        let each = |now: f64, then: f64| (now - then) * 1000.0 / pairs;
        Self {
            connector: each(self.connector, before.connector),
            plane: each(self.plane, before.plane),
            server: each(self.server, before.server),
            here: each(self.here, before.here),
        }
    }
}

pub(crate) async fn measure() {
    let cluster = ground::server(Version::Pg15);
    let mut world = ground::product(cluster).await;
    let admin = Admin::of(&world, "public");
    let (grant, _) = admin.start("first@example.com", ground::in_an_hour()).await;
    end(&admin, &grant).await;
    let watcher = cluster.superuser("postgres").await;
    let postmaster = machine::postmaster(&watcher);

    let before = Cpu::now(&world, postmaster);
    let pairs = ours(&admin).await;
    let used = Cpu::now(&world, postmaster).per_pair(before, pairs);
    drop(world.connector.take());
    world.kill_plane();
    ground::superuser(&world)
        .await
        .batch("tidy up for the other side", "VACUUM ANALYZE")
        .await
        .unwrap();

    let before = Cpu::now(&world, postmaster);
    let baseline = pgbench(&world) * LASTS.as_secs_f64();
    let plain = Cpu::now(&world, postmaster).per_pair(before, baseline);

    // A pair is a start and an end.
    let per_second = |pairs: f64| 2.0 * pairs / LASTS.as_secs_f64();
    figure::beside(
        NAME,
        per_second(pairs),
        "starts+ends/s",
        per_second(baseline),
    );
    ground::state(NAME, cluster).await;
    let short = figure::short;
    figure::behind(
        NAME,
        &format!(
            "where, in ms of processor for one start and one end: PostgreSQL {} (pgbench run: {}), connector {}, \
             control plane {}, the persons of this measure {}",
            short(used.server),
            short(plain.server),
            short(used.connector),
            short(used.plane),
            short(used.here),
        ),
    );
}

async fn end(admin: &Admin, grant: &str) {
    let ordered = admin
        .post(&format!("grants/{grant}/revoke"), &serde_json::json!({}))
        .await;
    admin.finished(ordered["task"].as_str().unwrap()).await;
}

/// Returns how many pairs were done.
async fn ours(admin: &Admin) -> f64 {
    let begun = Instant::now();
    let lane = |lane: usize| async move {
        let mut pairs = 0_u32;
        while begun.elapsed() < LASTS {
            let who = format!("l{lane}-{pairs}@example.com");
            let (grant, _) = admin.start(&who, ground::in_an_hour()).await;
            end(admin, &grant).await;
            pairs += 1;
        }
        f64::from(pairs)
    };
    let pairs: f64 = futures_util::future::join_all((0..LANES).map(lane))
        .await
        .into_iter()
        .sum();
    // The last pairs ran over the time.
    pairs * LASTS.as_secs_f64() / begun.elapsed().as_secs_f64()
}

/// Returns pairs a second.
fn pgbench(world: &World) -> f64 {
    let verifier = postgres_protocol::password::scram_sha_256(b"password-of-nobody");
    let access = world.sql("SELECT name FROM apono.access_role LIMIT 1");
    let connector = &world.road.connector;
    let output = Command::new(place("APONO_TEST_PSQL").with_file_name("pgbench"))
        .args(["-n", "-M", "simple", "-j", "2", "-c", &LANES.to_string()])
        .args(["-T", &LASTS.as_secs().to_string()])
        .args(["-D", &format!("access={access}")])
        .args(["-D", &format!("verifier={verifier}")])
        .args([
            "-f",
            concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/benches/product/statements.sql"
            ),
        ])
        .env("PGHOST", "localhost")
        .env("PGPORT", world.cluster.port.to_string())
        .env("PGUSER", &connector.user)
        .env("PGPASSWORD", connector.password.expose())
        .env("PGDATABASE", &connector.database)
        .env("PGSSLMODE", "require")
        .env("PGOPTIONS", format!("-c role={}", world.road.admin))
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    let problems = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && !problems.contains("aborted"),
        "{printed}{problems}"
    );
    let tps = printed.lines().find_map(|line| line.strip_prefix("tps = "));
    let tps = tps.and_then(|rest| rest.split(' ').next());
    tps.unwrap_or_else(|| panic!("{printed}")).parse().unwrap()
}
