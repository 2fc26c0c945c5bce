//! Owns getting changes to the control plane: packed into parts, each sent until it has arrived. Never knows where changes come from.

use crate::control::{
    ControlError, ControlPlane, InventoryBase, InventoryChange, InventoryParcel, InventoryPart,
    InventoryReceipt,
};
use crate::domain::{ErrorClass, IntegrationId};
use crate::retry::{Jitter, Schedule};
use std::time::Duration;
use tokio::sync::mpsc::Receiver;
use tokio::time::Instant;
use uuid::Uuid;

/// Longest silence towards the control plane, which forgets uploads that stand still for 10 minutes.
const LONGEST_SILENCE: Duration = Duration::from_secs(60);

/// An upload under way.
pub(super) struct Delivery<'a> {
    control: &'a dyn ControlPlane,
    integration: IntegrationId,
    parcel: InventoryParcel,
    bytes: u64,
    parts: u32,
}

/// An upload that was committed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Delivered {
    pub(super) base: InventoryBase,
    pub(super) bytes: u64,
    pub(super) parts: u32,
}

impl<'a> Delivery<'a> {
    /// Begins an upload: the control plane says at once whether it knows the base, before anything is read.
    pub(super) async fn begin(
        control: &'a dyn ControlPlane,
        integration: IntegrationId,
        base: Option<InventoryBase>,
    ) -> Result<Self, ControlError> {
        let parcel =
            InventoryParcel::new(Uuid::now_v7(), base).map_err(|_| ControlError::Aborted)?;
        let mut delivery = Self {
            control,
            integration,
            parcel,
            bytes: 0,
            parts: 0,
        };
        delivery.send_part().await?;
        Ok(delivery)
    }

    /// Sends changes as they come, and commits once the walk was complete.
    pub(super) async fn run(
        &mut self,
        mut changes: Receiver<InventoryChange>,
    ) -> Result<(), ControlError> {
        let mut due = Instant::now() + LONGEST_SILENCE;
        loop {
            let ready = match tokio::time::timeout_at(due, changes.recv()).await {
                Ok(Some(change)) => {
                    self.parcel
                        .add(&change)
                        .map_err(|_| ControlError::Aborted)?;
                    self.parcel.is_full()
                }
                Ok(None) => return Ok(()),
                // Keeps the upload alive while little or nothing changes.
                Err(_) => true,
            };
            if ready {
                self.send_part().await?;
                due = Instant::now() + LONGEST_SILENCE;
            }
        }
    }

    /// Commits.
    pub(super) async fn commit(mut self) -> Result<Delivered, ControlError> {
        let part = self.parcel.commit().map_err(|_| ControlError::Aborted)?;
        self.bytes += part.bytes();
        self.parts += 1;
        let receipt = send(self.control, self.integration, &part).await?;
        let base = receipt.committed.ok_or(ControlError::Aborted)?;
        Ok(Delivered {
            base,
            bytes: self.bytes,
            parts: self.parts,
        })
    }

    async fn send_part(&mut self) -> Result<(), ControlError> {
        let part = self.parcel.close().map_err(|_| ControlError::Aborted)?;
        self.bytes += part.bytes();
        self.parts += 1;
        send(self.control, self.integration, &part).await.map(drop)
    }
}

/// Sends one part as often as it makes sense within a lease; the control plane takes it once.
async fn send(
    control: &dyn ControlPlane,
    integration: IntegrationId,
    part: &InventoryPart,
) -> Result<InventoryReceipt, ControlError> {
    let mut schedule: Option<(ErrorClass, Schedule)> = None;
    loop {
        let error = match control.send_inventory(integration, part).await {
            Ok(receipt) => return Ok(receipt),
            // The base or the upload is gone: the same again would be refused again.
            Err(error) if error.class() == ErrorClass::Conflict => return Err(error),
            Err(error) => error,
        };
        let class = error.class();
        let waits = match &mut schedule {
            Some((same, waits)) if *same == class => waits,
            other => {
                &mut other
                    .insert((class, Schedule::for_class(class, Jitter::Random)))
                    .1
            }
        };
        let Some(wait) = waits.next_wait(error.retry_after()) else {
            return Err(error);
        };
        tracing::debug!(
            integration.id = %integration,
            part = part.number,
            error = &error as &dyn std::error::Error,
            "a part of an inventory did not arrive and is sent again"
        );
        tokio::time::sleep(wait).await;
    }
}
