//! Two instances of one connector on one control plane, one of which dies again and again.

use crate::support::cluster::{Cluster, Version};
use crate::support::instances::{self, Outcome};
use crate::support::world::World;

/// `make bench` plays the same with 500.
const GRANTS: usize = 80;

#[tokio::test]
async fn instances_that_die_at_odd_moments_leave_nothing_open_and_nothing_twice() {
    let world = World::prepare(Cluster::shared(Version::Pg18), &[], &instances::PLANE).await;
    let Outcome {
        started,
        given_up,
        kills,
        leaked,
        unended,
        doubled,
    } = instances::play(&world, GRANTS).await;
    assert!(kills > 0);
    assert_eq!((leaked, unended, doubled), (0, 0, 0), "{}", world.logs());
    assert!(
        started > given_up,
        "{given_up} starts were given up over {kills} kills"
    );
}
