//! The whole product as processes, on real servers: a person asks, logs in, works, and is out when it is over.

use crate::support::cluster::on_every_server;
use crate::support::world::World;

on_every_server! {
    async fn a_person_gets_access_uses_it_and_loses_it(cluster: &Cluster) {
        let world = World::start(cluster).await;
        world.sql_as_owner("CREATE TABLE t(a int); INSERT INTO t VALUES (42)");
        let alice = world.grant("alice@example.com", "READ_ONLY", "1h").unwrap();
        let read = world.psql(&alice, "SELECT a FROM t");
        assert_eq!(read.out, "42", "{}\n{}", read.err, world.logs());
        assert!(!world.psql(&alice, "INSERT INTO t VALUES (1)").ok);
        world.command(&["revoke", &alice.grant, "--wait", "20s"]).unwrap();
        let refused = world.psql(&alice, "SELECT 1");
        assert!(!refused.ok);
        assert_eq!(world.memberships(&alice.user), "0");
    }
}
