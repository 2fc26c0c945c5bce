//! Owns what tests share.

pub(crate) mod certificate;
pub(crate) mod cluster;
pub(crate) mod road;
