//! Behaviour of the whole product.

// Marked as test code, so that the lints for tests hold in the support code too.
#[cfg(test)]
mod support;

#[cfg(test)]
mod aws_account;
#[cfg(test)]
mod aws_account_inventory;
#[cfg(test)]
mod aws_databases;
#[cfg(test)]
mod aws_emulators;
#[cfg(test)]
mod aws_front;
#[cfg(test)]
mod aws_inventory;
#[cfg(test)]
mod aws_operations;
#[cfg(test)]
mod aws_proxy;
#[cfg(test)]
mod aws_sessions;
#[cfg(test)]
mod bad_orders;
#[cfg(test)]
mod canaries;
#[cfg(test)]
mod config_errors;
#[cfg(test)]
mod control_channel;
#[cfg(test)]
mod cut_points;
#[cfg(test)]
mod daemon;
#[cfg(test)]
mod expiry_offline;
#[cfg(test)]
mod fighting_user;
#[cfg(test)]
mod grant_lifecycle;
#[cfg(test)]
mod identity_center;
#[cfg(test)]
mod install;
#[cfg(test)]
mod inventory_reports;
#[cfg(test)]
mod misbehaving_plane;
#[cfg(test)]
mod offline_ends;
#[cfg(test)]
mod pg_addresses;
#[cfg(test)]
mod pg_connect;
#[cfg(test)]
mod pg_pooler;
#[cfg(test)]
mod pg_session;
#[cfg(test)]
mod postgres_inventory;
#[cfg(test)]
mod postgres_ssl;
#[cfg(test)]
mod postgres_target;
#[cfg(test)]
mod pressure;
#[cfg(test)]
mod reference_plane;
#[cfg(test)]
mod rolling_update;
#[cfg(test)]
mod secret_stores;
#[cfg(test)]
mod shared_state;
#[cfg(test)]
mod shutdown;
#[cfg(test)]
mod tidy;
#[cfg(test)]
mod two_instances;
#[cfg(test)]
mod whole_story;
