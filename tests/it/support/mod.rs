//! Owns what tests share.

pub(crate) mod account;
pub(crate) mod admin;
pub(crate) mod aws;
pub(crate) mod certificate;
pub(crate) mod cluster;
pub(crate) mod disk;
pub(crate) mod fake_server;
pub(crate) mod fleet;
pub(crate) mod front;
pub(crate) mod gate;
pub(crate) mod instances;
pub(crate) mod kubernetes;
pub(crate) mod ldap;
pub(crate) mod logs;
pub(crate) mod offline;
pub(crate) mod places;
pub(crate) mod pooler;
pub(crate) mod ports;
pub(crate) mod realm;
pub(crate) mod relay;
pub(crate) mod replica;
pub(crate) mod rig;
pub(crate) mod road;
pub(crate) mod strict_http;
pub(crate) mod vault;
pub(crate) mod world;
