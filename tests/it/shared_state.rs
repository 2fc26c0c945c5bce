//! Instances that share a state folder: what one leaves another ends and reports, and what an operator says to one holds for all.

use crate::support::cluster::{Cluster, Version, fresh};
use crate::support::fleet::Fleet;
use crate::support::rig::Rig;
use crate::support::world::{Login, World};
use apono_connector::domain::{EndReason, EndReport, IntegrationState};
use apono_connector::ledger::{Event, Ledger, LedgerOptions, OutboxEntry, State};
use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

fn ann(world: &World, lasts: &str) -> Result<Login, String> {
    let who = format!("{}@example.com", fresh("ann"));
    world.grant(&who, "READ_ONLY", lasts)
}

#[tokio::test]
async fn what_an_instance_owed_that_is_gone_is_ended_and_reported_by_another() {
    let root = tempfile::tempdir().unwrap();
    let open = || Ledger::open_shared(root.path(), LedgerOptions::default()).unwrap();
    let (gone, _) = open();
    let (ledger, household) = open();
    let mut rig = Rig::assemble_in(ledger, Some(Arc::new(household)));
    rig.run();
    let live = rig.started().await;
    let elsewhere = apono_connector::control::fake::integration("fake");
    let mut unknown = rig.grant();
    unknown.integration = elsewhere.id;
    let told = EndReport {
        grant: rig.grant().id,
        integration: rig.integration.id,
        ended_at: rig.grant().expiry,
        reason: EndReason::Revoked,
        sessions_before: 0,
        sessions_after: 0,
        clean: true,
        leftovers: Vec::new(),
        details: Vec::new(),
    };
    let owed = vec![
        Event::IntegrationKnown(elsewhere.clone()),
        Event::EndIntended {
            grant: live.clone(),
            reason: EndReason::RevokeAll,
        },
        Event::GrantLearned {
            grant: unknown.clone(),
            started_at: None,
        },
        Event::Queued {
            id: 0,
            entry: OutboxEntry::End(told.clone()),
        },
        Event::Frozen(true),
    ];
    gone.append(owed).await.unwrap();
    gone.close().await;

    let ended = |grant| {
        rig.control
            .ends()
            .into_iter()
            .find(|end| end.grant == grant)
    };
    rig.until("the end that was begun is finished", || {
        !rig.system.has_access(live.id)
            && ended(live.id).is_some_and(|end| end.reason == EndReason::RevokeAll)
    })
    .await;
    rig.until("the report that was not sent is sent", || {
        ended(told.grant).as_ref() == Some(&told)
    })
    .await;
    rig.until("what has no access in its target is ended", || {
        ended(unknown.id).is_some()
    })
    .await;
    let settings = rig
        .ledger
        .read(|state| state.integrations.get(&elsewhere.id).cloned());
    assert_eq!(settings.unwrap().state, IntegrationState::Retiring);
    rig.until("its freeze holds here", || {
        rig.ledger.read(|state| state.frozen)
    })
    .await;
    let left = root.path().join("instance-1");
    rig.until("nothing is left", || {
        let ledger = Ledger::open(&left, LedgerOptions::default());
        ledger.is_ok_and(|ledger| ledger.read(State::owes_nothing))
    })
    .await;
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_successor_takes_a_dead_instances_folder_and_ends_what_it_owed_without_a_control_plane() {
    let mut fleet = Fleet::prepare(Cluster::shared(Version::Pg18), 3600).await;
    let first = fleet.join("first");
    fleet.until_in_use(&first);
    let second = fleet.join("second");
    fleet.until_ready(&second);
    let login = ann(&fleet.world, "20s").unwrap();
    fleet.world.kill_plane();
    first.process.kill();
    second.process.kill();
    assert_eq!(fleet.world.memberships(&login.user), "1");
    // Written last, and so looked at first.
    let damaged = fleet.folder(2).join("ledger.redb");
    std::fs::write(&damaged, "no ledger").unwrap();
    let third = fleet.join("third");
    fleet.world.until("she is out", |world| {
        world.memberships(&login.user) == "0" && !world.psql(&login, "SELECT 1").ok
    });
    assert_eq!(std::fs::read_to_string(&damaged).unwrap(), "no ledger");
    assert!(!fleet.folder(3).exists());
    fleet.world.until("the damaged one is counted", |_| {
        third
            .metrics()
            .contains("apono_unreadable_state_folders 1\n")
    });
    fleet.world.start_plane();
    fleet.world.until("the end is reported", |world| {
        world.seen(&login.grant)["ended_at"].is_string()
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operators_reach_every_instance_of_the_machine_and_a_freeze_holds_for_all() {
    let fleet = Fleet::prepare(Cluster::shared(Version::Pg15), 1).await;
    let first = fleet.join("first");
    fleet.until_in_use(&first);
    let second = fleet.join("second");
    fleet.until_ready(&second);
    let login = ann(&fleet.world, "1h").unwrap();
    let (ok, said) = fleet.world.connector_says(&["freeze"]);
    assert!(ok && said.contains("frozen"), "{said}");
    for instance in [&first, &second] {
        fleet.world.until("it is frozen", |_| {
            instance.metrics().contains("apono_starts_frozen 1\n")
        });
    }
    assert!(ann(&fleet.world, "1h").unwrap_err().contains("frozen"));
    let third = fleet.join("third");
    fleet
        .world
        .until("a new one is frozen from its start on", |_| {
            third.metrics().contains("apono_starts_frozen 1\n")
        });
    let (ok, said) = fleet.world.connector_says(&["unfreeze"]);
    assert!(ok, "{said}");
    for instance in [&first, &second, &third] {
        fleet.world.until("it is free", |_| {
            instance.metrics().contains("apono_starts_frozen 0\n")
        });
    }
    let (ok, listed) = fleet.world.connector_says(&["grants", "--json"]);
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    assert!(ok && listed.as_array().unwrap().len() == 1, "{listed}");
    assert_eq!(listed[0]["grant"], login.grant.as_str());
    // All of them are gone: the command takes their place, and what it froze holds for the next ones.
    for instance in [first, second, third] {
        assert!(instance.process.terminate(Duration::from_secs(30)));
    }
    let (ok, said) = fleet.world.connector_says(&["revoke-all"]);
    assert!(ok, "{said}");
    assert_eq!(fleet.world.memberships(&login.user), "0");
    let next = fleet.join("next");
    fleet.world.until("the next one reports it", |world| {
        world.seen(&login.grant)["end_reason"] == "revoke_all"
    });
    fleet.world.until("it is frozen", |_| {
        next.metrics().contains("apono_starts_frozen 1\n")
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_instances_than_folders_are_refused_with_a_hint() {
    let fleet = Fleet::prepare(Cluster::shared(Version::Pg15), 1).await;
    let held: Vec<File> = (1..=64)
        .map(|number| {
            let folder = fleet.folder(number);
            std::fs::create_dir_all(&folder).unwrap();
            let file = File::create(folder.join("ledger.lock")).unwrap();
            file.try_lock().unwrap();
            file
        })
        .collect();
    let (ok, said) = fleet.world.connector_says(&["run"]);
    assert!(!ok && said.contains("64 are held"), "{said}");
    assert!(said.contains("hint: run fewer instances"), "{said}");
    drop(held);
}
