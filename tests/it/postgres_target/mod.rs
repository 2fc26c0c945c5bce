//! Behaviour of the PostgreSQL target on real servers.

mod hostile;
mod lifecycle;
mod world;
