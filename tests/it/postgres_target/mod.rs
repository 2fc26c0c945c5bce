//! Behaviour of the PostgreSQL target on real servers.

mod after;
mod connections;
mod hostile;
mod leftovers;
mod levels;
mod lifecycle;
mod planted;
mod roads;
mod together;
mod world;
