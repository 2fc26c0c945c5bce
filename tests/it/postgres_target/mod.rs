//! Behaviour of the PostgreSQL target on real servers.

mod after;
mod close_all;
mod connections;
mod failover;
mod hostile;
mod leftovers;
mod levels;
mod lifecycle;
mod planted;
mod pressure;
mod primary_lost;
mod rds;
mod replicas;
mod roads;
mod together;
mod world;
