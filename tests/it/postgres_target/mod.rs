//! Behaviour of the PostgreSQL target on real servers.

mod after;
mod hostile;
mod levels;
mod lifecycle;
mod together;
mod world;
