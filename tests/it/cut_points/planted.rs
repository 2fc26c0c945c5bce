//! The checker catches what is planted: each kind of fault, by its name.

use super::checker::{Checker, Fault};
use super::stage::Stage;
use super::story::{end, grant, open_session, plant_membership};
use super::walk::PATIENT;
use crate::support::cluster::{Cluster, Version};
use crate::support::world::Login;
use rusqlite::{Connection, OpenFlags};
use std::path::PathBuf;

/// People whose grants are live, and others whose grants have ended; the connector is gone, so nobody mends anything.
struct Scene {
    stage: Stage,
}

#[test]
fn each_planted_leak_is_caught_by_its_name_on_pg15() {
    plant_all(Version::Pg15);
}

#[test]
fn each_planted_leak_is_caught_by_its_name_on_pg18() {
    plant_all(Version::Pg18);
}

fn plant_all(version: Version) {
    let mut scene = Scene {
        stage: Stage::set_up(Cluster::shared(version), PATIENT),
    };
    let live: Vec<Login> = (0..4).map(|_| scene.person(true)).collect();
    let ended: Vec<Login> = (0..5).map(|_| scene.person(false)).collect();
    scene.stage.kill();
    scene.stage.rest("");
    plant_on_ended(&scene, &ended);
    plant_on_live(&scene, &live);
    plant_in_the_record(&scene, &live[3], &ended[4]);
    let bystander = scene.stage.foreign();
    scene.sql(&format!(
        "GRANT SELECT ON {0}.t TO {0}",
        scene.stage.bystander()
    ));
    assert_ne!(scene.stage.foreign(), bystander);
}

fn plant_on_ended(scene: &Scene, people: &[Login]) {
    scene.catches(&[Fault::MembershipWithoutRow], &people[0], || {
        plant_membership(&scene.stage.world, &people[0]);
    });
    let open = "LOGIN PASSWORD 'of-a-thief' VALID UNTIL 'infinity'";
    scene.catches(&[Fault::LoginLeftOpen], &people[1], || {
        scene.sql(&format!("ALTER ROLE {} {open}", people[1].user));
    });
    let shut = "NOLOGIN PASSWORD NULL";
    let mut session = None;
    scene.catches(&[Fault::SessionLeft], &people[2], || {
        let thief = Login {
            password: "of-a-thief".to_owned(),
            ..people[2].clone()
        };
        scene.sql(&format!("ALTER ROLE {} {open}", thief.user));
        session = Some(open_session(&scene.stage, &thief));
        scene.sql(&format!("ALTER ROLE {} {shut}", thief.user));
    });
    scene.sql(&format!(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{}'",
        people[2].user
    ));
    assert!(!session.unwrap().join().unwrap().ok);
    scene.catches(&[Fault::EndNotClosed], &people[3], || {
        scene.change(&people[3], "closed_at = NULL");
    });
    scene.catches(&[Fault::DirectPrivilege], &people[4], || {
        scene.sql(&format!("GRANT SELECT ON public.t TO {}", people[4].user));
    });
}

fn plant_on_live(scene: &Scene, people: &[Login]) {
    let over = [Fault::AccessPastExpiry, Fault::LoginLeftOpen];
    scene.catches(&over, &people[0], || {
        scene.change(&people[0], "expiry = now() - interval '1 minute'");
    });
    scene.catches(&[Fault::ExpiryDiffers], &people[1], || {
        scene.change(&people[1], "expiry = expiry + interval '1 hour'");
    });
    scene.catches(&[Fault::RecordWithoutAccess], &people[2], || {
        scene.sql(&format!("ALTER ROLE {} NOLOGIN", people[2].user));
    });
}

fn plant_in_the_record(scene: &Scene, live: &Login, ended: &Login) {
    let of = |login: &Login| format!("grant_id = '{}'", login.grant);
    let id = |login: &Login| format!("id = '{}'", login.grant);
    for (fault, person, sql) in [
        (
            Fault::TaskUnended,
            live,
            format!(
                "UPDATE tasks SET state = 'leased', finished_at = NULL WHERE {}",
                of(live)
            ),
        ),
        (
            Fault::AccessWithoutRecord,
            live,
            format!(
                "UPDATE grants SET state = 'closed', ended_at = 1 WHERE {}",
                id(live)
            ),
        ),
        (
            Fault::AccessWithoutRecord,
            live,
            format!(
                "PRAGMA foreign_keys = off; DELETE FROM grants WHERE {}",
                id(live)
            ),
        ),
        (
            Fault::EndWithoutTime,
            ended,
            format!("UPDATE grants SET ended_at = NULL WHERE {}", id(ended)),
        ),
        (
            Fault::GrantInBetween,
            ended,
            format!("UPDATE grants SET state = 'ending' WHERE {}", id(ended)),
        ),
    ] {
        let before = faults(&scene.stage.checker);
        let copy = scene.copy_of_the_record();
        Connection::open(&copy)
            .unwrap()
            .execute_batch(&sql)
            .unwrap();
        let after = faults(&scene.stage.checker.with_record(&copy));
        let new: Vec<_> = after.iter().filter(|one| !before.contains(one)).collect();
        assert_eq!(new.len(), 1, "{sql}: {new:?}");
        assert_eq!(new[0].0, fault, "{sql}");
        let task = fault == Fault::TaskUnended;
        assert!(task || new[0].1.contains(&person.grant), "{new:?}");
    }
}

impl Scene {
    fn person(&mut self, live: bool) -> Login {
        let who = self.stage.person();
        let login = self.stage.act(|world| grant(world, &who, "public", "1h"));
        if !live {
            end(&mut self.stage, &login);
        }
        self.stage.rest(&who);
        login
    }

    fn sql(&self, sql: &str) {
        self.stage.world.sql(sql);
    }

    fn change(&self, person: &Login, what: &str) {
        self.sql(&format!(
            "UPDATE apono.\"grant\" SET {what} WHERE id = '{}'",
            person.grant
        ));
    }

    /// Plants something; the checker must name exactly these faults, and the person.
    fn catches(&self, faults_expected: &[Fault], person: &Login, plant: impl FnOnce()) {
        let before = faults(&self.stage.checker);
        plant();
        let after = faults(&self.stage.checker);
        let new: Vec<_> = after.iter().filter(|one| !before.contains(one)).collect();
        let named: Vec<_> = new.iter().map(|(fault, _)| *fault).collect();
        assert_eq!(named, faults_expected, "{new:?}");
        assert!(
            new.iter().all(|(_, what)| what.contains(&person.user)),
            "{new:?}"
        );
    }

    fn copy_of_the_record(&self) -> PathBuf {
        let world = &self.stage.world;
        let copy = world.path("copy.sqlite");
        let _none_yet = std::fs::remove_file(&copy);
        Connection::open_with_flags(world.path("plane.sqlite"), OpenFlags::SQLITE_OPEN_READ_ONLY)
            .unwrap()
            .execute("VACUUM INTO ?1", [copy.to_str().unwrap()])
            .unwrap();
        copy
    }
}

fn faults(checker: &Checker) -> Vec<(Fault, String)> {
    let findings = checker.look().findings().into_iter();
    findings.map(|one| (one.fault, one.what)).collect()
}
