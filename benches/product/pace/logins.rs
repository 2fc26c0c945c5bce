//! Measures a start, an end, and ends together, with few and with many live logins on the server.

use super::crowd::Crowd;
use super::person::{self, Bare, Gives};
use crate::company::{self, World};
use crate::figure;
use crate::support::cluster::Cluster;
use apono_connector::domain::EndReason;
use apono_connector::targets::Target;
use std::time::Instant;

/// Live logins.
const LEVELS: [usize; 3] = [10, 1_000, 5_000];
/// Persons by each road at each level.
const PEOPLE: u32 = 15;
/// Ends in one go.
const TOGETHER: usize = 50;
/// How often.
const ROUNDS: usize = 3;

pub(super) fn names(label: &str) -> Vec<String> {
    LEVELS
        .iter()
        .map(|level| format!("pace-logins-{level}-{label}"))
        .collect()
}

pub(super) async fn measure(
    cluster: &'static Cluster,
    label: &str,
    wanted: &impl Fn(&str) -> bool,
) {
    let names = names(label);
    if !names.iter().any(|name| wanted(name)) {
        return;
    }
    let world = World::new(cluster).await;
    let on = world.schema("shop");
    // The first person pays for the record, the access role and the connections.
    let (first, _) = person::start(&world, "first", &on).await;
    let access = world.ask("SELECT name FROM apono.access_role").await;
    let bare = Bare::open(&world, Gives::Role(access)).await;
    let mut crowd = Crowd::of(&world, on.clone(), first);
    for (level, name) in LEVELS.into_iter().zip(&names) {
        if !wanted(name) {
            continue;
        }
        crowd.grow(level).await;
        let (ours, by_hand) = person::alternate(&world, &bare, &on, PEOPLE).await;
        let together = end_together(&world, &mut crowd, level).await;
        figure::parts(
            name,
            &[
                ("start", figure::ratio(ours.start(), "ms", by_hand.start())),
                ("end", figure::ratio(ours.end(), "ms", by_hand.end())),
                (
                    "each of 50 ends together",
                    figure::ratio(together, "ms", ours.end()),
                ),
            ],
        );
    }
}

/// Returns milliseconds per end.
async fn end_together(world: &World, crowd: &mut Crowd<'_>, level: usize) -> f64 {
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        crowd.grow(level + TOGETHER).await;
        let leaving = crowd.take(TOGETHER);
        let warrants: Vec<_> = leaving
            .iter()
            .map(|grant| company::warrant(grant, EndReason::Revoked))
            .collect();
        let begun = Instant::now();
        let ended = world.target.end_together(&warrants).await.unwrap();
        times.push(figure::ms(begun.elapsed()) / TOGETHER as f64);
        assert_eq!(ended.len(), TOGETHER);
    }
    figure::median(times)
}
