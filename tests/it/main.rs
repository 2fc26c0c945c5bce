//! Behaviour of the whole product.
//!
//! Every module is marked as test code, so that the lints for tests hold in the support code too.

#[cfg(test)]
mod config_errors;
#[cfg(test)]
mod pg_connect;
#[cfg(test)]
mod pg_session;
#[cfg(test)]
mod support;
#[cfg(test)]
mod tidy;
