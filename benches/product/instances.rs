//! Measures nothing but faults: 500 grants over two instances of one connector, of which one after the other is killed.

use crate::support::cluster::Version;
use crate::support::instances::{self, PLANE};
use crate::support::world::World;
use crate::{figure, ground};

const NAME: &str = "two-instances-500-grants";
const GRANTS: usize = 500;

pub(crate) async fn measure() {
    let cluster = ground::server(Version::Pg15);
    let world = World::prepare(cluster, &[], &PLANE).await;
    let seen = instances::play(&world, GRANTS).await;
    figure::alone(
        NAME,
        &format!(
            "leaked {}, unended {}, double logins {}; {} started, {} given up over {} kills",
            seen.leaked, seen.unended, seen.doubled, seen.started, seen.given_up, seen.kills
        ),
    );
    assert_eq!((seen.leaked, seen.unended, seen.doubled), (0, 0, 0));
    ground::state(NAME, cluster).await;
}
