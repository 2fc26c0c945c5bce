//! Owns the stories that are cut: what is done before, what is cut, and how each comes to its end.

use super::stage::Stage;
use crate::support::cluster::Psql;
use crate::support::world::{Login, World};
use apono_connector::clock::{Clock, SystemClock};
use jiff::Timestamp;
use std::collections::HashMap;
use std::thread::JoinHandle;
use std::time::Duration;

/// How long a grant lasts that is to end by itself: enough to start it and open a session on a busy machine.
const LASTS: &str = "8s";

/// How long grants last that are to be over together: enough to start both.
const LASTS_TOGETHER: Duration = Duration::from_secs(10);

/// What a connector is in the middle of when it dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Story {
    /// A person's first access, on a resource nobody had access to.
    Start,
    /// A second grant for what she already has.
    Overlap,
    Extend,
    /// An end by order, with a session open.
    Revoke,
    /// An end by the clock, with a session open and the control plane gone.
    Expiry,
    /// The ends of two persons at the same moment, by a connector that was not there when their time was over.
    Together,
    /// Removal of a login that owns something.
    CleanUp,
    /// A membership somebody added behind our back is taken away.
    Mend,
}

/// How a story went.
pub(super) struct Played {
    /// Whether the connector died at the point it was armed for.
    pub(super) died: bool,
    /// The points passed in the part that is cut: the name, `#`, and which pass since the process was armed.
    pub(super) points: Vec<String>,
}

impl Story {
    pub(super) const ALL: [Self; 8] = [
        Self::Start,
        Self::Overlap,
        Self::Extend,
        Self::Revoke,
        Self::Expiry,
        Self::Together,
        Self::CleanUp,
        Self::Mend,
    ];
    /// Those that need no clean-up.
    pub(super) const PATIENT: [Self; 7] = [
        Self::Expiry,
        Self::Start,
        Self::Overlap,
        Self::Extend,
        Self::Revoke,
        Self::Together,
        Self::Mend,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Overlap => "overlap",
            Self::Extend => "extend",
            Self::Revoke => "revoke",
            Self::Expiry => "expiry",
            Self::Together => "together",
            Self::CleanUp => "clean-up",
            Self::Mend => "mend",
        }
    }

    /// Plays the story to its end, with a connector armed for one point or for none.
    pub(super) fn play(self, stage: &mut Stage, fuse: Option<&str>) -> Played {
        let who = stage.person();
        match self {
            Self::Start => start(stage, &who, fuse),
            Self::Overlap => overlap(stage, &who, fuse),
            Self::Extend => extend(stage, &who, fuse),
            Self::Revoke => revoke(stage, &who, fuse),
            Self::Expiry => expiry(stage, &who, fuse),
            Self::Together => {
                let other = stage.person();
                together(stage, [&who, &other], fuse)
            }
            Self::CleanUp => clean_up(stage, &who, fuse),
            Self::Mend => mend(stage, &who, fuse),
        }
    }
}

fn start(stage: &mut Stage, who: &str, fuse: Option<&str>) -> Played {
    stage.world.sql_as_owner(&format!(
        "CREATE SCHEMA {who}; CREATE TABLE {who}.t(a int); INSERT INTO {who}.t VALUES (42)"
    ));
    stage.revive();
    stage.arm(fuse);
    let login = stage.act(|world| grant(world, who, who, "1h"));
    let played = played(stage, fuse);
    reads(stage, &login, who);
    stage.rest(who);
    end(stage, &login);
    stage.part(who);
    played
}

fn overlap(stage: &mut Stage, who: &str, fuse: Option<&str>) -> Played {
    stage.revive();
    let first = stage.act(|world| grant(world, who, "public", "1h"));
    stage.arm(fuse);
    let second = stage.act(|world| grant(world, who, "public", "2h"));
    let played = played(stage, fuse);
    assert_eq!(second.password, "", "the login has its password already");
    reads(stage, &first, "public");
    stage.rest(who);
    stage.act(|world| {
        world
            .command(&["revoke", &second.grant, "--wait", "20s"])
            .unwrap()
    });
    reads(stage, &first, "public");
    stage.rest(who);
    end(stage, &first);
    stage.part(who);
    played
}

fn extend(stage: &mut Stage, who: &str, fuse: Option<&str>) -> Played {
    stage.revive();
    let login = stage.act(|world| grant(world, who, "public", "1h"));
    stage.arm(fuse);
    let (_, first_expiry, _) = stage.checker.record(&login.grant);
    stage.act(|world| {
        world
            .command(&["extend", &login.grant, "--for", "2h", "--wait", "20s"])
            .unwrap()
    });
    let played = played(stage, fuse);
    let (_, expiry, _) = stage.checker.record(&login.grant);
    assert!(
        expiry > first_expiry + 3_500_000_000,
        "{first_expiry} {expiry}"
    );
    reads(stage, &login, "public");
    stage.rest(who);
    end(stage, &login);
    stage.part(who);
    played
}

fn revoke(stage: &mut Stage, who: &str, fuse: Option<&str>) -> Played {
    stage.revive();
    let login = stage.act(|world| grant(world, who, "public", "1h"));
    let session = open_session(stage, &login);
    stage.arm(fuse);
    end(stage, &login);
    let played = played(stage, fuse);
    assert!(!session.join().unwrap().ok, "the session was not ended");
    stage.part(who);
    played
}

fn expiry(stage: &mut Stage, who: &str, fuse: Option<&str>) -> Played {
    stage.revive();
    let login = stage.act(|world| grant(world, who, "public", LASTS));
    let session = open_session(stage, &login);
    stage.arm(fuse);
    stage.world.kill_plane();
    let mut died = false;
    if fuse.is_some() {
        died = stage.await_death();
    } else {
        stage.wait("the end is on its way", |stage| {
            let passed = stage.passed();
            passed.iter().any(|point| point == "journal.queued.after")
        });
    }
    let mut points = numbered(&stage.passed());
    // How often delivery is tried while nobody listens is a matter of luck.
    points.retain(|point| !point.starts_with("deliver."));
    stage.world.start_plane();
    if !died {
        stage.kill();
    }
    stage.revive();
    assert!(!session.join().unwrap().ok, "the session was not ended");
    let plane_knows = |stage: &mut Stage| stage.checker.record(&login.grant).0 == "closed";
    stage.wait("the control plane learns of the end", plane_knows);
    stage.part(who);
    refused(stage, &login);
    Played { died, points }
}

fn together(stage: &mut Stage, people: [&str; 2], fuse: Option<&str>) -> Played {
    stage.revive();
    let until = SystemClock.now() + LASTS_TOGETHER;
    let logins = people.map(|who| stage.act(|world| grant_until(world, who, until)));
    stage.kill();
    stage.wait("both grants are over", |_| SystemClock.now() > until);
    stage.boot(fuse);
    let mut played = played(stage, fuse);
    // Before and after it all is the same as when one grant ends.
    let alone = ["journal.", "deliver.", "lease.", "session."];
    let end = played
        .points
        .iter()
        .position(|p| p == "end.together.after#1");
    played.points.truncate(end.map_or(0, |at| at + 1));
    played
        .points
        .retain(|point| !alone.iter().any(|other| point.starts_with(other)));
    stage.part_with(&people);
    logins.iter().for_each(|login| refused(stage, login));
    played
}

fn clean_up(stage: &mut Stage, who: &str, fuse: Option<&str>) -> Played {
    stage.revive();
    remove_powerless_owner(&stage.world);
    let database = stage.world.road.database.clone();
    let login = stage.act(|world| {
        world
            .grant_on(
                &["postgresql-schema", &database, "public"],
                &format!("{who}@example.com"),
                "ADMIN",
                "1h",
            )
            .unwrap()
    });
    let made = stage
        .world
        .psql(&login, &format!("CREATE TABLE public.of_{who}(a int)"));
    assert!(made.ok, "{}", made.err);
    end(stage, &login);
    stage.wait("the end is reported", |stage| stage.checker.is_settled());
    stage.kill();
    stage.world.until("the login may be removed", |world| {
        let waiting = format!(
            "SELECT count(*) FROM apono.login WHERE greatest(blocked_at, last_session_at) + interval '1 s' > clock_timestamp() AND name = '{}'",
            login.user
        );
        world.sql(&waiting) == "0"
    });
    stage.boot(fuse);
    let clean = |stage: &mut Stage| stage.checker.record(&login.grant).2;
    if fuse.is_none() {
        stage.wait("the clean-up is reported", clean);
        stage.quiet();
    }
    let played = played(stage, fuse);
    stage.wait("the clean-up is reported", clean);
    stage.part(who);
    let left = stage.world.sql(&format!(
        "SELECT count(*) FROM pg_roles WHERE rolname = '{}'",
        login.user
    ));
    assert_eq!(left, "0");
    let owner = stage.world.sql(&format!(
        "SELECT pg_get_userbyid(relowner) LIKE 'leftovers%\\_apono' FROM pg_class WHERE relname = 'of_{who}'"
    ));
    assert_eq!(owner, "t", "what she made has no owner");
    played
}

/// Takes away the role that has what others left behind, so that it must be made again.
fn remove_powerless_owner(world: &World) {
    world.sql(&format!(
        "DO $$ DECLARE r name; BEGIN\n\
         FOR r IN SELECT DISTINCT pg_get_userbyid(relowner) FROM pg_class WHERE relname LIKE 'of\\_%' LOOP\n\
         IF r LIKE 'leftovers%' THEN\n\
         EXECUTE format('REASSIGN OWNED BY %I TO {}', r); EXECUTE format('DROP OWNED BY %I', r); EXECUTE format('DROP ROLE %I', r);\n\
         END IF; END LOOP; END $$",
        world.road.owner
    ));
}

fn mend(stage: &mut Stage, who: &str, fuse: Option<&str>) -> Played {
    stage.revive();
    let login = stage.act(|world| grant(world, who, "public", "1h"));
    end(stage, &login);
    stage.wait("the end is reported", |stage| stage.checker.is_settled());
    stage.kill();
    plant_membership(&stage.world, &login);
    stage.boot(fuse);
    let played = played(stage, fuse);
    stage.wait("the membership is gone", |stage| {
        stage.world.memberships(&login.user) == "0"
    });
    stage.part(who);
    played
}

/// Makes a login a member of the shared role it had, as the connector's own administrator could.
pub(super) fn plant_membership(world: &World, login: &Login) {
    let role = world.sql(&format!(
        "SELECT access_role FROM apono.\"grant\" WHERE id = '{}'",
        login.grant
    ));
    world.sql(&format!(
        "SET ROLE {}; GRANT {role} TO {}",
        world.road.admin, login.user
    ));
}

fn grant_until(world: &World, who: &str, until: Timestamp) -> Login {
    let database = world.road.database.clone();
    world
        .grant_in(
            "orders",
            &["postgresql-schema", &database, "public"],
            &format!("{who}@example.com"),
            &["--permission", "READ_ONLY", "--until", &until.to_string()],
        )
        .unwrap_or_else(|error| panic!("{error}\n{}", world.logs()))
}

pub(super) fn grant(world: &World, who: &str, schema: &str, lasts: &str) -> Login {
    let database = world.road.database.clone();
    world
        .grant_on(
            &["postgresql-schema", &database, schema],
            &format!("{who}@example.com"),
            "READ_ONLY",
            lasts,
        )
        .unwrap_or_else(|error| panic!("{error}\n{}", world.logs()))
}

/// Sees the part that is cut to its end, and that the connector came back if it died.
fn played(stage: &mut Stage, fuse: Option<&str>) -> Played {
    let died = if fuse.is_some() {
        stage.await_death()
    } else {
        stage.quiet();
        false
    };
    let points = numbered(&stage.passed());
    stage.revive();
    Played { died, points }
}

/// Names each pass.
fn numbered(passed: &[String]) -> Vec<String> {
    let mut passes: HashMap<&str, u32> = HashMap::new();
    let mut points = Vec::new();
    for name in passed {
        let pass = passes.entry(name).or_default();
        *pass += 1;
        points.push(format!("{name}#{pass}"));
    }
    points
}

/// Ends a grant by order; afterwards nobody gets in.
pub(super) fn end(stage: &mut Stage, login: &Login) {
    stage.act(|world| {
        world
            .command(&["revoke", &login.grant, "--wait", "20s"])
            .unwrap_or_else(|error| panic!("{error}\n{}", world.logs()))
    });
    refused(stage, login);
}

fn refused(stage: &Stage, login: &Login) {
    assert!(
        !stage.world.psql(login, "SELECT 1").ok,
        "{} gets in",
        login.user
    );
}

fn reads(stage: &Stage, login: &Login, schema: &str) {
    let read = stage
        .world
        .psql(login, &format!("SELECT a FROM {schema}.t"));
    assert_eq!(read.out, "42", "{}\n{}", read.err, stage.world.logs());
}

/// Opens a session that stays as long as it may.
pub(super) fn open_session(stage: &Stage, login: &Login) -> JoinHandle<Psql> {
    let (cluster, person) = (stage.world.cluster, login.clone());
    let session = std::thread::spawn(move || {
        cluster.psql(
            &person.user,
            &person.password,
            &person.database,
            "SELECT pg_sleep(60)",
        )
    });
    stage.world.until("the session is open", |world| {
        world.sql(&format!(
            "SELECT count(*) FROM pg_stat_activity WHERE usename = '{}' AND query LIKE '%pg_sleep%'",
            login.user
        )) == "1"
    });
    session
}
