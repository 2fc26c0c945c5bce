//! Connecting to a server: what works, and what each kind of trouble looks like.

use crate::support::cluster::on_every_server;
use crate::support::road::set_up_admin_road;
use apono_connector::pg::Session;

on_every_server! {
    async fn the_admin_road_lets_the_connector_make_roles(cluster: &Cluster) {
        let road = set_up_admin_road(cluster).await;
        let session = Session::connect(&road.connector).await.unwrap();
        assert_eq!(session.server().database, road.database);
        let outcome = session
            .batch("make a role", &format!("SET ROLE {}; CREATE ROLE {}_made; SELECT current_user", road.admin, road.admin))
            .await
            .unwrap();
        assert_eq!(outcome.text(), Some(road.admin.as_str()));
        assert_eq!(session.current_user().await.unwrap(), road.admin);
        assert!(session.system_identifier().await.unwrap().is_some());
        assert!(!session.is_closed());
        let owned = session.batch("become", &format!("GRANT CONNECT ON DATABASE {} TO {}_made", road.database, road.admin)).await.unwrap();
        assert!(owned.warnings.is_empty(), "{:?} {}", owned.warnings, road.owner);
        let person = cluster.psql(&road.connector.user, road.connector.password.expose(), &road.database, "SELECT 1");
        assert!(person.ok, "{}", person.err);
        assert_eq!(person.out, "1");
        assert!(cluster.log().contains("_made"));
    }
}
