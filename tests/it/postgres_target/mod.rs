//! Behaviour of the PostgreSQL target on real servers.

mod after;
mod close_all;
mod connections;
mod failover;
mod hostile;
mod levels;
mod lifecycle;
mod primary_lost;
mod replicas;
mod world;
