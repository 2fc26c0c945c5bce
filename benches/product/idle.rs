//! Measures what the connector costs while nothing is to be done: with an integration and a few live grants, and with none.

use crate::support::admin::Admin;
use crate::support::cluster::Version;
use crate::support::world::World;
use crate::{figure, ground, machine};
use std::time::Duration;

const GRANTS: u32 = 3;
/// From the last order to the measure.
const SETTLES: Duration = Duration::from_secs(5);
const LASTS: Duration = Duration::from_secs(60);

pub(crate) async fn measure() {
    let cluster = ground::server(Version::Pg15);
    // Both in the same minute: each is a process of its own.
    let (busy, free) = (
        ground::product(cluster).await,
        ground::product(cluster).await,
    );
    let admin = Admin::of(&busy, "public");
    for n in 0..GRANTS {
        admin
            .start(&format!("p{n}@example.com"), ground::in_an_hour())
            .await;
    }
    tokio::time::sleep(SETTLES).await;
    let pids = [&busy, &free].map(pid);
    let before = pids.map(machine::cpu);
    tokio::time::sleep(LASTS).await;
    let what = [
        format!("one integration, {GRANTS} live grants, over one minute"),
        "one integration, no grant, over one minute".to_owned(),
    ];
    for ((pid, before), what) in pids.into_iter().zip(before).zip(what) {
        let (now, most) = machine::memory(pid);
        let share = 100.0 * (machine::cpu(pid) - before) / LASTS.as_secs_f64();
        figure::alone(
            "idle-memory",
            &format!(
                "{} MiB (at its most {} MiB), {what}",
                figure::short(now),
                figure::short(most)
            ),
        );
        figure::alone("idle-cpu", &format!("{share:.2} % of a core, {what}"));
    }
}

fn pid(world: &World) -> u32 {
    world.connector.as_ref().unwrap().pid()
}
