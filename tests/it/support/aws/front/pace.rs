//! Owns the token buckets: how many calls a second are let in.

use super::clock::Moment;
use std::collections::HashMap;

/// The buckets, by name.
#[derive(Debug, Default)]
pub(super) struct Paces(HashMap<String, Bucket>);

#[derive(Debug, Clone, Copy)]
struct Bucket {
    tokens: f64,
    filled: Moment,
}

/// Size of a bucket and how fast it fills, per second.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rate {
    pub(super) fill: f64,
    pub(super) size: f64,
    /// Whether those turned away take something too.
    pub(super) refused_count: bool,
}

impl Paces {
    /// Takes one call out of a bucket, or says no.
    pub(super) fn take(&mut self, name: &str, rate: Rate, now: Moment) -> bool {
        let fresh = Bucket {
            tokens: rate.size,
            filled: now,
        };
        let bucket = self.0.entry(name.to_owned()).or_insert(fresh);
        #[expect(
            clippy::cast_precision_loss,
            reason = "time since the last call, in milliseconds"
        )]
        let passed = (now - bucket.filled).max(0) as f64 / 1000.0;
        bucket.tokens = (bucket.tokens + passed * rate.fill).min(rate.size);
        bucket.filled = now;
        let allowed = bucket.tokens >= 1.0;
        if allowed || rate.refused_count {
            bucket.tokens = (bucket.tokens - 1.0).max(-rate.size);
        }
        allowed
    }
}
