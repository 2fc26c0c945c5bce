//! Owns packing an inventory upload into parts: NDJSON, compressed as it goes. Never holds more than one part, never sends one.

use super::{InventoryBase, InventoryChange, render};
use crate::control::protocol::InventoryLine;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use std::io::Write;
use uuid::Uuid;

/// Compressed bytes after which a part is closed: 256 KiB, so that what is sent again after a broken connection is little.
const PART_BYTES: usize = 256 << 10;
/// Lines after which a part is closed: what a control plane stores in a few seconds.
const PART_LINES: u64 = 20_000;

/// One part of an inventory upload, ready to be sent as often as it takes.
#[derive(Debug, Clone)]
pub struct InventoryPart {
    /// Its place in the upload, from 0.
    pub number: u32,
    /// Whether the upload is committed with it.
    pub last: bool,
    body: Bytes,
}

impl InventoryPart {
    /// Returns what is sent: NDJSON, gzip.
    #[must_use]
    pub fn body(&self) -> Bytes {
        self.body.clone()
    }

    /// Returns how many bytes are sent.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.body.len() as u64
    }
}

/// Packs changes into parts.
#[derive(Debug)]
pub struct InventoryParcel {
    upload: Uuid,
    base: Option<InventoryBase>,
    number: u32,
    encoder: GzEncoder<Vec<u8>>,
    lines: u64,
    total: u64,
}

impl InventoryParcel {
    /// Begins an upload of changes to a base; of everything without one.
    ///
    /// # Errors
    /// When a line cannot be written as JSON, here as below.
    pub fn new(upload: Uuid, base: Option<InventoryBase>) -> std::io::Result<Self> {
        let mut parcel = Self {
            upload,
            base,
            number: 0,
            encoder: encoder(),
            lines: 0,
            total: 0,
        };
        parcel.begin()?;
        Ok(parcel)
    }

    /// Adds a change.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn add(&mut self, change: &InventoryChange) -> std::io::Result<()> {
        self.lines += 1;
        self.write(&render::inventory_line(change))
    }

    /// Tells whether the part is large enough to be sent.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.encoder.get_ref().len() >= PART_BYTES || self.lines >= PART_LINES
    }

    /// Closes the part and begins the next.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn close(&mut self) -> std::io::Result<InventoryPart> {
        self.write(&InventoryLine::More { count: self.lines })?;
        let part = self.take(false)?;
        self.number += 1;
        self.total += self.lines;
        self.lines = 0;
        self.begin()?;
        Ok(part)
    }

    /// Closes the last part.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn commit(mut self) -> std::io::Result<InventoryPart> {
        let count = self.total + self.lines;
        self.write(&InventoryLine::Commit { count })?;
        self.take(true)
    }

    fn begin(&mut self) -> std::io::Result<()> {
        self.write(&InventoryLine::Begin {
            upload: self.upload,
            part: self.number,
            base: self.base,
        })
    }

    fn write(&mut self, line: &InventoryLine) -> std::io::Result<()> {
        serde_json::to_writer(&mut self.encoder, line)?;
        self.encoder.write_all(b"\n")
    }

    fn take(&mut self, last: bool) -> std::io::Result<InventoryPart> {
        let body = std::mem::replace(&mut self.encoder, encoder()).finish()?;
        Ok(InventoryPart {
            number: self.number,
            last,
            body: body.into(),
        })
    }
}

fn encoder() -> GzEncoder<Vec<u8>> {
    GzEncoder::new(Vec::new(), Compression::fast())
}
