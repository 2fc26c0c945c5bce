//! Owns the contract of everything that can list what exists. Never knows a particular system.

use super::SourceError;
use crate::control::InventoryItem;
use crate::domain::{IntegrationId, InventoryRecord};
use async_trait::async_trait;
use std::time::Duration;
use tokio::sync::mpsc;

/// How many records may wait between a source and the upload: enough to keep both busy.
pub const CHANNEL_RECORDS: usize = 256;
/// Longest wait for a place in the channel.
const SEND_LIMIT: Duration = Duration::from_secs(120);

/// Something that can list what exists in one integration.
///
/// # Contract
/// - A walk goes over everything, parents before what is in them, and sends each thing once.
/// - Only a walk that went over everything sends [`InventoryItem::Complete`], so that a part is never taken for the whole.
/// - Memory does not grow with the number of records.
/// - Reads only.
#[async_trait]
pub trait Source: Send + Sync {
    /// Returns the integration this source lists.
    fn integration(&self) -> IntegrationId;

    /// Walks over everything and returns how many records were sent.
    async fn walk(&self, records: RecordSender) -> Result<u64, SourceError>;
}

/// The end of the channel that records go into.
#[derive(Debug)]
pub struct RecordSender {
    channel: mpsc::Sender<InventoryItem>,
    sent: u64,
}

impl RecordSender {
    /// Wraps the sending half of the channel whose other half is an [`crate::control::InventoryStream`].
    #[must_use]
    pub fn new(channel: mpsc::Sender<InventoryItem>) -> Self {
        Self { channel, sent: 0 }
    }

    /// Sends one record, waiting for a place at most two minutes.
    ///
    /// # Errors
    /// When nobody takes records any more.
    pub async fn send(&mut self, record: InventoryRecord) -> Result<(), SourceError> {
        self.channel
            .send_timeout(InventoryItem::Record(Box::new(record)), SEND_LIMIT)
            .await
            .map_err(|_| SourceError::Stopped)?;
        self.sent += 1;
        Ok(())
    }

    /// Closes the channel in the way that fits how the walk ended.
    ///
    /// # Errors
    /// The walk's own.
    pub async fn finish(self, walk: Result<(), SourceError>) -> Result<u64, SourceError> {
        walk?;
        self.channel
            .send_timeout(InventoryItem::Complete, SEND_LIMIT)
            .await
            .map_err(|_| SourceError::Stopped)?;
        Ok(self.sent)
    }
}
