//! Behaviour of the PostgreSQL target on real servers.

mod after;
mod connections;
mod hostile;
mod levels;
mod lifecycle;
mod world;
