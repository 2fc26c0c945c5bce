//! Owns misbehaviour on demand, for tests: what to do wrong, in which call, how often. Never part of a normal build.

use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

/// What to do wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Fault {
    /// Forgets the call before it is carried out, and breaks the connection.
    DropRequest,
    /// Carries the call out, and breaks the connection half-way through the answer.
    DropAnswer,
    /// Carries the call out, and answers later.
    Delay {
        /// How much later.
        ms: u64,
    },
    /// Carries the call out twice, and gives the second answer.
    Duplicate,
    /// Carries the call out, and answers only after the answer to another call was given.
    Reorder,
    /// Ends every lease right after the call.
    ExpireLeases,
    /// Refuses the call with a status, without carrying it out.
    Status {
        /// The status.
        status: u16,
        /// The `Retry-After` header.
        #[serde(default)]
        retry_after_s: Option<u64>,
    },
    /// Answers with status 200 and this text, without carrying the call out.
    Garbage {
        /// The text.
        text: String,
    },
}

/// One thing to do wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Misbehaviour {
    /// The last part of the call's path, for example `lease` or `result`; nothing for any call.
    #[serde(default)]
    pub call: Option<String>,
    /// What to do.
    #[serde(flatten)]
    pub fault: Fault,
    /// How many calls pass before it happens.
    #[serde(default)]
    pub after: u32,
    /// How many times.
    #[serde(default = "once")]
    pub times: u32,
}

fn once() -> u32 {
    1
}

/// What is still to be done wrong, in order.
#[derive(Debug, Default)]
pub struct Script {
    scenes: Mutex<VecDeque<Misbehaviour>>,
    pub(super) answered: tokio::sync::Notify,
}

impl Script {
    /// Adds one thing to do wrong.
    pub fn add(&self, scene: Misbehaviour) {
        let mut scenes = self.scenes.lock().unwrap_or_else(PoisonError::into_inner);
        scenes.push_back(scene);
    }

    /// Forgets what is left.
    pub fn clear(&self) {
        let mut scenes = self.scenes.lock().unwrap_or_else(PoisonError::into_inner);
        scenes.clear();
    }

    /// Takes what is to be done wrong in this call.
    pub(super) fn take(&self, call: &str) -> Option<Fault> {
        let mut scenes = self.scenes.lock().unwrap_or_else(PoisonError::into_inner);
        let at = scenes
            .iter()
            .position(|scene| scene.call.as_deref().is_none_or(|wanted| wanted == call))?;
        let scene = scenes.get_mut(at)?;
        if let Some(left) = scene.after.checked_sub(1) {
            scene.after = left;
            return None;
        }
        let fault = scene.fault.clone();
        scene.times = scene.times.saturating_sub(1);
        if scene.times == 0 {
            scenes.remove(at);
        }
        Some(fault)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scene(call: Option<&str>, after: u32, times: u32) -> Misbehaviour {
        Misbehaviour {
            call: call.map(str::to_owned),
            fault: Fault::Duplicate,
            after,
            times,
        }
    }

    #[test]
    fn a_scene_is_played_in_its_call_as_often_as_asked() {
        let script = Script::default();
        script.add(scene(Some("lease"), 1, 2));
        assert_eq!(script.take("result"), None);
        assert_eq!(script.take("lease"), None);
        assert_eq!(script.take("lease"), Some(Fault::Duplicate));
        assert_eq!(script.take("lease"), Some(Fault::Duplicate));
        assert_eq!(script.take("lease"), None);
    }

    #[test]
    fn a_scene_without_a_call_is_played_in_any() {
        let script = Script::default();
        script.add(scene(None, 0, 1));
        assert_eq!(script.take("heartbeat"), Some(Fault::Duplicate));
    }

    #[test]
    fn a_scene_is_short_to_write() {
        let text = r#"{"call": "result", "do": "delay", "ms": 5}"#;
        let scene: Misbehaviour = serde_json::from_str(text).unwrap();
        assert_eq!(scene.fault, Fault::Delay { ms: 5 });
        assert_eq!(scene.times, 1);
    }
}
