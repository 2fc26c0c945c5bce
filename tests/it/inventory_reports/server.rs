//! Reports of a real server: what changes travels alone, and what could not be looked at is not taken to be gone.

use super::Stage;
use crate::support::cluster::{Cluster, Version};
use crate::support::road::{Road, set_up_admin_road};
use apono_connector::domain::ErrorClass;
use apono_connector::inventory::{PostgresCatalog, Reported};
use apono_connector::pg::Session;
use serde_json::{Value, json};
use std::time::Duration;

/// A server of its own, one database on it that is reported, and what was sent so far.
struct Story<'a> {
    cluster: &'a Cluster,
    stage: Stage,
    road: Road,
    catalog: PostgresCatalog,
    superuser: Session,
    seen: usize,
}

impl<'a> Story<'a> {
    async fn begin(cluster: &'a Cluster) -> Self {
        let stage = Stage::set().await;
        let road = set_up_admin_road(cluster).await;
        let admin = Some(road.admin.clone());
        Self {
            cluster,
            catalog: PostgresCatalog::new(stage.integration, road.connector.clone(), admin),
            superuser: cluster.superuser(&road.database).await,
            stage,
            road,
            seen: 0,
        }
    }

    async fn run(&self, sql: &str) {
        self.superuser
            .batch("change what there is", sql)
            .await
            .unwrap();
    }

    async fn run_as_owner(&self, sql: &str) {
        let owner = &self.road.owner;
        self.run(&format!("SET ROLE {owner}; {sql}; RESET ROLE"))
            .await;
    }

    /// Reports and returns what was sent about the database's own things, shortened.
    async fn report(&mut self) -> (Reported, Vec<String>) {
        let reported = self.stage.reporter.report(&self.catalog).await.unwrap();
        let lines = self.stage.sent(&mut self.seen);
        (reported, about(&lines, &self.road.database))
    }

    async fn shows(&self, table: &str) -> bool {
        self.stage.names().await.contains(&table.to_owned())
    }

    async fn standing(&self, holder: &str, last: &str) -> Value {
        let page = self.stage.admin("integrations/orders/access", None).await;
        let found = page["access"].as_array().unwrap().iter().find(|one| {
            one["holder"] == *holder && one["path"].as_array().unwrap().last() == Some(&json!(last))
        });
        found.unwrap_or_else(|| panic!("{holder} {last}: {page}"))["privileges"].clone()
    }

    async fn changes_travel_alone(&mut self) {
        self.run("CREATE ROLE reader; CREATE ROLE member; GRANT reader TO member")
            .await;
        let make = "CREATE SCHEMA s; CREATE TABLE s.a (); CREATE TABLE s.b (); CREATE TABLE s.c (); GRANT SELECT, INSERT ON s.b TO reader";
        self.run_as_owner(make).await;
        let (first, lines) = self.report().await;
        assert!(
            first.full && lines.contains(&"upsert s/a".to_owned()),
            "{lines:?}"
        );
        assert!(lines.contains(&"access s/b".to_owned()), "{lines:?}");
        let (second, lines) = self.report().await;
        assert_eq!((second.full, second.changed, lines), (false, 0, Vec::new()));

        self.run_as_owner("COMMENT ON TABLE s.a IS 'orders env=prod'")
            .await;
        assert_eq!(self.report().await.1, ["upsert s/a"]);
        self.run("ALTER TABLE s.c OWNER TO postgres").await;
        assert_eq!(self.report().await.1, ["upsert s/c"]);
        self.run_as_owner("GRANT UPDATE ON s.b TO reader").await;
        assert_eq!(self.report().await.1, ["access s/b"]);

        let page = self
            .stage
            .admin("integrations/orders/inventory", None)
            .await;
        let tagged = page["resources"]
            .as_array()
            .unwrap()
            .iter()
            .find(|one| one["name"] == "a");
        let tagged = tagged.unwrap();
        assert_eq!(
            (&tagged["tags"]["env"], &tagged["owner"]),
            (&json!("prod"), &json!(self.road.owner))
        );
        assert_eq!(
            self.standing("reader", "b").await,
            json!(["INSERT", "SELECT", "UPDATE"])
        );
        assert_eq!(self.standing("member", "reader").await, json!(["MEMBER"]));
    }

    async fn only_a_whole_look_finds_out_what_is_gone(&mut self) {
        self.run_as_owner("DROP TABLE s.b").await;
        let db = self.road.database.clone();
        let elsewhere = self.cluster.superuser("postgres").await;
        let shut = |allowed: bool| format!("ALTER DATABASE {db} ALLOW_CONNECTIONS {allowed}");
        elsewhere.batch("shut it", &shut(false)).await.unwrap();
        let mut outside = self.road.connector.clone();
        "postgres".clone_into(&mut outside.database);
        let outside = PostgresCatalog::new(
            self.stage.integration,
            outside,
            Some(self.road.admin.clone()),
        );
        let partly = self.stage.reporter.report(&outside).await.unwrap();
        assert!(!partly.full && self.shows("b").await, "{partly:?}");
        let lines = self.stage.sent(&mut self.seen);
        let unseen = json!({"op": "unseen", "under": [db]});
        assert!(lines.contains(&unseen), "{lines:?}");
        elsewhere.batch("open it", &shut(true)).await.unwrap();
        self.run("REVOKE SELECT ON pg_catalog.pg_namespace FROM PUBLIC")
            .await;
        self.report().await;
        assert!(self.shows("b").await);
        self.run("GRANT SELECT ON pg_catalog.pg_namespace TO PUBLIC")
            .await;
        let (whole, _) = self.report().await;
        assert_eq!(
            (whole.full, whole.gone),
            (false, 2),
            "the table and the access to it"
        );
        assert!(!self.shows("b").await);
    }

    async fn a_server_that_dies_in_the_middle_changes_nothing(&mut self) {
        let mut narrow = self.road.connector.clone();
        "the-walker".clone_into(&mut narrow.application_name);
        let admin = Some(self.road.admin.clone());
        let narrow = PostgresCatalog::new(self.stage.integration, narrow, admin).in_pages_of(1);
        let before = self.stage.names().await;
        self.run("DROP TABLE s.c").await;
        let kill = async {
            let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'the-walker'";
            while self
                .superuser
                .query("end the walker", sql, &[])
                .await
                .unwrap()
                .is_empty()
            {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let (ended, ()) = tokio::join!(self.stage.reporter.report(&narrow), kill);
        assert_eq!(ended.unwrap_err().class(), ErrorClass::Transient);
        assert_eq!(self.stage.names().await, before);
        self.report().await;
        assert!(!self.shows("c").await);
    }
}

fn about(lines: &[Value], database: &str) -> Vec<String> {
    let of = |line: &Value| {
        let record = if line["op"] == "access" {
            &line["access"]
        } else {
            &line["resource"]
        };
        let path = record["path"].as_array().cloned().unwrap_or_default();
        (path.first() == Some(&json!(database))).then(|| {
            let path: Vec<_> = path[1..]
                .iter()
                .map(|name| name.as_str().unwrap())
                .collect();
            format!("{} {}", line["op"].as_str().unwrap(), path.join("/"))
        })
    };
    lines.iter().filter_map(of).collect()
}

async fn the_whole_story(version: Version) {
    let cluster = Cluster::private(version, "");
    let mut story = Story::begin(&cluster).await;
    story.changes_travel_alone().await;
    story.only_a_whole_look_finds_out_what_is_gone().await;
    story
        .a_server_that_dies_in_the_middle_changes_nothing()
        .await;
}

#[tokio::test]
async fn only_what_changed_on_a_server_is_sent_on_15() {
    the_whole_story(Version::Pg15).await;
}

#[tokio::test]
async fn only_what_changed_on_a_server_is_sent_on_18() {
    the_whole_story(Version::Pg18).await;
}
