//! Owns exclusion: work on one lane never overlaps. Ends take no lane, the target's own record keeps them safe.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

/// Lanes by name; a lane nobody uses takes no memory for long.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    lanes: Mutex<HashMap<String, Weak<AsyncMutex<()>>>>,
}

impl Lanes {
    /// Waits until the lane is free and takes it; first come, first served.
    pub(super) async fn enter(&self, name: String) -> OwnedMutexGuard<()> {
        self.lane(name).lock_owned().await
    }

    fn lane(&self, name: String) -> Arc<AsyncMutex<()>> {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        lanes.retain(|_, lane| lane.strong_count() > 0);
        if let Some(lane) = lanes.get(&name).and_then(Weak::upgrade) {
            return lane;
        }
        let lane = Arc::new(AsyncMutex::new(()));
        lanes.insert(name, Arc::downgrade(&lane));
        lane
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_lane_is_taken_once_and_another_is_free() {
        let lanes = Lanes::default();
        let held = lanes.enter("server/alice".to_owned()).await;
        let _other = lanes.enter("server/bob".to_owned()).await;
        assert!(lanes.lane("server/alice".to_owned()).try_lock().is_err());
        drop(held);
        assert!(lanes.lane("server/alice".to_owned()).try_lock().is_ok());
    }
}
