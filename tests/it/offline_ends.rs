//! Fifty grants that expire together while the control plane is gone.

use crate::support::cluster::on_every_server;
use crate::support::offline;
use crate::support::world::World;
use std::time::Duration;

const GRANTS: usize = 50;
/// From the first order to the expiry: room for a debug build beside other tests.
const LEAD: Duration = Duration::from_secs(30);
/// The promise is 1 s, which `make bench` measures on a release build. This catches ends that wait for something else.
const BOUND: Duration = Duration::from_secs(15);

on_every_server! {
    async fn fifty_grants_end_together_while_the_control_plane_is_gone(cluster: &Cluster) {
        let mut world = World::start(cluster).await;
        let ends = offline::watch(&mut world, GRANTS, LEAD).await;
        println!("measured: median {:?}, worst {:?}", ends.median(), ends.worst());
        assert_eq!(ends.after_expiry.len(), GRANTS);
        assert_eq!(ends.early, 0, "sessions were gone before their time");
        assert_eq!(ends.let_in, 0, "somebody was let in after the end");
        assert!(ends.worst() < BOUND, "{:?}\n{}", ends.worst(), world.logs());
    }
}
