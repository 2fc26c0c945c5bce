//! Owns the walk over all points of all stories on one server.

use super::stage::Stage;
use super::story::Story;
use crate::support::cluster::Cluster;
use crate::support::world::Pace;
use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;

/// Nothing is cleaned up while the other stories are told, so that each process passes the same points.
const PATIENT: Pace = Pace {
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
type Job = (Story, String);

/// What the walk came to.
#[derive(Debug, Default)]
pub(super) struct Walk {
    /// Points found and points walked, by story.
    pub(super) stories: BTreeMap<Story, (usize, usize)>,
    /// All points found.
    pub(super) points: Vec<Job>,
    /// What went wrong.
    pub(super) failures: Vec<String>,
}

/// Learns all points and walks each of them.
pub(super) fn walk(cluster: &'static Cluster) -> Walk {
    let found = Mutex::new(Vec::new());
    let failures = Mutex::new(Vec::new());
    let told: Vec<(Pace, Vec<Story>)> = std::iter::once((EAGER, vec![Story::CleanUp]))
        .chain((0..PATIENT_WORLDS).map(|world| {
            let stories = Story::PATIENT.into_iter().skip(world);
            (PATIENT, stories.step_by(PATIENT_WORLDS).collect())
        }))
        .collect();
    let stages: Vec<Option<Stage>> = in_parallel(told, |(pace, stories)| {
        let told = catch_unwind(|| {
            let mut stage = Stage::set_up(cluster, pace);
            let mut points = Vec::new();
            for story in stories {
                let played = story.play(&mut stage, None);
                points.extend(played.points.into_iter().map(|point| (story, point)));
            }
            (stage, points)
        });
        match told {
            Ok((stage, points)) => {
                found.lock().unwrap().extend(points);
                Some(stage)
            }
            Err(panic) => {
                failures.lock().unwrap().push(message(panic));
                None
            }
        }
    });
    let mut points: Vec<Job> = found.into_inner().unwrap();
    points.retain(|(_, point)| has_effect(point));
    let mut walk = Walk {
        points: points.clone(),
        ..Walk::default()
    };
    for (story, _) in &points {
        walk.stories.entry(*story).or_default().0 += 1;
    }
    // The stories that wait longest come first.
    points.sort_by_key(|(story, _)| *story != Story::Expiry);
    let (eager, patient): (Vec<Job>, Vec<Job>) = points
        .into_iter()
        .partition(|(story, _)| *story == Story::CleanUp);
    let queues = [EAGER, PATIENT]
        .into_iter()
        .zip([eager, patient].map(|jobs| Mutex::new(VecDeque::from(jobs))));
    let queues: Vec<_> = queues.collect();
    let walked = Mutex::new(Vec::new());
    in_parallel(stages.into_iter().enumerate().collect(), |(place, stage)| {
        let (pace, queue) = &queues[usize::from(place > 0)];
        let mut stage = stage;
        loop {
            let Some((story, point)) = queue.lock().unwrap().pop_front() else {
                return;
            };
            let playing = AssertUnwindSafe(|| {
                let mut stage = stage
                    .take()
                    .unwrap_or_else(|| Stage::set_up(cluster, *pace));
                let died = (0..TRIES).any(|_| story.play(&mut stage, Some(&point)).died);
                (stage, died)
            });
            match catch_unwind(playing) {
                Ok((used, true)) => {
                    stage = Some(used);
                    walked.lock().unwrap().push(story);
                }
                Ok((used, false)) => {
                    stage = Some(used);
                    let story = story.name();
                    failures
                        .lock()
                        .unwrap()
                        .push(format!("{story}: `{point}` was never reached"));
                }
                Err(panic) => {
                    let what = format!("{} cut at `{point}`: {}", story.name(), message(panic));
                    failures.lock().unwrap().push(what);
                }
            }
        }
    });
    for story in walked.into_inner().unwrap() {
        walk.stories.entry(story).or_default().1 += 1;
    }
    walk.failures = failures.into_inner().unwrap();
    walk
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
