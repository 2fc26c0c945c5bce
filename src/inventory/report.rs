//! Owns one report of an inventory from the walk to the commit: what changed since the last one, or everything. Never reports a part as the
//! whole.

use super::compare::{CompareError, Compared, Comparison};
use super::deliver::{Delivered, Delivery};
use super::digests::{DigestFolder, Kept};
use super::{CHANNEL_ITEMS, RecordSender, Source, SourceError};
use crate::control::{ControlError, ControlPlane};
use crate::domain::{ErrorClass, IntegrationId};
use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::mpsc;

/// Name of the folder of digests within the state folder.
const FOLDER: &str = "inventory";

/// Reports inventories, one at a time per integration.
pub struct Reporter {
    control: Arc<dyn ControlPlane>,
    digests: DigestFolder,
    turns: Mutex<HashMap<IntegrationId, Arc<tokio::sync::Mutex<()>>>>,
}

/// A report that was committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reported {
    /// Records the walk came by.
    pub records: u64,
    /// Records that were sent, as new or changed.
    pub changed: u64,
    /// Records reported as gone; 0 after a full upload, where the control plane finds out.
    pub gone: u64,
    /// Compressed bytes that were sent.
    pub bytes: u64,
    /// Parts that were sent.
    pub parts: u32,
    /// Whether everything was sent.
    pub full: bool,
}

/// A report that changed nothing.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The walk failed.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The upload failed.
    #[error(transparent)]
    Upload(#[from] ControlError),
    /// The thread that compares died.
    #[error("the comparison with the last inventory broke off")]
    Broken,
}

impl ReportError {
    /// Returns the class, which alone decides what happens next.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Source(error) => error.class(),
            Self::Upload(error) => error.class(),
            Self::Broken => ErrorClass::Bug,
        }
    }
}

/// Why an attempt with a base is followed by a full upload.
enum Attempt {
    /// The control plane does not have the base.
    NoBase,
    /// The digests cannot be used any further.
    NoDigests(super::digests::DigestError),
    Failed(ReportError),
}

impl<E: Into<ReportError>> From<E> for Attempt {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

impl Reporter {
    /// Takes where to report to, and the state folder.
    #[must_use]
    pub fn new(control: Arc<dyn ControlPlane>, state_folder: &Path) -> Self {
        Self {
            control,
            digests: DigestFolder::new(state_folder.join(FOLDER)),
            turns: Mutex::default(),
        }
    }

    /// Forgets what was reported of an integration that is gone.
    pub fn forget(&self, integration: IntegrationId) {
        self.digests.forget(integration);
        self.turns
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&integration);
    }

    /// Walks a source and reports what changed since the last report; everything, where the control plane does not have that one.
    ///
    /// # Errors
    /// When the walk or the upload failed; nothing changed at the control plane then.
    pub async fn report(&self, source: &dyn Source) -> Result<Reported, ReportError> {
        let integration = source.integration();
        let turn = Arc::clone(
            self.turns
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .entry(integration)
                .or_default(),
        );
        let _turn = turn.lock().await;
        if let Some(kept) = self.kept(integration).await {
            match self.attempt(source, Some(kept)).await {
                Ok(reported) => return Ok(reported),
                Err(Attempt::Failed(error)) => return Err(error),
                Err(Attempt::NoBase) => tracing::info!(
                    integration.id = %integration,
                    "the control plane does not have the inventory we know of, so everything is sent"
                ),
                Err(Attempt::NoDigests(error)) => unusable(integration, &error),
            }
        }
        match self.attempt(source, None).await {
            Ok(reported) => Ok(reported),
            Err(Attempt::Failed(error)) => Err(error),
            Err(Attempt::NoBase | Attempt::NoDigests(_)) => Err(ReportError::Broken),
        }
    }

    /// Opens what was kept; damage costs a full upload and nothing else.
    async fn kept(&self, integration: IntegrationId) -> Option<Kept> {
        let digests = self.digests.clone();
        let opened = tokio::task::spawn_blocking(move || digests.open(integration)).await;
        match opened {
            Ok(Ok(kept)) => kept,
            Ok(Err(error)) => {
                unusable(integration, &error);
                None
            }
            Err(_) => None,
        }
    }

    async fn attempt(&self, source: &dyn Source, kept: Option<Kept>) -> Result<Reported, Attempt> {
        let integration = source.integration();
        let full = kept.is_none();
        let refused = |error: ControlError| {
            if error.class() == ErrorClass::Conflict && !full {
                Attempt::NoBase
            } else {
                error.into()
            }
        };
        let base = kept.as_ref().map(Kept::base);
        let begun = Delivery::begin(&*self.control, integration, base).await;
        let mut delivery = begun.map_err(refused)?;
        let compared = self.walk(source, kept, &mut delivery).await;
        let compared = compared.map_err(|attempt| match attempt {
            Attempt::Failed(ReportError::Upload(error)) => refused(error),
            Attempt::Failed(_) | Attempt::NoBase | Attempt::NoDigests(_) => attempt,
        })?;
        let delivered = delivery.commit().await.map_err(refused)?;
        let counts = compared.counts;
        self.keep(integration, compared, delivered).await;
        Ok(Reported {
            records: counts.records,
            changed: counts.changed,
            gone: counts.gone,
            bytes: delivered.bytes,
            parts: delivered.parts,
            full,
        })
    }

    /// Walks, compares and sends at the same time.
    async fn walk(
        &self,
        source: &dyn Source,
        kept: Option<Kept>,
        delivery: &mut Delivery<'_>,
    ) -> Result<Compared, Attempt> {
        let (found, items) = mpsc::channel(CHANNEL_ITEMS);
        let (changed, changes) = mpsc::channel(CHANNEL_ITEMS);
        let comparison = Comparison::new(self.digests.clone(), source.integration(), kept, changed);
        let comparing = tokio::task::spawn_blocking(move || comparison.run(items));
        let work = async { tokio::join!(source.walk(RecordSender::new(found)), comparing) };
        let sending = delivery.run(changes);
        tokio::pin!(work, sending);
        let (walked, compared) = tokio::select! {
            sent = &mut sending => {
                // A walk nobody takes the fruits of is not gone on with.
                sent.map_err(ReportError::Upload)?;
                work.await
            }
            done = &mut work => {
                let compared_well = matches!(done, (Ok(_), Ok(Ok(_))));
                if compared_well {
                    sending.await.map_err(ReportError::Upload)?;
                }
                done
            }
        };
        match (walked, compared) {
            (Ok(_), Ok(Ok(compared))) => Ok(compared),
            (_, Ok(Err(CompareError::Digests(error)))) => Err(Attempt::NoDigests(error)),
            (Err(error), _) => Err(error.into()),
            (Ok(_), Ok(Err(CompareError::Stopped)) | Err(_)) => Err(ReportError::Broken.into()),
        }
    }

    async fn keep(&self, integration: IntegrationId, compared: Compared, delivered: Delivered) {
        let digests = self.digests.clone();
        let keeping = move || {
            let kept = compared.keep(delivered.base);
            if kept.is_err() {
                // It names a base that is gone.
                digests.forget(integration);
            }
            kept
        };
        if let Ok(Err(error)) = tokio::task::spawn_blocking(keeping).await {
            unusable(integration, &error);
        }
    }
}

fn unusable(integration: IntegrationId, error: &(dyn std::error::Error + 'static)) {
    tracing::warn!(
        integration.id = %integration,
        error,
        hint = "nothing is lost; if it comes again, look at the disk of the state folder",
        "the digests of an inventory cannot be used, so everything is sent"
    );
}
