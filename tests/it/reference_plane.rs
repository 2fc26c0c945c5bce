//! The reference control plane, over real HTTP.
mod calls;
mod command;
mod delivery;
mod description;
mod discovered;
mod durability;
mod grants;
mod harness;
mod inventory;
mod lists;
mod misbehaviour;
mod results;
