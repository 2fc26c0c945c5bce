//! Owns the upload of inventories: gzip, line by line, bounded everywhere. Never holds a whole inventory.

use super::{Refusals, Shared};
use crate::control::protocol::{InventoryLine, InventoryReply, ResourceRecord};
use crate::domain::IntegrationId;
use crate::reference_plane::PlaneError;
use crate::reference_plane::plane::Plane;
use crate::reference_plane::store::Upload;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, header};
use axum::response::Json;
use flate2::write::GzDecoder;
use futures_util::StreamExt;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

/// Longest line: a resource with long names, an owner and a comment.
const MAX_LINE: usize = 64 << 10;
/// Most resources in one upload.
const MAX_RESOURCES: u64 = 2_000_000;
/// Resources written in one transaction.
const BATCH: usize = 1000;
/// Compressed bytes taken at a time: gzip gives at most about 1,000 times as many, so 8 MiB.
const BITE: usize = 8 << 10;
/// How long the sender may be silent.
const SILENCE: Duration = Duration::from_secs(30);

/// Replaces an integration's inventory: NDJSON, optionally gzip. Nothing changes before the last line, `commit`.
#[utoipa::path(post, path = "/v1/connectors/{connector}/integrations/{integration}/inventory", tag = "connector",
    params(
        ("connector" = String, Path, description = "The connector's id"),
        ("integration" = uuid::Uuid, Path, description = "The integration's id"),
        ("Content-Encoding" = Option<String>, Header, description = "`gzip` or nothing")),
    request_body(content = crate::control::protocol::InventoryLine, content_type = "application/x-ndjson",
        description = "One line each: `begin`, any number of `upsert`, `commit`. A line has at most 64 KiB."),
    responses((status = 200, description = "Replaced", body = InventoryReply), Refusals))]
pub(super) async fn upload(
    State(plane): Shared,
    Path((connector, integration)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<InventoryReply>, PlaneError> {
    let connector = super::connector::connector_id(&connector)?;
    let integration = IntegrationId::parse(&integration)?.as_uuid();
    let unpacker = Unpacker::new(&headers)?;
    let upload = plane
        .read(move |store| store.begin_upload(&connector, integration))
        .await?;
    let mut reading = Reading {
        plane: Arc::clone(&plane),
        upload: upload.clone(),
        lines: Lines::default(),
    };
    match reading.run(unpacker, body).await {
        Ok(count) => plane
            .change(move |store| store.commit_upload(&upload, count))
            .await
            .map(Json),
        Err(error) => {
            plane.read(move |store| store.drop_upload(&upload)).await?;
            Err(error)
        }
    }
}

/// What is known of the lines so far. The order is `begin`, any number of `upsert`, `commit`.
#[derive(Default)]
struct Lines {
    begun: bool,
    committed: Option<u64>,
    count: u64,
    batch: Vec<ResourceRecord>,
}

struct Reading {
    plane: Arc<Plane>,
    upload: Upload,
    lines: Lines,
}

impl Reading {
    async fn run(&mut self, mut unpacker: Unpacker, body: Body) -> Result<u64, PlaneError> {
        let mut chunks = body.into_data_stream();
        loop {
            let chunk = tokio::time::timeout(SILENCE, chunks.next())
                .await
                .map_err(|_| broken("no line came for 30 s"))?;
            let Some(chunk) = chunk else { break };
            let chunk = chunk.map_err(|_| broken("the upload broke off"))?;
            for bite in chunk.chunks(BITE) {
                unpacker.feed(bite)?;
                self.take_lines(&mut unpacker).await?;
            }
        }
        unpacker.finish()?;
        self.take_lines(&mut unpacker).await?;
        if !unpacker.rest().is_empty() {
            return Err(broken("the last line has no end"));
        }
        self.stage().await?;
        match self.lines.committed {
            Some(count) if count == self.lines.count => Ok(count),
            Some(count) => Err(PlaneError::invalid(
                "wrong_count",
                format!("`commit` counts {count} lines, {} came", self.lines.count),
            )),
            None => Err(broken("the upload ended without `commit`")),
        }
    }

    async fn take_lines(&mut self, unpacker: &mut Unpacker) -> Result<(), PlaneError> {
        for line in unpacker.lines()? {
            self.lines.take(&line)?;
            if self.lines.batch.len() >= BATCH {
                self.stage().await?;
            }
        }
        Ok(())
    }

    async fn stage(&mut self) -> Result<(), PlaneError> {
        let batch = std::mem::take(&mut self.lines.batch);
        if batch.is_empty() {
            return Ok(());
        }
        let upload = self.upload.clone();
        self.plane
            .read(move |store| store.stage(&upload, &batch))
            .await
    }
}

impl Lines {
    fn take(&mut self, line: &[u8]) -> Result<(), PlaneError> {
        let number = self.count + 1 + u64::from(self.begun);
        let line = serde_json::from_slice(line).map_err(|error| {
            PlaneError::invalid(
                "invalid_line",
                format!("line {number} cannot be understood: {error}"),
            )
        })?;
        match line {
            _ if self.committed.is_some() => Err(out_of_order("a line follows `commit`")),
            InventoryLine::Begin { base: Some(_), .. } => Err(PlaneError::conflict(
                "unknown_base",
                "this control plane keeps no earlier revisions to build on",
            )
            .hint("send a full upload, without `base`")),
            InventoryLine::Begin { .. } if self.begun => Err(out_of_order("`begin` comes twice")),
            InventoryLine::Begin { .. } => {
                self.begun = true;
                Ok(())
            }
            _ if !self.begun => Err(out_of_order("the first line is not `begin`")),
            InventoryLine::Upsert { .. } if self.count >= MAX_RESOURCES => Err(PlaneError::refuse(
                413,
                "too_many_resources",
                format!("an upload has at most {MAX_RESOURCES} resources"),
            )),
            InventoryLine::Upsert { resource } => {
                self.count += 1;
                self.batch.push(resource);
                Ok(())
            }
            InventoryLine::Delete { .. } => Err(out_of_order("`delete` needs a `base`")),
            InventoryLine::Commit { count } => {
                self.committed = Some(count);
                Ok(())
            }
        }
    }
}

/// Turns compressed bytes into lines.
enum Unpacker {
    Plain(Vec<u8>),
    Gzip(Box<GzDecoder<Vec<u8>>>),
}

impl Unpacker {
    fn new(headers: &HeaderMap) -> Result<Self, PlaneError> {
        match headers.get(header::CONTENT_ENCODING).map(|v| v.as_bytes()) {
            None | Some(b"identity") => Ok(Self::Plain(Vec::new())),
            Some(b"gzip") => Ok(Self::Gzip(Box::new(GzDecoder::new(Vec::new())))),
            Some(_) => Err(PlaneError::refuse(
                400,
                "unknown_encoding",
                "`Content-Encoding` must be `gzip` or missing",
            )),
        }
    }

    fn feed(&mut self, bytes: &[u8]) -> Result<(), PlaneError> {
        match self {
            Self::Plain(buffer) => {
                buffer.extend_from_slice(bytes);
                Ok(())
            }
            Self::Gzip(decoder) => decoder
                .write_all(bytes)
                .and_then(|()| decoder.flush())
                .map_err(|_| broken("the body is not gzip")),
        }
    }

    fn finish(&mut self) -> Result<(), PlaneError> {
        match self {
            Self::Plain(_) => Ok(()),
            Self::Gzip(decoder) => decoder
                .try_finish()
                .map_err(|_| broken("the gzip stream broke off")),
        }
    }

    fn buffer(&mut self) -> &mut Vec<u8> {
        match self {
            Self::Plain(buffer) => buffer,
            Self::Gzip(decoder) => decoder.get_mut(),
        }
    }

    fn rest(&mut self) -> &[u8] {
        self.buffer()
    }

    /// Takes the complete lines out.
    fn lines(&mut self) -> Result<Vec<Vec<u8>>, PlaneError> {
        let buffer = self.buffer();
        let complete = buffer
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        let lines: Vec<Vec<u8>> = buffer
            .drain(..complete)
            .as_slice()
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(<[u8]>::to_vec)
            .collect();
        let longest = lines.iter().map(Vec::len).chain([buffer.len()]).max();
        if longest.unwrap_or_default() > MAX_LINE {
            return Err(PlaneError::refuse(
                413,
                "line_too_long",
                format!("a line has more than {MAX_LINE} bytes"),
            ));
        }
        Ok(lines)
    }
}

fn broken(problem: &str) -> PlaneError {
    PlaneError::refuse(400, "broken_upload", problem)
}

fn out_of_order(problem: &str) -> PlaneError {
    PlaneError::invalid("invalid_upload", problem)
}
