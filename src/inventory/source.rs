//! Owns the contract of everything that can list what exists. Never knows a particular system.

use super::SourceError;
use crate::domain::{AccessRecord, IntegrationId, InventoryRecord};
use async_trait::async_trait;
use std::time::Duration;
use tokio::sync::mpsc;

/// How many items may wait between a source and the upload: enough to keep both busy.
pub const CHANNEL_ITEMS: usize = 256;
/// Longest wait for a place in the channel: 10 minutes, longer than a part of an upload is tried again.
const SEND_LIMIT: Duration = Duration::from_secs(600);

/// One thing a walk comes by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InventoryItem {
    /// Something that exists. One that comes again within a walk replaces the first.
    Resource(Box<InventoryRecord>),
    /// Access somebody has already.
    Access(Box<AccessRecord>),
    /// What is within this path could not be looked at, or only in part: nothing of it is taken to be gone.
    Unseen(Vec<String>),
    /// The walk is complete: what was not sent, and is not unseen, does not exist.
    Complete,
}

/// Something that can list what exists in one integration.
///
/// # Contract
/// - A walk goes over everything, parents before what is in them.
/// - Only a walk that went over everything sends [`InventoryItem::Complete`], so that a part is never taken for the whole.
/// - Memory does not grow with the number of records.
/// - Reads only.
#[async_trait]
pub trait Source: Send + Sync {
    /// Returns the integration this source lists.
    fn integration(&self) -> IntegrationId;

    /// Walks over everything and returns how many records were sent.
    async fn walk(&self, records: RecordSender) -> Result<u64, SourceError>;

    /// Returns what the last walk could not look at, each with the fix.
    fn troubles(&self) -> Vec<String> {
        Vec::new()
    }
}

/// The end of the channel that what is found goes into.
#[derive(Debug)]
pub struct RecordSender {
    channel: mpsc::Sender<InventoryItem>,
    sent: u64,
}

impl RecordSender {
    /// Wraps the sending half of the channel.
    #[must_use]
    pub fn new(channel: mpsc::Sender<InventoryItem>) -> Self {
        Self { channel, sent: 0 }
    }

    /// Sends one resource, waiting for a place at most ten minutes.
    ///
    /// # Errors
    /// When nobody takes records any more.
    pub async fn send(&mut self, record: InventoryRecord) -> Result<(), SourceError> {
        self.sent += 1;
        self.pass(InventoryItem::Resource(Box::new(record))).await
    }

    /// Sends one access that exists.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub async fn send_access(&mut self, record: AccessRecord) -> Result<(), SourceError> {
        self.sent += 1;
        self.pass(InventoryItem::Access(Box::new(record))).await
    }

    /// Says that what is within a path was not looked at to its end.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub async fn unseen(&mut self, under: Vec<String>) -> Result<(), SourceError> {
        self.pass(InventoryItem::Unseen(under)).await
    }

    /// Closes the channel in the way that fits how the walk ended.
    ///
    /// # Errors
    /// The walk's own.
    pub async fn finish(self, walk: Result<(), SourceError>) -> Result<u64, SourceError> {
        walk?;
        self.pass(InventoryItem::Complete).await?;
        Ok(self.sent)
    }

    async fn pass(&self, item: InventoryItem) -> Result<(), SourceError> {
        let sent = self.channel.send_timeout(item, SEND_LIMIT).await;
        sent.map_err(|_| SourceError::Stopped)
    }
}
