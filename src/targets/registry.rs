//! Owns the choice of a target for an integration. Never opens a connection.

use super::{Target, TargetError};
use crate::domain::{ErrorClass, Integration, IntegrationId, SettingsDigest, shown};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

/// Makes targets of one kind.
pub trait TargetFactory: Send + Sync {
    /// Checks the settings and makes a target; connects nowhere.
    ///
    /// # Errors
    /// When a setting is missing or cannot be understood.
    fn make(&self, integration: &Integration) -> Result<Arc<dyn Target>, TargetError>;

    /// Tells whether changed settings lead to the same system as before, so that open grants find their end there.
    fn is_same_system(&self, known: &Integration, ordered: &Integration) -> bool {
        known.settings == ordered.settings
    }
}

/// A target, and the settings it was made from.
type Made = (SettingsDigest, Arc<dyn Target>);

/// Targets by kind, each made once per integration and settings.
#[derive(Default)]
pub struct Registry {
    factories: BTreeMap<&'static str, Box<dyn TargetFactory>>,
    made: Mutex<HashMap<IntegrationId, Made>>,
}

impl Registry {
    /// Adds a kind.
    #[must_use]
    pub fn with(mut self, kind: &'static str, factory: Box<dyn TargetFactory>) -> Self {
        self.factories.insert(kind, factory);
        self
    }

    /// Returns the target of an integration, made from exactly these settings.
    ///
    /// # Errors
    /// When the kind is unknown or the settings cannot be understood.
    pub fn target(&self, integration: &Integration) -> Result<Arc<dyn Target>, TargetError> {
        let digest = integration.digest();
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, target)) = made.get(&integration.id)
            && *known == digest
        {
            return Ok(Arc::clone(target));
        }
        let factory = self
            .factories
            .get(integration.kind.as_str())
            .ok_or_else(|| {
                let known: Vec<_> = self
                    .factories
                    .keys()
                    .map(|kind| format!("`{kind}`"))
                    .collect();
                TargetError::new(
                    ErrorClass::NeedsOperator,
                    "unknown_integration_type",
                    format!(
                        "integration `{}` has type `{}`, this version knows {}",
                        integration.id,
                        shown(&integration.kind),
                        known.join(", ")
                    ),
                )
                .hint("correct the integration's type, or update the connector")
            })?;
        let target = factory.make(integration)?;
        made.insert(integration.id, (digest, Arc::clone(&target)));
        Ok(target)
    }

    /// Tells whether changed settings lead to the same system as before; a new secret reference or name does.
    #[must_use]
    pub fn is_same_system(&self, known: &Integration, ordered: &Integration) -> bool {
        let factory = self.factories.get(known.kind.as_str());
        known.kind == ordered.kind
            && factory.map_or(known.settings == ordered.settings, |factory| {
                factory.is_same_system(known, ordered)
            })
    }

    /// Forgets the target of an integration that is gone.
    pub fn forget(&self, integration: IntegrationId) {
        self.made
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&integration);
    }
}
