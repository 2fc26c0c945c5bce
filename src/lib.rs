//! apono-connector: an on-prem agent that gives people just-in-time access and takes it away again.
//!
//! The map, in suggested reading order; `ARCHITECTURE.md` is the same map in prose.

pub mod domain;

pub mod address;
pub mod clock;
pub mod cut;
pub mod seal;
pub mod secret;

pub mod policy;

pub mod ledger;

pub mod aws;
pub mod pg;
pub mod secrets;
pub mod targets;

pub mod control;

pub mod executor;
pub mod inventory;

pub mod agent;
pub mod cli;
pub mod operator;

pub mod config;
pub mod lifecycle;
pub mod retry;
pub mod telemetry;

#[cfg(feature = "reference-plane")]
pub mod reference_plane;
