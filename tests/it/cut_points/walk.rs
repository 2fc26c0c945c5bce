//! Owns the walk over all points of all stories on one server.

use super::stage::Stage;
use super::story::Story;
use crate::support::cluster::Cluster;
use crate::support::world::Pace;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;

/// Nothing is cleaned up while the other stories are told, so that each process passes the same points.
pub(super) const PATIENT: Pace = Pace {
    drift_every: 3600,
    clean_up_every: 3600,
    clean_up_delay: 3600,
};
/// Clean-up follows at the next start of the connector.
const EAGER: Pace = Pace {
    drift_every: 3600,
    clean_up_every: 5,
    clean_up_delay: 1,
};
/// Worlds for all stories but clean-up.
const PATIENT_WORLDS: usize = 4;
/// How often a point is tried that was not reached.
const TRIES: u32 = 3;

/// A point of a story.
pub(super) type Job = (Story, String);

/// What the walk came to.
#[derive(Debug, Default)]
pub(super) struct Walk {
    /// All points found.
    pub(super) points: Vec<Job>,
    /// Those at which the process died, and all was well afterwards.
    pub(super) walked: Vec<Job>,
    /// Those that were passed once and never again: repeats on a slow server.
    pub(super) by_chance: Vec<Job>,
    /// What went wrong.
    pub(super) failures: Vec<String>,
}

/// Learns all points and walks each of them.
pub(super) fn walk(cluster: &'static Cluster) -> Walk {
    let score = Mutex::new(Walk::default());
    let stages = learn(cluster, &score);
    let mut points = score.lock().unwrap().points.clone();
    // The stories that wait longest come first.
    points.sort_by_key(|(story, _)| *story != Story::Expiry);
    let (eager, patient): (Vec<Job>, Vec<Job>) = points
        .into_iter()
        .partition(|(story, _)| *story == Story::CleanUp);
    let (eager, patient) = (queue(eager), queue(patient));
    let places = stages.into_iter().enumerate().collect();
    in_parallel(places, |(place, stage)| match place {
        0 => walk_all(cluster, EAGER, stage, &eager, &score),
        _ => walk_all(cluster, PATIENT, stage, &patient, &score),
    });
    score.into_inner().unwrap()
}

/// Tells each story once without a cut. The first world is the one for clean-up.
fn learn(cluster: &'static Cluster, score: &Mutex<Walk>) -> Vec<Option<Stage>> {
    let shares = (0..PATIENT_WORLDS).map(|world| {
        let stories = Story::PATIENT.into_iter().skip(world);
        (PATIENT, stories.step_by(PATIENT_WORLDS).collect())
    });
    let shares: Vec<(Pace, Vec<Story>)> = std::iter::once((EAGER, vec![Story::CleanUp]))
        .chain(shares)
        .collect();
    in_parallel(shares, |(pace, stories)| {
        let telling = || {
            let mut stage = Stage::set_up(cluster, pace);
            let mut points = Vec::new();
            for story in stories {
                let told = story.play(&mut stage, None).points.into_iter();
                points.extend(told.filter(|point| has_effect(point)).map(|p| (story, p)));
            }
            (stage, points)
        };
        match catch_unwind(telling) {
            Ok((stage, points)) => {
                score.lock().unwrap().points.extend(points);
                Some(stage)
            }
            Err(panic) => {
                score.lock().unwrap().failures.push(message(panic));
                None
            }
        }
    })
}

/// Walks points until none is left; a world in which something went wrong is replaced.
fn walk_all(
    cluster: &'static Cluster,
    pace: Pace,
    mut stage: Option<Stage>,
    queue: &Mutex<VecDeque<Job>>,
    score: &Mutex<Walk>,
) {
    loop {
        let Some((story, point)) = queue.lock().unwrap().pop_front() else {
            return;
        };
        let playing = AssertUnwindSafe(|| {
            let mut stage = stage.take().unwrap_or_else(|| Stage::set_up(cluster, pace));
            let died = (0..TRIES).any(|_| story.play(&mut stage, Some(&point)).died);
            (stage, died)
        });
        let outcome = catch_unwind(playing);
        let mut score = score.lock().unwrap();
        match outcome {
            Ok((used, died)) => {
                stage = Some(used);
                let list = if died {
                    &mut score.walked
                } else {
                    &mut score.by_chance
                };
                list.push((story, point));
            }
            Err(panic) => {
                let what = format!("{} cut at `{point}`: {}", story.name(), message(panic));
                score.failures.push(what);
            }
        }
    }
}

fn queue(jobs: Vec<Job>) -> Mutex<VecDeque<Job>> {
    Mutex::new(VecDeque::from(jobs))
}

/// A statement that only looks changes nothing: dying around it is dying between two others.
fn has_effect(point: &str) -> bool {
    let looks = ["look ", "read ", "take the lock", "keep "];
    match point.strip_prefix("postgres.") {
        Some(statement) => !looks.iter().any(|look| statement.starts_with(look)),
        None => true,
    }
}

fn in_parallel<T: Send, R: Send>(work: Vec<T>, each: impl Fn(T) -> R + Sync) -> Vec<R> {
    std::thread::scope(|scope| {
        let each = &each;
        let threads: Vec<_> = work
            .into_iter()
            .map(|item| scope.spawn(move || each(item)))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    })
}

fn message(panic: Box<dyn std::any::Any + Send>) -> String {
    match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(panic) => panic
            .downcast::<&str>()
            .map_or_else(|_| "panicked".to_owned(), |text| (*text).to_owned()),
    }
}
