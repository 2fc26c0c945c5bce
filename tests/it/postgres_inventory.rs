//! The inventory of a server: what is listed, what is left out, what is listed as out of reach, and how a walk ends.

use crate::support::cluster::{fresh, on_every_server};
use crate::support::road::{Road, set_up_admin_road};
use apono_connector::domain::{
    ErrorClass, IntegrationId, InventoryRecord, Permission, RecordStatus, ResourceKind, ResourceRef,
};
use apono_connector::inventory::{
    InventoryItem, PostgresCatalog, RecordSender, Source, SourceError,
};
use apono_connector::pg::{ConnectOptions, Ident, Session};
use apono_connector::secret::Secret;
use std::collections::HashSet;
use tokio::sync::mpsc;

fn integration() -> IntegrationId {
    IntegrationId::parse("018f0000-0000-7000-8000-000000000001").unwrap()
}

fn catalog(road: &Road) -> PostgresCatalog {
    PostgresCatalog::new(
        integration(),
        road.connector.clone(),
        Some(road.admin.clone()),
    )
}

/// Walks through a narrow channel and returns everything that came out, and how the walk ended.
async fn walk(catalog: &PostgresCatalog) -> (Vec<InventoryItem>, Result<u64, SourceError>) {
    let (sender, mut receiver) = mpsc::channel::<InventoryItem>(1);
    let take = async {
        let mut items = Vec::new();
        while let Some(item) = receiver.recv().await {
            items.push(item);
        }
        items
    };
    let (ended, items) = tokio::join!(catalog.walk(RecordSender::new(sender)), take);
    (items, ended)
}

fn record(item: &InventoryItem) -> Option<&InventoryRecord> {
    match item {
        InventoryItem::Resource(record) => Some(record),
        InventoryItem::Access(_) | InventoryItem::Unseen(_) | InventoryItem::Complete => None,
    }
}

/// Walks to the end and returns the records.
async fn list(catalog: &PostgresCatalog) -> Vec<InventoryRecord> {
    let (mut items, ended) = walk(catalog).await;
    assert_eq!(items.pop(), Some(InventoryItem::Complete));
    items.retain(|item| !matches!(item, InventoryItem::Unseen(_)));
    assert_eq!(ended.unwrap(), items.len() as u64);
    items.iter().filter_map(record).cloned().collect()
}

/// The part of an inventory that other tests on the same server do not touch.
fn of_database<'a>(records: &'a [InventoryRecord], database: &str) -> Vec<&'a InventoryRecord> {
    records
        .iter()
        .filter(|r| r.kind != ResourceKind::PostgresRole && r.path[0] == database)
        .collect()
}

fn find<'a>(
    records: &'a [InventoryRecord],
    kind: ResourceKind,
    path: &[&str],
) -> &'a InventoryRecord {
    let found: Vec<_> = records
        .iter()
        .filter(|r| r.kind == kind && r.path == path)
        .collect();
    assert_eq!(found.len(), 1, "{kind} {path:?}");
    found[0]
}

fn status_of_role(records: &[InventoryRecord], role: &str) -> String {
    let record = find(records, ResourceKind::PostgresRole, &[role]);
    assert_eq!(record.permissions, [Permission::Member]);
    match &record.status {
        RecordStatus::Active => "active".to_owned(),
        RecordStatus::Error(reason) => reason.clone(),
    }
}

on_every_server! {
    async fn everything_that_can_be_granted_is_listed_parents_first(cluster: &Cluster) {
        let road = set_up_admin_road(cluster).await;
        let (db, owner) = (road.database.as_str(), road.owner.as_str());
        cluster
            .superuser(db)
            .await
            .batch(
                "fill the database",
                &format!(
                    "CREATE FOREIGN DATA WRAPPER w; CREATE SERVER elsewhere FOREIGN DATA WRAPPER w; SET ROLE {owner}; \
                     COMMENT ON DATABASE {db} IS 'the shop'; CREATE SCHEMA sales; COMMENT ON SCHEMA sales IS 'it''s ours'; \
                     CREATE TABLE sales.orders (id int PRIMARY KEY); COMMENT ON TABLE sales.orders IS 'one line each'; \
                     CREATE VIEW sales.recent AS SELECT * FROM sales.orders; \
                     CREATE MATERIALIZED VIEW sales.totals AS SELECT count(*) FROM sales.orders; \
                     CREATE TABLE sales.parts (id int) PARTITION BY RANGE (id); \
                     CREATE SEQUENCE sales.numbers; CREATE SCHEMA apono; CREATE TABLE apono.grants (id int); RESET ROLE; \
                     CREATE FOREIGN TABLE sales.far (id int) SERVER elsewhere; CREATE TEMP TABLE scratch (id int)"
                ),
            )
            .await
            .unwrap();
        let records = list(&catalog(&road)).await;
        let ours = of_database(&records, db);
        let mut lines: Vec<_> = ours
            .iter()
            .map(|r| {
                format!(
                    "{} {} [{}] {} {}",
                    r.kind,
                    r.path[1..].join("/"),
                    r.flavour,
                    r.owner.as_deref().unwrap().replace(owner, "OWNER"),
                    r.comment.as_deref().unwrap_or("-")
                )
            })
            .collect();
        assert_eq!(lines.remove(0), "postgresql-database  [] OWNER the shop");
        let public_owner = if cluster.superuser(db).await.server().major() >= 15 { "pg_database_owner" } else { "postgres" };
        lines.sort();
        assert_eq!(
            lines,
            [
                format!("postgresql-schema public [] {public_owner} standard public schema"),
                "postgresql-schema sales [] OWNER it's ours".to_owned(),
                "postgresql-table sales/far [foreign table] postgres -".to_owned(),
                "postgresql-table sales/orders [table] OWNER one line each".to_owned(),
                "postgresql-table sales/parts [partitioned table] OWNER -".to_owned(),
                "postgresql-table sales/recent [view] OWNER -".to_owned(),
                "postgresql-table sales/totals [materialized view] OWNER -".to_owned(),
            ]
        );
        let mut seen = HashSet::new();
        for record in &ours {
            seen.insert(record.path.clone());
            assert!(record.path.len() == 1 || seen.contains(&record.path[..record.path.len() - 1]), "{:?}", record.path);
            assert_eq!(record.permissions, [Permission::ReadOnly, Permission::ReadWrite, Permission::Admin]);
            assert_eq!(record.status, RecordStatus::Active);
            assert_eq!(record.name, *record.path.last().unwrap());
            ResourceRef::new(record.kind, record.path.clone()).unwrap();
        }
    }
}

on_every_server! {
    async fn what_is_not_for_people_is_left_out(cluster: &Cluster) {
        let road = set_up_admin_road(cluster).await;
        let ours = format!("{}_apono", fresh("login"));
        cluster.superuser("postgres").await.batch("make a role of ours", &format!("CREATE ROLE {ours}")).await.unwrap();
        for record in list(&catalog(&road)).await {
            let first = record.path[0].as_str();
            assert!(!["template0", "template1"].contains(&first), "{record:?}");
            assert!(!record.path[1..].iter().any(|name| name == "apono" || name == "information_schema"), "{record:?}");
            if record.kind == ResourceKind::PostgresRole {
                assert!(!first.starts_with("pg_") && first != ours, "{record:?}");
            } else {
                assert!(!record.path[1..].iter().any(|name| name.starts_with("pg_toast")), "{record:?}");
            }
        }
    }
}

on_every_server! {
    async fn ids_stay_and_pages_change_nothing(cluster: &Cluster) {
        let road = set_up_admin_road(cluster).await;
        let session = cluster.superuser(&road.database).await;
        let names = ["a\"b", "a'b\\c", "; DROP TABLE x; --", "two\nlines", "🦀 é", "select", "Upper", "$$"];
        for name in names {
            let name = Ident::new(name).unwrap();
            session
                .batch("make hostile things", &format!("CREATE SCHEMA {name}; CREATE TABLE {name}.{name} (id int)"))
                .await
                .unwrap();
        }
        let catalog = catalog(&road);
        let first = list(&catalog).await;
        for name in names {
            find(&first, ResourceKind::PostgresTable, &[&road.database, name, name]);
        }
        let again = list(&catalog.in_pages_of(3)).await;
        let (first, again) = (of_database(&first, &road.database), of_database(&again, &road.database));
        assert_eq!(first.len(), 1 + 1 + 2 * names.len());
        assert_eq!(first, again);
        let ids: HashSet<_> = first.iter().map(|r| &r.id).collect();
        assert_eq!(ids.len(), first.len());
    }
}

on_every_server! {
    async fn roles_that_must_not_be_lent_say_why(cluster: &Cluster) {
        let road = set_up_admin_road(cluster).await;
        let superuser = cluster.superuser("postgres").await;
        let [plain, given, creator, reader, chain] = ["plain", "given", "creator", "reader", "chain"].map(fresh);
        // The wider one came with 14.
        let predefined = if superuser.server().major() >= 14 { "pg_read_all_data" } else { "pg_read_server_files" };
        superuser
            .batch(
                "make roles",
                &format!(
                    "CREATE ROLE {plain}; COMMENT ON ROLE {plain} IS 'for reports'; CREATE ROLE {given}; \
                     GRANT {given} TO {admin} WITH ADMIN OPTION; CREATE ROLE {creator} CREATEDB; \
                     CREATE ROLE {reader} IN ROLE {predefined}; CREATE ROLE {chain} IN ROLE {reader}",
                    admin = road.admin
                ),
            )
            .await
            .unwrap();
        let records = list(&catalog(&road)).await;
        assert_eq!(status_of_role(&records, &given), "active");
        let wanted = if superuser.server().major() >= 16 {
            format!(
                "cannot be lent: the connector may not give membership of it: GRANT \"{plain}\" TO \"{}\" WITH ADMIN OPTION",
                road.admin
            )
        } else {
            "active".to_owned()
        };
        assert_eq!(status_of_role(&records, &plain), wanted);
        let record = find(&records, ResourceKind::PostgresRole, &[&plain]);
        assert_eq!(record.comment.as_deref(), Some("for reports"));
        for (role, reason) in [
            ("postgres", "it is a superuser".to_owned()),
            (&creator, "it may create databases".to_owned()),
            (&road.admin, "it may create roles".to_owned()),
            (&reader, format!("it is a member of `{predefined}`, which has server-wide power")),
            (&chain, format!("it is a member of `{predefined}`, which has server-wide power")),
            (&road.connector.user, "it is what the connector itself acts as".to_owned()),
        ] {
            assert_eq!(status_of_role(&records, role), format!("cannot be lent: {reason}"));
        }
    }
}

on_every_server! {
    async fn a_database_that_cannot_be_entered_is_listed_with_the_fix(cluster: &Cluster) {
        let road = set_up_admin_road(cluster).await;
        let closed = cluster.fresh_database("postgres").await;
        let shut = cluster.fresh_database("postgres").await;
        let superuser = cluster.superuser("postgres").await;
        superuser
            .batch("close one", &format!("REVOKE CONNECT ON DATABASE {closed} FROM PUBLIC"))
            .await
            .unwrap();
        superuser.batch("shut one", &format!("ALTER DATABASE {shut} ALLOW_CONNECTIONS false")).await.unwrap();
        let records = list(&catalog(&road)).await;
        for (database, reason) in [
            (&closed, format!("the connector may not enter it: GRANT CONNECT ON DATABASE \"{closed}\" TO \"{}\"", road.connector.user)),
            (&shut, "does not accept connections: ALTER DATABASE … ALLOW_CONNECTIONS true".to_owned()),
        ] {
            let found = of_database(&records, database);
            assert_eq!(found.len(), 1);
            assert_eq!(found[0].status, RecordStatus::Error(reason));
        }
        assert!(of_database(&records, &road.database).len() > 1);
    }
}

on_every_server! {
    async fn names_without_a_valid_encoding_spoil_nothing(cluster: &Cluster) {
        let road = set_up_admin_road(cluster).await;
        let raw = fresh("raw");
        cluster
            .superuser("postgres")
            .await
            .batch("make a database of bytes", &format!("CREATE DATABASE {raw} ENCODING SQL_ASCII LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"))
            .await
            .unwrap();
        cluster
            .superuser(&raw)
            .await
            .batch(
                "make a table named by a byte",
                "CREATE TABLE public.good (id int); \
                 DO $$ BEGIN EXECUTE format('CREATE TABLE public.%I (id int)', convert_from('\\x61ff62', 'SQL_ASCII')); END $$",
            )
            .await
            .unwrap();
        let records = list(&catalog(&road)).await;
        let found = find(&records, ResourceKind::PostgresTable, &[&raw, "public", "a\u{fffd}b"]);
        assert_eq!(
            found.status,
            RecordStatus::Error("its name is not valid UTF-8, so no order can name it: rename it".to_owned())
        );
        assert_eq!(find(&records, ResourceKind::PostgresTable, &[&raw, "public", "good"]).status, RecordStatus::Active);
    }
}

on_every_server! {
    async fn a_walk_cut_short_never_looks_complete(cluster: &Cluster) {
        let mut road = set_up_admin_road(cluster).await;
        road.connector.application_name = fresh("walker");
        let superuser = cluster.superuser(&road.database).await;
        superuser
            .batch(
                "make many tables",
                "DO $$ BEGIN FOR i IN 1..300 LOOP EXECUTE format('CREATE TABLE public.t%s ()', i); END LOOP; END $$",
            )
            .await
            .unwrap();
        let catalog = catalog(&road).in_pages_of(10);
        let (sender, mut receiver) = mpsc::channel::<InventoryItem>(1);
        let take = async {
            let mut items: Vec<InventoryItem> = Vec::new();
            while let Some(item) = receiver.recv().await {
                let in_the_middle = record(&item).is_some_and(|r| r.path[0] == road.database && r.kind == ResourceKind::PostgresTable);
                let first_time = !items.iter().filter_map(record).any(|r| r.kind == ResourceKind::PostgresTable && r.path[0] == road.database);
                items.push(item);
                if in_the_middle && first_time {
                    let kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1";
                    let killed = superuser.query("end the walker", kill, &[&road.connector.application_name]).await.unwrap();
                    // That of the database before may not be gone yet.
                    assert!(killed.len() >= 2, "the home session and the one in the database");
                }
            }
            items
        };
        let (ended, items) = tokio::join!(catalog.walk(RecordSender::new(sender)), take);
        let error = ended.unwrap_err();
        assert_eq!(error.class(), ErrorClass::Transient, "{error:?}");
        assert_ne!(items.last(), Some(&InventoryItem::Complete));
        // Other tests fill the same server, so only what is ours counts.
        let ours = items.iter().filter_map(record).filter(|r| r.path[0] == road.database);
        assert!(ours.count() < 300);
    }
}

on_every_server! {
    async fn a_walk_stops_when_nobody_listens(cluster: &Cluster) {
        let road = set_up_admin_road(cluster).await;
        let (sender, receiver) = mpsc::channel(1);
        drop(receiver);
        let ended = catalog(&road).walk(RecordSender::new(sender)).await;
        assert!(matches!(ended, Err(SourceError::Stopped)), "{ended:?}");
    }
}

on_every_server! {
    async fn a_server_that_refuses_us_aborts_the_walk(cluster: &Cluster) {
        let road = set_up_admin_road(cluster).await;
        let options = ConnectOptions { password: Secret::new("wrong".to_owned()), ..road.connector.clone() };
        assert!(Session::connect(&road.connector).await.is_ok());
        let catalog = PostgresCatalog::new(integration(), options, None);
        assert_eq!(catalog.integration(), integration());
        let (items, ended) = walk(&catalog).await;
        assert_eq!(items, []);
        let error = ended.unwrap_err();
        assert_eq!(error.class(), ErrorClass::Unauthorised);
        assert_eq!(error.to_string(), format!("failed to read the inventory of `{}`", road.database));
        assert!(error.hint().unwrap().contains("check `username` and `password`"));
    }
}
