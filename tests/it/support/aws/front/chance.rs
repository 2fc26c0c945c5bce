//! Owns what looks random and is the same in every run: a seed decides it.

use sha2::{Digest, Sha256};
use std::fmt::Write;
use std::time::Duration;

use super::clock::milliseconds;

/// A stream of numbers.
#[derive(Debug)]
pub(super) struct Chance(u64);

impl Chance {
    pub(super) fn of(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// Returns a number of milliseconds between the two, ends included.
    pub(super) fn between(&mut self, (least, most): (Duration, Duration)) -> i64 {
        let (least, most) = (milliseconds(least), milliseconds(most));
        let width = u64::try_from(most - least).unwrap() + 1;
        least + i64::try_from(self.next() % width).unwrap()
    }

    pub(super) fn hex(&mut self, digits: usize) -> String {
        let mut text = format!("{:016x}{:016x}", self.next(), self.next());
        text.truncate(digits);
        text
    }

    pub(super) fn uuid(&mut self) -> String {
        uuid_of(&self.hex(32))
    }
}

/// Returns hexadecimal digits that follow from the words alone.
pub(super) fn digest(words: &[&str]) -> String {
    let mut hash = Sha256::new();
    for word in words {
        hash.update(word.as_bytes());
        hash.update([0]);
    }
    hex(&hash.finalize())
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

/// Writes 32 hexadecimal digits as a UUID of version 4.
pub(super) fn uuid_of(digits: &str) -> String {
    format!(
        "{}-{}-4{}-8{}-{}",
        &digits[..8],
        &digits[8..12],
        &digits[13..16],
        &digits[17..20],
        &digits[20..32]
    )
}
