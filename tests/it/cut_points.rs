//! Kill the process anywhere: no access without a record, nothing past its expiry, no task unended.

mod checker;
mod planted;
mod stage;
mod story;
mod walk;

use crate::support::cluster::{Cluster, Version};
use std::io::Write;
use story::Story;
use walk::Job;

/// What each story must pass at least; without them the switch itself would be broken.
const EXPECTED: [(Story, &[&str]); 7] = [
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
        &[
            "journal.start_intended",
            "start.start_grant",
            "journal.started",
        ],
    ),
    (
        Story::Extend,
        &[
            "extend.move_expiry",
            "journal.expiry_moved",
            "deliver.result",
        ],
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
        Story::Together,
        &[
            "end.together",
            "postgres.doors.closed",
            "postgres.logins.blocked",
        ],
    ),
    (
        Story::CleanUp,
        &["session", "clean_up", "journal.clean", "journal.delivered"],
    ),
];

/// Done only while somebody else on the server is between log-in and first appearance, which no story brings about.
const UP_TO_STRANGERS: &str = "postgres.end a hidden session";

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
    let found: Vec<&Job> = walk
        .points
        .iter()
        .filter(|point| !walk.by_chance.contains(point))
        .collect();
    let count = |story: Story| found.iter().filter(|(of, _)| *of == story).count();
    let counts: Vec<String> = Story::ALL
        .into_iter()
        .map(|story| format!("{} {}", story.name(), count(story)))
        .collect();
    say(&format!(
        "cut points: {} walked of {} ({}) on {server}",
        walk.walked.len(),
        found.len(),
        counts.join(", ")
    ));
    let failures = walk.failures.join("\n\n=====\n");
    assert!(walk.failures.is_empty(), "{failures}");
    assert_eq!(walk.walked.len(), found.len());
    // What a slow server brings about in one story only now and then is walked at least in another: `together` ends alone what it
    // could not end at once.
    for (story, point) in &walk.by_chance {
        let name = name_of(point);
        if name.starts_with(UP_TO_STRANGERS) {
            continue;
        }
        assert!(
            walk.walked.iter().any(|(_, other)| name_of(other) == name),
            "`{point}` of the story `{}` was never reached",
            story.name()
        );
    }
    for (story, names) in EXPECTED {
        for name in names {
            let passed = |side: &str| {
                let whole = format!("{name}{side}");
                walk.walked
                    .iter()
                    .any(|(of, point)| *of == story && name_of(point) == whole)
            };
            assert!(
                passed("") || (passed(".before") && passed(".after")),
                "`{name}` is not passed in the story `{}`: {:#?}",
                story.name(),
                walk.walked
            );
        }
    }
}

/// Returns a point without the number of its pass.
fn name_of(point: &str) -> &str {
    point.rsplit_once('#').map_or(point, |(name, _)| name)
}

/// Says it past the capture of the test's output: the count is part of what a run shows.
fn say(line: &str) {
    writeln!(std::io::stderr(), "{line}").unwrap();
}
