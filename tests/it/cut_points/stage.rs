//! Owns one world whose connector dies on order and comes back, and what must hold whenever the world is at rest.

use super::checker::Checker;
use crate::support::cluster::{Cluster, fresh};
use crate::support::world::{Pace, Process, World};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant};

/// Longest time a process armed for a point may live on once it has passed everything else.
const LIFE: Duration = Duration::from_secs(20);
/// How long to wait between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// File of the points passed.
const TRACE: &str = "trace";
/// File of the point to die at.
const ORDERS: &str = "orders";
/// How `abort` ends a process.
const SIGABRT: i32 = 6;

/// A world, and the connector in it as a process that may be killed.
pub(super) struct Stage {
    pub(super) world: World,
    pub(super) checker: Checker,
    connector: Option<Process>,
    /// Begins the names of all people of this stage.
    people: String,
    count: u32,
    bystander: String,
    /// How the bystander's things were at first.
    untouched: String,
    /// What was there when the world was last at rest.
    settled: BTreeSet<String>,
    /// How often the connector died.
    deaths: u32,
}

impl Stage {
    pub(super) fn set_up(cluster: &'static Cluster, pace: Pace) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let mut world = runtime.block_on(World::start_paced(cluster, pace));
        let people = format!("{}p", fresh("cut"));
        let bystander = fresh("bystander");
        world.sql(&format!(
            "CREATE ROLE {bystander} LOGIN PASSWORD 'of-a-bystander';\n\
             CREATE ROLE {bystander}_apono NOLOGIN; GRANT {bystander}_apono TO {bystander};\n\
             CREATE SCHEMA {bystander} AUTHORIZATION {bystander};\n\
             CREATE TABLE {bystander}.t(a int); GRANT SELECT ON {bystander}.t TO {bystander}_apono"
        ));
        world.sql_as_owner("CREATE TABLE public.t(a int); INSERT INTO public.t VALUES (42)");
        let checker = Checker::new(
            cluster,
            &world.road.database,
            &world.path("plane.sqlite"),
            &people,
        );
        world.until("the first orders are carried out", |_| checker.is_settled());
        world.kill_connector();
        let mut stage = Self {
            world,
            checker,
            connector: None,
            people,
            count: 0,
            bystander,
            untouched: String::new(),
            settled: BTreeSet::new(),
            deaths: 0,
        };
        stage.untouched = stage.foreign();
        stage.boot(None);
        stage.quiet();
        stage
    }

    /// Returns a person nobody has heard of.
    pub(super) fn person(&mut self) -> String {
        self.count += 1;
        format!("{}{}", self.people, self.count)
    }

    /// Starts the connector anew, armed with a point, and waits until it looked around once.
    pub(super) fn boot(&mut self, fuse: Option<&str>) {
        self.kill();
        self.order(fuse);
        self.revive();
        self.wait("it registered and swept once", |stage| {
            let passed = stage.passed();
            ["mend.after", "session.after"]
                .iter()
                .all(|point| passed.iter().any(|p| p == point))
                || stage.has_died()
        });
    }

    /// Arms the connector that runs, once it has nothing left to do.
    pub(super) fn arm(&mut self, fuse: Option<&str>) {
        self.quiet();
        self.order(fuse);
    }

    fn order(&self, fuse: Option<&str>) {
        forget_trace(&self.world);
        fs::write(self.world.path(ORDERS), fuse.unwrap_or_default()).unwrap();
    }

    /// Starts the connector unless it runs.
    pub(super) fn revive(&mut self) {
        if self.connector.is_none() {
            self.connector = Some(spawn(&self.world));
        }
    }

    pub(super) fn kill(&mut self) {
        if let Some(process) = self.connector.take() {
            process.kill();
            forget_trace(&self.world);
        }
    }

    /// Runs a command beside the connector, which is started again when it dies meanwhile.
    pub(super) fn act<R: Send>(&mut self, command: impl FnOnce(&World) -> R + Send) -> R {
        let Self {
            world,
            connector,
            deaths,
            ..
        } = self;
        let world = &*world;
        std::thread::scope(|scope| {
            let running = scope.spawn(move || command(world));
            while !running.is_finished() {
                std::thread::sleep(LOOK_EVERY);
                if dead(world, connector) {
                    *deaths += 1;
                    *connector = Some(spawn(world));
                }
            }
            running
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Waits for the death of an armed process that has not come yet. Tells whether it came.
    pub(super) fn await_death(&mut self) -> bool {
        let deadline = Instant::now() + LIFE;
        while self.deaths == 0 && !self.has_died() {
            if Instant::now() > deadline {
                return false;
            }
            std::thread::sleep(LOOK_EVERY);
        }
        self.deaths = 0;
        true
    }

    /// Names all points passed since the connector was armed, in order.
    pub(super) fn passed(&self) -> Vec<String> {
        let text = fs::read_to_string(self.world.path(TRACE)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Waits until every order is answered, and every report of this process sent and acknowledged.
    pub(super) fn quiet(&mut self) {
        self.wait("everything is reported", |stage| {
            let passed = stage.passed();
            let count = |name: &str| passed.iter().filter(|p| *p == name).count();
            let sent = count("deliver.result.before") + count("deliver.end.before");
            (sent == count("journal.delivered.after") && stage.checker.is_settled())
                || stage.has_died()
        });
    }

    /// Waits until nothing is under way, and then asks the checker.
    pub(super) fn rest(&mut self, who: &str) {
        self.rest_with(&[who]);
    }

    fn rest_with(&mut self, people: &[&str]) {
        self.wait("the control plane waits for nothing", |stage| {
            stage.checker.is_settled()
        });
        let sight = self.checker.look();
        let findings = sight.findings();
        let list: Vec<String> = findings.iter().map(ToString::to_string).collect();
        assert!(
            list.is_empty(),
            "{}\n{}",
            list.join("\n"),
            self.world.logs()
        );
        self.nothing_else_moved(people, sight.lines());
    }

    /// Rests at the end of a story: what is not ours must be as it was.
    pub(super) fn part(&mut self, who: &str) {
        self.part_with(&[who]);
    }

    pub(super) fn part_with(&mut self, people: &[&str]) {
        self.rest_with(people);
        assert_eq!(self.foreign(), self.untouched);
    }

    /// The connector was started again since the last rest: that must have changed nothing about anybody else.
    fn nothing_else_moved(&mut self, people: &[&str], lines: BTreeSet<String>) {
        let mine = |line: &&String| {
            let mut logins = people.iter().map(|who| format!("{who}_apono"));
            logins.any(|login| line.contains(&login))
        };
        let moved: Vec<_> = lines
            .symmetric_difference(&self.settled)
            .filter(|line| !mine(line))
            .collect();
        assert!(
            moved.is_empty(),
            "{moved:#?} changed after it was settled\n{}",
            self.world.logs()
        );
        self.settled = lines;
    }

    #[track_caller]
    pub(super) fn wait(&mut self, what: &str, mut holds: impl FnMut(&mut Self) -> bool) {
        let deadline = Instant::now() + LIFE;
        while !holds(self) {
            assert!(
                Instant::now() < deadline,
                "it never came true that {what}\n{}",
                self.world.logs()
            );
            std::thread::sleep(LOOK_EVERY);
        }
    }

    fn has_died(&mut self) -> bool {
        let died = dead(&self.world, &mut self.connector);
        self.deaths += u32::from(died);
        died || self.deaths > 0
    }

    /// Returns the name of a role whose things nobody here may touch.
    pub(super) fn bystander(&self) -> &str {
        &self.bystander
    }

    /// Describes everything of the bystander, as the catalogs have it.
    pub(super) fn foreign(&self) -> String {
        let like = &self.bystander;
        self.world.sql(&format!(
            "SELECT to_json(r) FROM pg_authid r WHERE starts_with(rolname, '{like}') ORDER BY oid;\n\
             SELECT to_json(m) FROM pg_auth_members m WHERE member IN (SELECT oid FROM pg_roles WHERE starts_with(rolname, '{like}')) ORDER BY 1::text;\n\
             SELECT relname, relowner, relacl FROM pg_class WHERE relnamespace = '{like}'::regnamespace ORDER BY 1;\n\
             SELECT nspacl, nspowner FROM pg_namespace WHERE nspname = '{like}'"
        ))
    }
}

fn forget_trace(world: &World) {
    let _none_yet = fs::remove_file(world.path(TRACE));
}

fn spawn(world: &World) -> Process {
    let path = |name: &str| world.path(name).to_str().unwrap().to_owned();
    world.spawn_connector(&[
        ("APONO_CUT_TRACE", &path(TRACE)),
        ("APONO_CUT_ORDERS", &path(ORDERS)),
    ])
}

/// Tells whether the process is gone, which it may only be by its cut point; takes it away then.
fn dead(world: &World, connector: &mut Option<Process>) -> bool {
    let Some(status) = connector.as_mut().and_then(Process::status) else {
        return false;
    };
    assert_eq!(
        status.signal(),
        Some(SIGABRT),
        "the connector ended by itself\n{}",
        world.logs()
    );
    *connector = None;
    // The next one lives, and begins a trace of its own.
    forget_trace(world);
    fs::write(world.path(ORDERS), "").unwrap();
    true
}
