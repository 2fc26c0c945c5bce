//! Owns the upload of inventories: gzip, line by line, bounded everywhere. Never holds a whole inventory.

use super::{Refusals, Shared};
use crate::control::protocol::{InventoryLine, InventoryReply};
use crate::domain::IntegrationId;
use crate::reference_plane::PlaneError;
use crate::reference_plane::plane::Plane;
use crate::reference_plane::store::{Opened, PartEnd, Store, Upload};
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, header};
use axum::response::Json;
use flate2::write::GzDecoder;
use futures_util::StreamExt;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

/// Longest line: a resource with long names, an owner, a comment and tags.
const MAX_LINE: usize = 64 << 10;
/// Most lines in one upload, resources and access together.
const MAX_LINES: u64 = 4_000_000;
/// Lines written in one transaction.
const BATCH: usize = 1000;
/// Compressed bytes taken at a time: gzip gives at most about 1,000 times as many, so 8 MiB.
const BITE: usize = 8 << 10;
/// How long the sender may be silent.
const SILENCE: Duration = Duration::from_secs(30);

/// Takes one part of an upload: NDJSON, optionally gzip. Nothing changes before the last line of the last part, `commit`.
#[utoipa::path(post, path = "/v1/connectors/{connector}/integrations/{integration}/inventory", tag = "connector",
    params(
        ("connector" = String, Path, description = "The connector's id"),
        ("integration" = uuid::Uuid, Path, description = "The integration's id"),
        ("Content-Encoding" = Option<String>, Header, description = "`gzip` or nothing")),
    request_body(content = crate::control::protocol::InventoryLine, content_type = "application/x-ndjson",
        description = "One line each: `begin`, any number of others, then `more` or `commit`. A line has at most 64 KiB."),
    responses((status = 200, description = "The part has arrived; with `commit` the inventory is changed", body = InventoryReply), Refusals))]
pub(super) async fn upload(
    State(plane): Shared,
    Path((connector, integration)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<InventoryReply>, PlaneError> {
    let connector = super::connector::connector_id(&connector)?;
    let integration = IntegrationId::parse(&integration)?.as_uuid();
    let unpacker = Unpacker::new(&headers)?;
    let mut reading = Reading {
        plane: Arc::clone(&plane),
        connector,
        integration,
        upload: None,
        lines: Lines::default(),
    };
    match reading.run(unpacker, body).await {
        Ok(reply) => Ok(Json(reply)),
        Err(error) => {
            // What broke off may come again; what makes no sense will not make more.
            if let Some(upload) = reading.upload.filter(|_| !is_broken(&error)) {
                plane.read(move |store| store.drop_upload(&upload)).await?;
            }
            Err(error)
        }
    }
}

/// What is known of the lines of this part so far. The order is `begin`, any number of others, `more` or `commit`.
#[derive(Default)]
struct Lines {
    end: Option<PartEnd>,
    count: u64,
    batch: Vec<InventoryLine>,
}

struct Reading {
    plane: Arc<Plane>,
    connector: String,
    integration: uuid::Uuid,
    upload: Option<Upload>,
    lines: Lines,
}

impl Reading {
    async fn run(
        &mut self,
        mut unpacker: Unpacker,
        body: Body,
    ) -> Result<InventoryReply, PlaneError> {
        let mut chunks = body.into_data_stream();
        loop {
            let chunk = tokio::time::timeout(SILENCE, chunks.next())
                .await
                .map_err(|_| broken("no line came for 30 s"))?;
            let Some(chunk) = chunk else { break };
            let chunk = chunk.map_err(|_| broken("the upload broke off"))?;
            for bite in chunk.chunks(BITE) {
                unpacker.feed(bite)?;
                if let Some(reply) = self.take_lines(&mut unpacker).await? {
                    return Ok(reply);
                }
            }
        }
        unpacker.finish()?;
        if let Some(reply) = self.take_lines(&mut unpacker).await? {
            return Ok(reply);
        }
        if !unpacker.rest().is_empty() {
            return Err(broken("the last line has no end"));
        }
        self.stage().await?;
        let (Some(end), Some(upload)) = (self.lines.end, self.upload.clone()) else {
            return Err(broken("the part ended without `more` or `commit`"));
        };
        let count = self.lines.count;
        let closing = move |store: &mut Store| store.close_part(&upload, count, end);
        match end {
            PartEnd::More => self.plane.read(closing).await,
            PartEnd::Commit => self.plane.change(closing).await,
        }
    }

    /// Takes complete lines; an answer ends the reading.
    async fn take_lines(
        &mut self,
        unpacker: &mut Unpacker,
    ) -> Result<Option<InventoryReply>, PlaneError> {
        for line in unpacker.lines()? {
            let line = self.lines.parse(&line)?;
            let Some(upload) = &self.upload else {
                match self.begin(line).await? {
                    Opened::Go(upload) => self.upload = Some(upload),
                    Opened::Again(reply) => return Ok(Some(reply)),
                }
                continue;
            };
            self.lines.take(line, upload)?;
            if self.lines.batch.len() >= BATCH {
                self.stage().await?;
            }
        }
        Ok(None)
    }

    async fn begin(&self, line: InventoryLine) -> Result<Opened, PlaneError> {
        let InventoryLine::Begin { upload, part, base } = line else {
            return Err(out_of_order("the first line is not `begin`"));
        };
        let (connector, integration) = (self.connector.clone(), self.integration);
        self.plane
            .read(move |store| store.open_part(&connector, integration, (upload, part, base)))
            .await
    }

    async fn stage(&mut self) -> Result<(), PlaneError> {
        let batch = std::mem::take(&mut self.lines.batch);
        match self.upload.clone() {
            Some(upload) if !batch.is_empty() => {
                self.plane
                    .read(move |store| store.stage(&upload, &batch))
                    .await
            }
            _ => Ok(()),
        }
    }
}

impl Lines {
    fn parse(&self, line: &[u8]) -> Result<InventoryLine, PlaneError> {
        let number = self.count + 1;
        serde_json::from_slice(line).map_err(|error| {
            PlaneError::invalid(
                "invalid_line",
                format!("line {number} of the part cannot be understood: {error}"),
            )
        })
    }

    fn take(&mut self, line: InventoryLine, upload: &Upload) -> Result<(), PlaneError> {
        let before = upload.lines;
        match line {
            _ if self.end.is_some() => Err(out_of_order("a line follows the end of the part")),
            InventoryLine::Begin { .. } => Err(out_of_order("`begin` comes twice")),
            InventoryLine::More { count } => self.finish(PartEnd::More, count, self.count),
            InventoryLine::Commit { count } => {
                self.finish(PartEnd::Commit, count, before + self.count)
            }
            InventoryLine::Delete { .. } | InventoryLine::Replace { .. } if !upload.based => {
                Err(out_of_order("`delete` and `replace` need a `base`"))
            }
            _ if before + self.count >= MAX_LINES => Err(PlaneError::refuse(
                413,
                "too_many_lines",
                format!("an upload has at most {MAX_LINES} lines"),
            )),
            InventoryLine::Upsert { .. }
            | InventoryLine::Access { .. }
            | InventoryLine::Delete { .. }
            | InventoryLine::Unseen { .. }
            | InventoryLine::Replace { .. } => {
                self.count += 1;
                self.batch.push(line);
                Ok(())
            }
        }
    }

    fn finish(&mut self, end: PartEnd, said: u64, came: u64) -> Result<(), PlaneError> {
        if said != came {
            return Err(PlaneError::invalid(
                "wrong_count",
                format!("the last line counts {said} lines, {came} came"),
            ));
        }
        self.end = Some(end);
        Ok(())
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

fn is_broken(error: &PlaneError) -> bool {
    matches!(error, PlaneError::Refused(refusal) if refusal.status == 400)
}

fn broken(problem: &str) -> PlaneError {
    PlaneError::refuse(400, "broken_upload", problem)
}

fn out_of_order(problem: &str) -> PlaneError {
    PlaneError::invalid("invalid_upload", problem)
}
