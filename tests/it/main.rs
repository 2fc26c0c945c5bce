//! Behaviour of the whole product.

// Marked as test code, so that the lints for tests hold in the support code too.
#[cfg(test)]
mod config_errors;
#[cfg(test)]
mod ledger_open;
#[cfg(test)]
mod tidy;
