//! Behaviour of the whole product.

#[cfg(test)]
mod support;

#[cfg(test)]
mod pg_connect;
#[cfg(test)]
mod pg_session;
#[cfg(test)]
mod postgres_target;
