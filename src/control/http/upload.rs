//! Owns the body of an inventory upload: NDJSON, compressed as it goes. Never holds more than one chunk.

use crate::control::protocol::InventoryLine;
use crate::control::{InventoryItem, InventoryStream, render};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::stream::{Stream, unfold};
use std::io::{Error, ErrorKind, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use uuid::Uuid;

/// Compressed bytes that are sent together: 16 KiB.
const CHUNK_BYTES: usize = 16 << 10;
/// Longest silence of the source before the upload is aborted: 60 s.
const SOURCE_SILENCE: Duration = Duration::from_secs(60);

/// Set when the source stopped before the end.
#[derive(Debug, Clone, Default)]
pub(super) struct AbortFlag(Arc<AtomicBool>);

impl AbortFlag {
    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

struct Upload {
    records: InventoryStream,
    encoder: GzEncoder<Vec<u8>>,
    count: u64,
    aborted: AbortFlag,
}

/// Returns the body. It ends with an error, and without a `commit` line, when the source stops before
/// [`InventoryItem::Complete`].
pub(super) fn body(
    upload: Uuid,
    records: InventoryStream,
    aborted: AbortFlag,
) -> impl Stream<Item = std::io::Result<Bytes>> + Send + 'static {
    let mut state = Upload {
        records,
        encoder: GzEncoder::new(Vec::new(), Compression::fast()),
        count: 0,
        aborted,
    };
    let begun = state.write(&InventoryLine::Begin { upload, base: None });
    unfold(
        Some(begun.map(|()| Box::new(state))),
        async |state| match state? {
            Err(error) => Some((Err(error), None)),
            Ok(mut state) => match state.next_chunk().await {
                Ok((chunk, true)) => Some((Ok(chunk), None)),
                Ok((chunk, false)) => Some((Ok(chunk), Some(Ok(state)))),
                Err(error) => Some((Err(error), None)),
            },
        },
    )
}

impl Upload {
    /// Returns the next chunk, and whether it is the last.
    async fn next_chunk(&mut self) -> std::io::Result<(Bytes, bool)> {
        loop {
            let item = tokio::time::timeout(SOURCE_SILENCE, self.records.recv()).await;
            match item {
                Ok(Some(InventoryItem::Record(record))) => {
                    self.write(&render::inventory_line(&record))?;
                    self.count += 1;
                    if self.encoder.get_ref().len() >= CHUNK_BYTES {
                        return Ok((self.take(), false));
                    }
                }
                Ok(Some(InventoryItem::Complete)) => {
                    self.write(&InventoryLine::Commit { count: self.count })?;
                    self.encoder.try_finish()?;
                    return Ok((self.take(), true));
                }
                Ok(None) | Err(_) => {
                    self.aborted.0.store(true, Ordering::Release);
                    return Err(Error::new(
                        ErrorKind::Interrupted,
                        "the inventory source stopped before the end",
                    ));
                }
            }
        }
    }

    fn write(&mut self, line: &InventoryLine) -> std::io::Result<()> {
        serde_json::to_writer(&mut self.encoder, line)?;
        self.encoder.write_all(b"\n")
    }

    fn take(&mut self) -> Bytes {
        std::mem::take(self.encoder.get_mut()).into()
    }
}
