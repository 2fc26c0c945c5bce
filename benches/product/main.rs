//! Measures the whole product on private servers of this machine, beside plain SQL. Talks to loopback only, and stops by itself.
//!
//! Arguments choose measures by the start of their names; without any, all are taken.

// Marked as test code, so that the lints for tests hold; cargo sets it for every bench.
#[cfg(test)]
#[expect(
    dead_code,
    reason = "shared with the tests of the target, which use all of it"
)]
#[path = "../../tests/it/postgres_target/world.rs"]
mod company;
#[cfg(test)]
mod direct;
#[cfg(test)]
mod figure;
#[cfg(test)]
mod ground;
#[cfg(test)]
mod idle;
#[cfg(test)]
mod instances;
#[cfg(test)]
mod inventory;
#[cfg(test)]
mod lanes;
#[cfg(test)]
mod latency;
#[cfg(test)]
mod machine;
#[cfg(test)]
mod measures;
#[cfg(test)]
mod offline;
#[cfg(test)]
mod organization;
#[cfg(test)]
mod pace;
#[cfg(test)]
mod reopen;
#[cfg(test)]
#[expect(
    dead_code,
    unused_imports,
    unused_macros,
    reason = "shared with the tests, which use all of it"
)]
#[path = "../../tests/it/support/mod.rs"]
mod support;

fn main() {
    #[cfg(test)]
    measures::run();
}
