//! Owns the body of an inventory upload: NDJSON, compressed as it goes. Never holds more than a few chunks.

use crate::control::protocol::InventoryLine;
use crate::control::{InventoryItem, InventoryStream, render};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::stream::{Stream, unfold};
use std::io::{Error, ErrorKind, Write};
use std::time::Duration;
use tokio::sync::mpsc::{Receiver, Sender};
use uuid::Uuid;

/// Compressed bytes that are sent together: 16 KiB.
const CHUNK_BYTES: usize = 16 << 10;
/// Longest silence of the source before the upload is aborted: 60 s.
const SOURCE_SILENCE: Duration = Duration::from_secs(60);

/// A part of the body.
pub(super) enum Chunk {
    More(Bytes),
    Last(Bytes),
}

/// Returns the body. It ends with an error, and without a `commit` line, when no last chunk comes.
pub(super) fn body(chunks: Receiver<Chunk>) -> impl Stream<Item = std::io::Result<Bytes>> + Send {
    unfold(Some(chunks), async |chunks| {
        let mut chunks = chunks?;
        match chunks.recv().await {
            Some(Chunk::More(bytes)) => Some((Ok(bytes), Some(chunks))),
            Some(Chunk::Last(bytes)) => Some((Ok(bytes), None)),
            None => {
                let error = Error::new(ErrorKind::Interrupted, "the upload was aborted");
                Some((Err(error), None))
            }
        }
    })
}

/// How filling the body ended.
#[derive(PartialEq, Eq)]
pub(super) enum Filled {
    /// Everything was handed over, or nobody wants more: the answer says which.
    Done,
    /// The source stopped before [`InventoryItem::Complete`].
    Aborted,
}

/// Fills the body from the source.
pub(super) async fn fill(
    upload: Uuid,
    mut records: InventoryStream,
    chunks: Sender<Chunk>,
) -> std::io::Result<Filled> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let mut count = 0;
    write(&mut encoder, &InventoryLine::Begin { upload, base: None })?;
    loop {
        let item = tokio::time::timeout(SOURCE_SILENCE, records.recv()).await;
        let chunk = match item {
            Ok(Some(InventoryItem::Record(record))) => {
                write(&mut encoder, &render::inventory_line(&record))?;
                count += 1;
                if encoder.get_ref().len() < CHUNK_BYTES {
                    continue;
                }
                Chunk::More(std::mem::take(encoder.get_mut()).into())
            }
            Ok(Some(InventoryItem::Complete)) => {
                write(&mut encoder, &InventoryLine::Commit { count })?;
                encoder.try_finish()?;
                Chunk::Last(std::mem::take(encoder.get_mut()).into())
            }
            Ok(None) | Err(_) => return Ok(Filled::Aborted),
        };
        let last = matches!(chunk, Chunk::Last(_));
        if chunks.send(chunk).await.is_err() || last {
            return Ok(Filled::Done);
        }
    }
}

fn write(encoder: &mut GzEncoder<Vec<u8>>, line: &InventoryLine) -> std::io::Result<()> {
    serde_json::to_writer(&mut *encoder, line)?;
    encoder.write_all(b"\n")
}
