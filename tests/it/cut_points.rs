//! Kill the process anywhere: no access without a record, nothing past its expiry, no task unended.

mod checker;
mod planted;
mod stage;
mod story;
mod walk;

use crate::support::cluster::{Cluster, Version};
use story::Story;

/// What each story must pass at least; without them the switch itself would be broken.
const EXPECTED: [(Story, &[&str]); 6] = [
    (
        Story::Start,
        &[
            "lease.grant-access.taken",
            "journal.start_intended",
            "start.prepare_access_role",
            "start.start_grant",
            "start.verify",
            "journal.started",
            "journal.queued",
            "deliver.result",
            "journal.delivered",
        ],
    ),
    (
        Story::Overlap,
        &["journal.start_intended", "start.start_grant", "journal.started"],
    ),
    (
        Story::Extend,
        &["extend.move_expiry", "journal.expiry_moved", "deliver.result"],
    ),
    (
        Story::Revoke,
        &[
            "journal.end_intended",
            "end.close_door",
            "end.end_sessions",
            "end.block_login",
            "journal.closed",
            "deliver.end",
        ],
    ),
    (
        Story::Expiry,
        &[
            "journal.end_intended",
            "end.close_door",
            "end.end_sessions",
            "end.block_login",
            "journal.closed",
        ],
    ),
    (
        Story::CleanUp,
        &["session", "clean_up", "journal.clean", "journal.delivered"],
    ),
];

#[test]
fn whatever_it_is_doing_the_process_may_die_there_on_pg15() {
    every_point(Version::Pg15, "pg15");
}

#[test]
fn whatever_it_is_doing_the_process_may_die_there_on_pg18() {
    every_point(Version::Pg18, "pg18");
}

fn every_point(version: Version, server: &str) {
    let walk = walk::walk(Cluster::shared(version));
    let counts: Vec<String> = walk
        .stories
        .iter()
        .map(|(story, (found, _))| format!("{} {found}", story.name()))
        .collect();
    let found: usize = walk.stories.values().map(|(found, _)| found).sum();
    let walked: usize = walk.stories.values().map(|(_, walked)| walked).sum();
    say(&format!(
        "cut points: {walked} walked of {found} ({}) on {server}",
        counts.join(", ")
    ));
    assert!(
        walk.failures.is_empty(),
        "{}",
        walk.failures.join("\n\n=====\n")
    );
    assert_eq!(walked, found);
    for (story, names) in EXPECTED {
        for name in names {
            let passed = |side: &str| {
                walk.points.iter().any(|(of, point)| {
                    let (point, _) = point.rsplit_once('#').unwrap();
                    *of == story && point == format!("{name}{side}")
                })
            };
            assert!(
                passed("") || (passed(".before") && passed(".after")),
                "`{name}` is not passed in the story `{}`: {:#?}",
                story.name(),
                walk.points
            );
        }
    }
}

#[expect(clippy::print_stderr, reason = "the count is part of what a run of the tests shows")]
fn say(line: &str) {
    eprintln!("{line}");
}
