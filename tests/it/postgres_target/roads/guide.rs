//! The guide to servers of RDS, by the statements that stand there, run by a master user that is no superuser.

use super::super::world::{CONNECTOR_PASSWORD, target};
use super::{Names, World, company, fenced_in, fresh, go_along, on_every_server};

const GUIDE: &str = include_str!("../../../../docs/install/rds.md");
const MASTER_PASSWORD: &str = "master-of-a-test-cluster";

/// Makes what RDS gives: a master user that owns the database and made the owner of its objects, and the role that stands for tokens.
async fn master_of(world: &World) -> (String, String) {
    let (master, rds_iam) = (fresh("master"), fresh("rds_iam"));
    let World {
        database, owner, ..
    } = world;
    let root = world.root().await;
    let made = format!(
        "CREATE ROLE {master} LOGIN CREATEROLE CREATEDB PASSWORD '{MASTER_PASSWORD}';
         CREATE ROLE {rds_iam} NOLOGIN;
         GRANT {rds_iam}, {owner} TO {master} WITH ADMIN OPTION;
         ALTER DATABASE {database} OWNER TO {master}"
    );
    root.batch("what RDS gives", &made).await.unwrap();
    (master, rds_iam)
}

/// Runs the statements of the guide that have this word, as whom they say.
fn run(world: &World, word: &str, own: &[(&str, &str)], (user, password): (&str, &str)) {
    let names = Names::of(world, "none");
    let blocks = fenced_in(GUIDE, &[word]);
    assert!(!blocks.is_empty(), "the guide has lost `{word}`");
    for (_, sql) in blocks {
        let mut sql = names.put_into(&sql);
        for (name, own) in own {
            sql = sql.replace(name, own);
        }
        let done = world.cluster.psql(user, password, &world.database, &sql);
        assert!(done.ok, "{sql}\n{}", done.err);
    }
}

on_every_server! {
    async fn a_server_is_prepared_and_left_by_a_master_user_who_is_no_superuser(cluster: &Cluster) {
        let mut world = company(cluster, &[]).await;
        // Its roles are told from those of all other tests by its id.
        let connector = fresh("guided");
        world.target = target(&connector, &world.integration, &world.user);
        let (master, rds_iam) = master_of(&world).await;
        let home = format!("DATABASE {} ", world.database);
        let own = [("rds_iam", rds_iam.as_str()), ("DATABASE app ", &home), ("CONNECTOR_ID", &connector)];
        let by_master = (master.as_str(), MASTER_PASSWORD);
        run(&world, "road=rds", &own, by_master);
        go_along(&world).await;
        let ours = format!("SELECT count(*) FROM pg_roles WHERE shobj_description(oid, 'pg_authid') LIKE 'apono v1 connector={connector} %'");
        assert_ne!(world.ask(&ours).await, "0");
        run(&world, "road=rds-remove", &own, (&world.user, CONNECTOR_PASSWORD));
        run(&world, "road=rds-remove-roles", &own, by_master);
        let prepared = format!("SELECT count(*) FROM pg_roles WHERE rolname IN ('{}', '{}')", world.admin, world.user);
        for left in [ours.as_str(), &prepared, "SELECT count(*) FROM pg_namespace WHERE nspname = 'apono'"] {
            assert_eq!(world.ask(left).await, "0", "{left}");
        }
        assert_eq!(world.ask("SELECT count(*) FROM shop.t1").await, "1");
    }
}
