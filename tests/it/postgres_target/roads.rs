//! The roads of `docs/postgresql.md`, by the statements that stand there, from the set-up to the clean-up; and what a check says
//! about rights that are missing.

mod guide;

use super::after::clean;
use super::world::{CONNECTOR_PASSWORD, Opened, World, integration, login_of, person, target};
use crate::support::cluster::{Cluster, fresh, on_every_server};
use apono_connector::domain::{ErrorClass, Grant, Permission, ResourceKind, ResourceRef};
use apono_connector::targets::Target;

const PAGE: &str = include_str!("../../../docs/postgresql.md");

/// The fenced statements whose first line holds all of these words, in order.
fn fenced(words: &[&str]) -> Vec<(&'static str, String)> {
    fenced_in(PAGE, words)
}

fn fenced_in(page: &'static str, words: &[&str]) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        let Some(info) = line.strip_prefix("```sql ") else {
            continue;
        };
        let body: Vec<_> = lines.by_ref().take_while(|line| *line != "```").collect();
        if words
            .iter()
            .all(|word| info.split(' ').any(|one| one == *word))
        {
            found.push((info, body.join("\n")));
        }
    }
    found
}

/// The names a page uses, and the ones of this test.
struct Names(Vec<(&'static str, String)>);

impl Names {
    fn of(world: &World, superuser: &str) -> Self {
        Self(vec![
            ("apono_admin", world.admin.clone()),
            ("apono_connector", world.user.clone()),
            ("app_owner", world.owner.clone()),
            ("rds_superuser", superuser.to_owned()),
            ("'…'", format!("'{CONNECTOR_PASSWORD}'")),
        ])
    }

    fn put_into(&self, sql: &str) -> String {
        let mut sql = sql.to_owned();
        for (name, own) in &self.0 {
            sql = sql.replace(name, own);
        }
        sql
    }
}

/// A company whose server nobody has set up for a connector yet.
async fn company(cluster: &'static Cluster, settings: &[(&str, &str)]) -> World {
    let (owner, stranger) = (fresh("owner"), fresh("stranger"));
    let root = cluster.superuser("postgres").await;
    root.batch(
        "owners",
        &format!("CREATE ROLE {owner} NOLOGIN; CREATE ROLE {stranger} NOLOGIN"),
    )
    .await
    .unwrap();
    let database = cluster.fresh_database(&owner).await;
    let tables: String = (1..=6)
        .map(|n| format!("CREATE TABLE shop.t{n} AS SELECT 'first' AS note;"))
        .collect();
    cluster
        .superuser(&database)
        .await
        .batch(
            "tables",
            &format!("SET ROLE {owner}; CREATE SCHEMA shop; {tables}"),
        )
        .await
        .unwrap();
    let (admin, user) = (fresh("admin"), fresh("connector"));
    let mut integration = integration(cluster, &database, &admin);
    for (key, value) in settings {
        integration
            .settings
            .insert((*key).to_owned(), (*value).to_owned());
    }
    if settings.contains(&("admin_role", "")) {
        integration.settings.remove("admin_role");
    }
    World {
        cluster,
        database,
        owner,
        stranger,
        target: target("c-1", &integration, &user),
        admin,
        user,
        integration,
        identity: age::x25519::Identity::generate(),
    }
}

/// Runs statements as an administrator would, in the home database.
fn run(world: &World, sql: &str) {
    let done = world.cluster.psql(
        "postgres",
        crate::support::cluster::SUPERUSER_PASSWORD,
        &world.database,
        sql,
    );
    assert!(done.ok, "{sql}\n{}", done.err);
}

async fn major(world: &World) -> u32 {
    world.root().await.server().major()
}

async fn set_up(world: &World, road: &str) {
    // What a managed server gives its role of that name, as far as a plain server has it.
    let superuser = fresh("rds_superuser");
    run(
        world,
        &format!(
            "CREATE ROLE {superuser} NOLOGIN CREATEDB CREATEROLE; GRANT pg_monitor, pg_signal_backend TO {superuser} WITH ADMIN OPTION"
        ),
    );
    let names = Names::of(world, &superuser);
    let blocks = fenced(&[&format!("road={road}")]);
    assert!(!blocks.is_empty(), "the page has lost its road {road}");
    for (info, sql) in blocks {
        let since = info.split(' ').find_map(|word| word.strip_prefix("from="));
        let fits = match since {
            Some(version) => version.parse::<u32>().unwrap() <= major(world).await,
            None => !info.contains("example"),
        };
        if fits {
            run(world, &names.put_into(&sql));
        }
    }
}

/// Check, start, use, end, clean-up.
async fn go_along(world: &World) {
    let report = world.target.check().await.unwrap();
    assert!(report.warnings.is_empty(), "{:?}", report.warnings);
    let alice = person("alice");
    let grant = world.grant(&alice, world.schema("shop"), Permission::ReadOnly);
    let her = world.open(&grant).await;
    assert_eq!(world.psql(&her, "SELECT note FROM shop.t1").out, "first");
    assert!(!world.psql(&her, "INSERT INTO shop.t1 VALUES ('x')").ok);
    world
        .as_owner("CREATE TABLE shop.later AS SELECT 'new' AS note")
        .await;
    assert_eq!(world.psql(&her, "SELECT note FROM shop.later").out, "new");
    world.as_owner("DROP TABLE shop.later").await;
    is_over(world, &grant, &her).await;
}

async fn is_over(world: &World, grant: &Grant, her: &Opened) {
    let session = world.session(her).await;
    let ended = world.end(grant).await;
    // A session of `psql` may still be on its way out.
    assert!(
        matches!(ended[1].sessions, Some((1.., 0))),
        "{:?}",
        ended[1].sessions
    );
    assert!(session.query("read on", "SELECT 1", &[]).await.is_err());
    assert!(!world.psql(her, "SELECT 1").ok);
    let cleaned = clean(world, grant).await;
    assert!(cleaned.leftovers.is_empty(), "{:?}", cleaned.leftovers);
    let left = format!(
        "SELECT count(*) FROM pg_roles WHERE rolname = '{}'",
        her.login
    );
    assert_eq!(world.ask(&left).await, "0");
}

on_every_server! {
    async fn the_road_with_an_admin_role_leads_from_set_up_to_clean_up(cluster: &Cluster) {
        let world = company(cluster, &[]).await;
        set_up(&world, "admin").await;
        go_along(&world).await;
        let acting = format!("SELECT pg_get_userbyid(nspowner) = '{}' FROM pg_namespace WHERE nspname = 'apono'", world.admin);
        assert_eq!(world.ask(&acting).await, "t");
    }
}

on_every_server! {
    async fn the_road_with_a_user_of_its_own_leads_from_set_up_to_clean_up(cluster: &Cluster) {
        let world = company(cluster, &[("admin_role", "")]).await;
        set_up(&world, "documented").await;
        go_along(&world).await;
        let acting = format!("SELECT pg_get_userbyid(nspowner) = '{}' FROM pg_namespace WHERE nspname = 'apono'", world.user);
        assert_eq!(world.ask(&acting).await, "t");
    }
}

on_every_server! {
    async fn the_road_with_given_roles_leads_from_set_up_to_clean_up(cluster: &Cluster) {
        let world = company(cluster, &[("access_roles", "given")]).await;
        set_up(&world, "given").await;
        assert_eq!(world.target.check().await.unwrap().warnings, [""; 0]);
        let order = world.order(&world.grant(&person("bob"), world.schema("shop"), Permission::ReadOnly));
        let error = world.run(&world.target, &order).await.unwrap_err();
        assert_eq!((error.class(), error.failure().reason), (ErrorClass::NeedsOperator, "access_role_incomplete"));
        let hint = error.failure().hint.clone().unwrap();
        if major(&world).await >= 16 {
            assert_eq!(as_printed_in_the_page(&world, &hint), fenced(&["road=given", "example"])[0].1);
        }
        run(&world, &hint);
        go_along(&world).await;
        // It holds nothing itself, belongs to no owner, and the privileges are the owner's gift.
        for role in [&world.admin, &world.user] {
            assert_eq!(world.ask(&format!("SELECT has_table_privilege('{role}', 'shop.t1', 'SELECT') OR pg_has_role('{role}', '{}', 'MEMBER')", world.owner)).await, "f");
        }
        let role = format!("SELECT DISTINCT x.grantee::regrole || ' ' || x.grantor::regrole FROM pg_class c, aclexplode(c.relacl) x
            WHERE relnamespace = 'shop'::regnamespace AND x.grantee <> '{}'::regrole", world.owner);
        assert!(world.ask(&role).await.ends_with(&format!("_apono {}", world.owner)));
    }
}

/// Prints a hint with the names of the page.
fn as_printed_in_the_page(world: &World, hint: &str) -> String {
    let mut text = hint
        .replace(&world.admin, "apono_admin")
        .replace(&world.owner, "app_owner")
        .replace(&format!("\"{}\"", world.database), "\"app\"");
    for (before, after) in [("a_", "_apono"), ("key=", "'")] {
        let mut from = 0;
        while let Some(at) = text[from..].find(before).map(|at| from + at + before.len()) {
            if text[at..]
                .get(16..)
                .is_some_and(|rest| rest.starts_with(after))
            {
                text.replace_range(at..at + 16, "0123456789abcdef");
            }
            from = at;
        }
    }
    text
}

on_every_server! {
    async fn a_given_role_that_can_do_more_than_its_level_is_refused_and_never_changed(cluster: &Cluster) {
        let world = company(cluster, &[("access_roles", "given")]).await;
        set_up(&world, "given").await;
        let grant = world.grant(&person("alice"), world.schema("shop"), Permission::ReadOnly);
        let error = world.run(&world.target, &world.order(&grant)).await.unwrap_err();
        run(&world, error.failure().hint.as_deref().unwrap());
        let her = world.open(&grant).await;
        let role = world.ask(&format!("SELECT access_role FROM apono.\"grant\" WHERE id = '{}'", grant.id)).await;
        let powers = [
            format!("ALTER ROLE {role} CREATEDB"),
            format!("GRANT pg_monitor TO {role}"),
            format!("GRANT TRIGGER ON shop.t1 TO {role}"),
            format!("GRANT SELECT ON shop.t2 TO {role} WITH GRANT OPTION"),
            format!("GRANT UPDATE (note) ON shop.t3 TO {role}"),
            format!("GRANT CREATE ON SCHEMA shop TO {role}"),
            format!("GRANT CREATE ON DATABASE {} TO {role}", world.database),
            format!("CREATE SCHEMA aside; CREATE TABLE aside.t (id int); GRANT SELECT ON aside.t TO {role}"),
            format!("CREATE FUNCTION shop.f(int) RETURNS int LANGUAGE sql AS 'SELECT 1'; GRANT EXECUTE ON FUNCTION shop.f(int) TO {role}"),
            format!("ALTER DEFAULT PRIVILEGES FOR ROLE {} IN SCHEMA shop GRANT INSERT ON TABLES TO {role}", world.owner),
        ];
        let holds = "SELECT string_agg(relname || relacl::text, ' ' ORDER BY relname) FROM pg_class WHERE relnamespace IN ('shop'::regnamespace)";
        for power in &powers {
            run(&world, power);
            run(&world, "UPDATE apono.access_role SET complete_at = complete_at - interval '2 minutes'");
            let before = world.ask(holds).await;
            let next = world.order(&world.grant(&person("bob"), world.schema("shop"), Permission::ReadOnly));
            let error = world.run(&world.target, &next).await.unwrap_err();
            assert_eq!(error.failure().reason, "access_role_excessive", "{power}");
            let mended = world.target.mend().await.unwrap();
            assert!(mended.iter().any(|one| one.note.contains(&role)), "{power}: {mended:?}");
            let warned = world.target.check().await.unwrap().warnings;
            assert_eq!(warned.len(), 1, "{power}: {warned:?}");
            assert_eq!(world.ask(holds).await, before, "{power}");
            run(&world, error.failure().hint.as_deref().unwrap());
            assert_eq!(world.target.check().await.unwrap().warnings, [""; 0], "{power}");
        }
        assert!(world.psql(&her, "SELECT * FROM shop.t1").ok);
        is_over(&world, &grant, &her).await;
        world.target.mend().await.unwrap();
        assert_eq!(world.ask(&format!("SELECT count(*) FROM pg_roles WHERE rolname = '{role}'")).await, "1");
        // The same role under the other setting is not filled: it is somebody else's.
        let mut made = world.integration.clone();
        made.settings.insert("access_roles".to_owned(), "made".to_owned());
        let made = World { target: target("c-1", &made, &world.user), integration: made, ..world };
        run(&made, "DELETE FROM apono.access_role");
        let again = made.order(&made.grant(&person("carol"), made.schema("shop"), Permission::ReadOnly));
        let error = made.run(&made.target, &again).await.unwrap_err();
        assert_eq!(error.failure().reason, "access_role_given");
    }
}

on_every_server! {
    async fn a_given_role_lends_an_existing_one_that_an_administrator_put_it_in(cluster: &Cluster) {
        let world = company(cluster, &[("access_roles", "given")]).await;
        set_up(&world, "given").await;
        let reporting = fresh("reporting");
        run(&world, &format!("CREATE ROLE {reporting}; GRANT USAGE ON SCHEMA shop TO {reporting}; GRANT SELECT ON shop.t1 TO {reporting}"));
        let on = ResourceRef::new(ResourceKind::PostgresRole, vec![reporting.clone()]).unwrap();
        let grant = world.grant(&person("alice"), on, Permission::Member);
        let order = world.order(&grant);
        let error = world.run(&world.target, &order).await.unwrap_err();
        assert_eq!(error.failure().reason, "access_role_incomplete");
        run(&world, error.failure().hint.as_deref().unwrap());
        let her = world.opened(&world.run(&world.target, &order).await.unwrap());
        assert!(world.psql(&her, "SELECT * FROM shop.t1").ok);
        assert!(!world.psql(&her, "SELECT * FROM shop.t2").ok);
        is_over(&world, &grant, &her).await;
    }
}

on_every_server! {
    async fn statements_too_many_for_one_answer_come_whole_in_several(cluster: &Cluster) {
        let world = company(cluster, &[("access_roles", "given")]).await;
        set_up(&world, "given").await;
        world.as_owner("DO $$ BEGIN FOR i IN 1..60 LOOP EXECUTE format('CREATE SCHEMA area_%s; CREATE TABLE area_%s.t (id int)', i, i); END LOOP; END $$").await;
        let grant = world.grant(&person("alice"), world.whole(), Permission::Admin);
        let mut answers = 0;
        let her = loop {
            match world.run(&world.target, &world.order(&grant)).await {
                Ok(applied) => break world.opened(&applied),
                Err(error) => {
                    let hint = error.failure().hint.clone().unwrap();
                    assert!(hint.len() < 4000, "{} characters can be reported whole", hint.len());
                    run(&world, &hint);
                    answers += 1;
                    assert!(answers < 10, "it comes to no end: {error}");
                }
            }
        };
        assert!(answers > 1);
        assert!(world.psql(&her, "SELECT * FROM area_60.t; SELECT * FROM shop.t1").ok);
        is_over(&world, &grant, &her).await;
    }
}

on_every_server! {
    async fn membership_in_the_usual_admin_role_is_asked_for_rather_than_more_rights(cluster: &Cluster) {
        let world = company(cluster, &[("admin_role", "")]).await;
        run(&world, &format!(
            "CREATE ROLE apono_admin NOLOGIN CREATEROLE; GRANT {owner} TO apono_admin; CREATE ROLE {user} LOGIN PASSWORD '{CONNECTOR_PASSWORD}'",
            owner = world.owner, user = world.user
        ));
        let open = said(&world).await;
        assert_eq!(open, [format!("GRANT \"apono_admin\" TO \"{}\";", world.user)]);
        run(&world, &open[0]);
        go_along(&world).await;
    }
}

/// What a check says: each problem with its statement.
async fn said(world: &World) -> Vec<String> {
    match world.target.check().await {
        Ok(report) => report
            .warnings
            .iter()
            .flat_map(|warning| {
                warning
                    .lines()
                    .skip(1)
                    .map(str::to_owned)
                    .collect::<Vec<_>>()
            })
            .collect(),
        Err(error) => error
            .failure()
            .hint
            .as_deref()
            .unwrap_or_default()
            .lines()
            .map(str::to_owned)
            .collect(),
    }
}

on_every_server! {
    async fn every_right_that_is_missing_is_named_at_once_and_its_statement_gives_it(cluster: &Cluster) {
        let world = company(cluster, &[]).await;
        let old = major(&world).await < 16;
        let attributes = if old { " NOINHERIT" } else { "" };
        run(&world, &format!(
            "CREATE ROLE {admin} NOLOGIN{attributes}; CREATE ROLE {user} LOGIN PASSWORD '{CONNECTOR_PASSWORD}' CONNECTION LIMIT 3; GRANT {admin} TO {user};
             CREATE TABLE shop.theirs (id int); ALTER TABLE shop.theirs OWNER TO {stranger}",
            admin = world.admin, user = world.user, stranger = world.stranger
        ));
        let mut open = said(&world).await;
        assert_eq!(open.len(), if old { 6 } else { 5 }, "{open:#?}");
        while let Some(statement) = open.first() {
            run(&world, statement);
            let now = said(&world).await;
            // Nothing that was hidden comes up later.
            assert_eq!(now, open[1..], "{statement}");
            open = now;
        }
        assert_eq!(world.target.check().await.unwrap().warnings, [""; 0]);
        run(&world, &format!("ALTER TABLE shop.theirs OWNER TO {}", world.owner));
        go_along(&world).await;
    }
}

on_every_server! {
    async fn a_record_that_belongs_to_a_superuser_is_asked_for_and_never_his_power(cluster: &Cluster) {
        let world = company(cluster, &[]).await;
        set_up(&world, "admin").await;
        run(&world, "ALTER SCHEMA apono OWNER TO postgres");
        let open = said(&world).await;
        assert_eq!(open.len(), 1, "{open:?}");
        assert!(!open[0].contains("GRANT"), "{open:?}");
        run(&world, &open[0]);
        go_along(&world).await;
    }
}

on_every_server! {
    async fn after_an_upgrade_the_roles_we_lost_admin_on_are_named_with_one_statement(cluster: &Cluster) {
        let world = company(cluster, &[]).await;
        set_up(&world, "admin").await;
        go_along(&world).await;
        if major(&world).await < 16 {
            return;
        }
        let (alice, bob) = (person("alice"), person("bob"));
        let first = world.grant(&alice, world.schema("shop"), Permission::ReadOnly);
        world.open(&first).await;
        let role = world.ask(&format!("SELECT access_role FROM apono.\"grant\" WHERE id = '{}'", first.id)).await;
        // What an upgrade does: members stay, whoever gave the membership is the first superuser, and no role has an ADMIN.
        run(&world, &format!(
            "REVOKE {role} FROM {admin} CASCADE; REVOKE {login} FROM {admin} CASCADE; GRANT {role} TO {login} WITH INHERIT TRUE, SET FALSE",
            admin = world.admin, login = login_of(&alice)
        ));
        let open = said(&world).await;
        assert_eq!(open.len(), 1, "{open:?}");
        assert!(open[0].contains(&role) && open[0].contains(&login_of(&alice)), "{open:?}");
        let order = world.order(&world.grant(&bob, world.schema("shop"), Permission::ReadOnly));
        assert!(world.run(&world.target, &order).await.is_err());
        run(&world, &open[0]);
        assert_eq!(said(&world).await, [""; 0]);
        world.run(&world.target, &order).await.unwrap();
    }
}
