//! Measures how long after their expiry fifty grants are over while the control plane is gone.

use crate::support::cluster::Version;
use crate::support::offline;
use crate::{figure, ground};
use std::time::Duration;

const NAME: &str = "offline-ends-50";
const GRANTS: usize = 50;
/// From the first order to the expiry.
const LEAD: Duration = Duration::from_secs(15);

pub(crate) async fn measure() {
    for version in [Version::Pg15, Version::Pg18] {
        let cluster = ground::server(version);
        let mut world = ground::product(cluster).await;
        let ends = offline::watch(&mut world, GRANTS, LEAD).await;
        assert_eq!((ends.early, ends.let_in), (0, 0));
        figure::alone(
            NAME,
            &format!(
                "median {:.0} ms worst {:.0} ms, from expiry to login refused and session gone, control plane stopped",
                figure::ms(ends.median()),
                figure::ms(ends.worst()),
            ),
        );
        ground::state(NAME, cluster).await;
    }
}
