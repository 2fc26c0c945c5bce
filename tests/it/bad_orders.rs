//! Orders and integrations that cannot work: the answer names the object and what to do, nothing half-made is left, others are served.

use crate::support::cluster::{Cluster, Version, fresh, on_every_server};
use crate::support::front::{Call, Front};
use crate::support::world::World;
use serde_json::{Value, json};
use uuid::Uuid;

/// A resource, a level, and words the refusal must have.
type Case<'a> = (Vec<&'a str>, &'a str, Vec<&'a str>);

/// A name, what is wrong with the settings, and a word the status must have.
type BadSettings<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str);

fn nothing_is_left_for(world: &World, who: &str) {
    let local = who.split('@').next().unwrap();
    let logins = world.sql(&format!(
        "SELECT count(*) FROM pg_roles WHERE rolname LIKE '{local}\\_%apono'"
    ));
    assert_eq!(logins, "0", "{who} has a login\n{}", world.logs());
    let open = world.sql(&format!(
        "SELECT count(*) FROM apono.\"grant\" WHERE closed_at IS NULL AND login LIKE '{local}\\_%'"
    ));
    assert_eq!(open, "0", "{who} has an open grant");
    let unknown = world.sql(&format!(
        "SELECT count(*) FROM pg_roles r JOIN pg_auth_members m ON m.roleid = r.oid JOIN pg_roles l ON l.oid = m.member \
         WHERE l.rolname LIKE '{local}\\_%apono'"
    ));
    assert_eq!(unknown, "0", "{who} is a member of something");
}

on_every_server! {
    async fn an_order_for_what_cannot_be_given_names_it_and_leaves_nothing(cluster: &Cluster) {
        let world = World::start(cluster).await;
        let database = world.road.database.clone();
        world.sql("CREATE SCHEMA theirs; CREATE TABLE theirs.t (a int)");
        world.sql_as_owner("CREATE TABLE t (a int)");
        let long = "x".repeat(64);
        let cases: Vec<Case<'_>> = vec![
            (vec!["postgresql-schema", &database, "no_such_schema"], "READ_ONLY", vec!["no_such_schema"]),
            (vec!["postgresql-table", &database, "public", "no_such_table"], "READ_WRITE", vec!["no_such_table"]),
            (vec!["postgresql-database", "no_such_database"], "READ_ONLY", vec!["no_such_database"]),
            (vec!["postgresql-role", "no_such_role"], "MEMBER", vec!["no_such_role"]),
            (vec!["postgresql-role", "pg_read_all_data"], "MEMBER", vec!["pg_read_all_data"]),
            (vec!["postgresql-schema", &database, "theirs"], "READ_ONLY", vec!["theirs", "postgres", "hint: GRANT "]),
            (vec!["postgresql-schema", &database, "apono"], "READ_ONLY", vec!["apono"]),
            (vec!["postgresql-schema", &database, "public"], "MEMBER", vec!["MEMBER"]),
            (vec!["postgresql-schema", &database, "public"], "OMNIPOTENT", vec!["OMNIPOTENT"]),
            (vec!["mainframe-dataset", "a"], "READ_ONLY", vec!["mainframe-dataset"]),
            (vec!["postgresql-schema", &database], "READ_ONLY", vec!["path"]),
            (vec!["postgresql-schema", &database, &long], "READ_ONLY", vec!["63"]),
            (vec!["postgresql-schema", &database, ""], "READ_ONLY", vec!["must be 1 to 63 bytes"]),
        ];
        for (resource, permission, words) in cases {
            let who = format!("{}@example.com", fresh("nobody"));
            let error = world.grant_on(&resource, &who, permission, "1h").unwrap_err();
            for word in words {
                assert!(error.contains(word), "{resource:?} {permission}: `{word}` is not in: {error}");
            }
            nothing_is_left_for(&world, &who);
        }
        let who = format!("{}@example.com", fresh("ann"));
        let ann = world.grant(&who, "READ_ONLY", "1h").unwrap();
        assert!(world.psql(&ann, "SELECT * FROM t").ok);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_from_people_are_never_taken_for_statements() {
    let cluster = Cluster::shared(Version::Pg18);
    let world = World::start(cluster).await;
    let database = world.road.database.clone();
    world.sql_as_owner("CREATE TABLE keep (a int)");
    for name in [
        "a\"b",
        "o'clock",
        "back\\slash",
        "x; DROP TABLE keep",
        "$$",
        "two\nlines",
        "\u{1f980}",
        "select",
        "-c 1",
        "%s",
    ] {
        let quoted = name.replace('"', "\"\"");
        let who = format!("{}@example.com", fresh("odd"));
        let missing = world
            .grant_on(
                &["postgresql-schema", &database, name],
                &who,
                "READ_ONLY",
                "1h",
            )
            .unwrap_err();
        assert!(missing.contains("failed"), "{name:?}: {missing}");
        nothing_is_left_for(&world, &who);
        world.sql_as_owner(&format!(
            "CREATE SCHEMA \"{quoted}\"; CREATE TABLE \"{quoted}\".\"{quoted}\" AS SELECT 7 AS a"
        ));
        let login = world
            .grant_on(
                &["postgresql-table", &database, name, name],
                &who,
                "READ_ONLY",
                "1h",
            )
            .unwrap();
        let read = world.psql(&login, &format!("SELECT a FROM \"{quoted}\".\"{quoted}\""));
        assert_eq!(read.out, "7", "{name:?}: {}", read.err);
    }
    let with_nul = world.order_over_http(&json!({
            "integration": "orders", "principal": {"email": "nul@example.com"}, "permission": "READ_ONLY", "duration_s": 60,
            "resource": {"type": "postgresql-schema", "path": [database, "a\u{0}b"]}, "recipient": "age1",
        })).await;
    assert!(with_nul.0 >= 400 && with_nul.0 < 500, "{with_nul:?}");
    assert_eq!(world.sql("SELECT count(*) FROM keep"), "0");
}

on_every_server! {
    async fn a_login_that_is_not_ours_is_never_adopted(cluster: &Cluster) {
        let world = World::start(cluster).await;
        for comment in ["NULL", "'apono v1 connector=another kind=login key=0123456789abcdef'"] {
            let local = fresh("alice");
            let login = format!("{local}_apono");
            world.sql(&format!("CREATE ROLE {login} LOGIN PASSWORD 'hers'; COMMENT ON ROLE {login} IS {comment}"));
            let error = world.grant(&format!("{local}@example.com"), "READ_ONLY", "1h").unwrap_err();
            assert!(error.contains(&login) && error.contains("hint: "), "{error}");
            let hers = cluster.psql(&login, "hers", &world.road.database, "SELECT 1");
            assert!(hers.ok, "{}", hers.err);
            assert_eq!(world.memberships(&login), "0");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_time_that_makes_no_sense_is_refused_with_the_limit() {
    let cluster = Cluster::shared(Version::Pg15);
    let world = World::start(cluster).await;
    let database = world.road.database.clone();
    let schema = ["postgresql-schema", database.as_str(), "public"];
    for (until, word) in [
        ("2020-01-01T00:00:00Z", "must be after now"),
        ("2126-01-01T00:00:00Z", "longest"),
    ] {
        let who = format!("{}@example.com", fresh("late"));
        let error = world
            .grant_in(
                "orders",
                &schema,
                &who,
                &["--permission", "READ_ONLY", "--until", until],
            )
            .unwrap_err();
        assert!(error.contains(word), "`{word}` is not in: {error}");
        nothing_is_left_for(&world, &who);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_order_that_cannot_be_understood_is_answered_and_the_next_is_served() {
    let (mut world, front) = Front::of_a_world(Cluster::shared(Version::Pg15)).await;
    world.begin();
    let ann = format!("{}@example.com", fresh("ann"));
    world.grant(&ann, "READ_ONLY", "1h").unwrap();
    let sample = order_of(&front.calls(), "grant-access").unwrap();
    let cases = beyond_understanding(&sample);
    let tasks: Vec<&Value> = cases.iter().map(|(task, _)| task).collect();
    let mut answer = json!({"header": sample["header"], "tasks": tasks});
    answer["tasks"]
        .as_array_mut()
        .unwrap()
        .push(json!("no order at all"));
    front.answer_once("/lease", 200, &answer.to_string());
    for (task, words) in &cases {
        let id = task["id"].as_str().unwrap();
        world.until(&format!("`{words}` is answered"), |_| {
            result_of(&front.calls(), id).is_some()
        });
        let outcome = result_of(&front.calls(), id).unwrap()["outcome"].clone();
        assert_eq!(outcome["status"], "failed", "{outcome}");
        let said = format!("{} {}", outcome["message"], outcome["hint"]);
        assert!(said.contains(words), "`{words}` is not in {outcome}");
    }
    assert_eq!(world.sql("SELECT count(*) FROM apono.\"grant\""), "1");
    let bob = format!("{}@example.com", fresh("bob"));
    let bob = world.grant(&bob, "READ_ONLY", "1h").unwrap();
    assert!(world.psql(&bob, "SELECT 1").ok);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_integration_that_cannot_work_says_why_and_the_others_go_on() {
    let world = World::start(Cluster::shared(Version::Pg15)).await;
    let wrong = json!({"username": world.road.connector.user, "password": "wrong"});
    world.write("wrong.json", &wrong.to_string());
    let stranger = crate::support::certificate::Certificates::for_names(&["localhost"]);
    world.write("stranger.pem", &stranger.ca);
    let stranger = world.path("stranger.pem").display().to_string();
    let cases: [BadSettings<'_>; 7] = [
        ("wrong-password", &[("secret", "wrong.json")], "password"),
        ("no-secret", &[("secret", "nowhere.json")], "nowhere.json"),
        ("wrong-ca", &[("ssl_root_ca", &stranger)], "certificate"),
        ("wrong-host", &[("hostname", "127.0.0.2")], "127.0.0.2"),
        ("gone", &[("port", "1")], "localhost"),
        ("no-database", &[("dbname", "nowhere")], "nowhere"),
        ("mainframe", &[("type", "mainframe")], "mainframe"),
    ];
    for (name, changes, _) in cases {
        world.add_changed_integration("test-connector", name, changes);
    }
    for (name, _, word) in cases {
        world.until(&format!("`{name}` is in error"), |world| {
            let seen = world.integration(name);
            seen["status"] == "error"
                && seen["message"]
                    .as_str()
                    .is_some_and(|why| why.contains(word))
        });
        eprintln!("{name}: {}", world.integration(name)["message"]);
    }
    let database = world.road.database.clone();
    let schema = ["postgresql-schema", database.as_str(), "public"];
    // What was put right is in use again without anybody asking.
    let right = json!({"username": world.road.connector.user, "password": world.road.connector.password.expose()});
    world.write("wrong.json", &right.to_string());
    world.until("the right password is in use", |world| {
        world.integration("wrong-password")["status"] == "active"
    });
    for name in ["no-secret", "wrong-host"] {
        let who = format!("{}@example.com", fresh("nobody"));
        let error = world
            .grant_in(
                name,
                &schema,
                &who,
                &["--permission", "READ_ONLY", "--for", "1h"],
            )
            .unwrap_err();
        assert!(error.contains("hint: "), "{name}: {error}");
        nothing_is_left_for(&world, &who);
    }
    let ann = format!("{}@example.com", fresh("ann"));
    let ann = world.grant(&ann, "READ_ONLY", "1h").unwrap();
    assert!(world.psql(&ann, "SELECT 1").ok);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_order_handed_out_twice_has_one_effect() {
    let (mut world, front) = Front::of_a_world(Cluster::shared(Version::Pg18)).await;
    front.set(crate::support::front::Manner::Twice);
    world.begin();
    let repeated = || {
        world.until("all is handed out twice", |_| front.has_repeated());
        // Whatever the repetition does comes before this.
        let bob = format!("{}@example.com", fresh("bob"));
        world.grant(&bob, "READ_ONLY", "1h").unwrap();
    };
    let who = format!("{}@example.com", fresh("ann"));
    let ann = world.grant(&who, "READ_ONLY", "1h").unwrap();
    let start = order_of(&front.calls(), "grant-access").unwrap();
    repeated();
    assert!(
        world.psql(&ann, "SELECT 1").ok,
        "the first password holds\n{}",
        world.logs()
    );
    assert_eq!(world.memberships(&ann.user), "1");
    world
        .command(&["extend", &ann.grant, "--for", "2h", "--wait", "20s"])
        .unwrap();
    repeated();
    assert!(world.psql(&ann, "SELECT 1").ok);
    world
        .command(&["revoke", &ann.grant, "--wait", "20s"])
        .unwrap();
    repeated();
    assert!(!world.psql(&ann, "SELECT 1").ok);

    // The oldest order of all is delivered anew, after the end.
    let mut late = start;
    late["tasks"][0]["attempt"] = json!(7);
    let before = results_of(&front.calls(), &late).len();
    front.answer_once("/lease", 200, &late.to_string());
    world.until("the old order is answered", |_| {
        results_of(&front.calls(), &late).len() > before
    });
    let last = results_of(&front.calls(), &late).pop().unwrap();
    assert_eq!(last["outcome"]["status"], "failed", "{last}");
    assert_eq!(world.memberships(&ann.user), "0");
    assert!(!world.psql(&ann, "SELECT 1").ok);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_connectors_on_one_server_give_one_person_two_logins() {
    let world = World::start(Cluster::shared(Version::Pg18)).await;
    world.add_changed_integration("neighbour", "orders-too", &[]);
    let _neighbour = world.start_neighbour("neighbour");
    world.until("the neighbour is ready", |world| {
        world.integration("orders-too")["status"] == "active"
    });
    let database = world.road.database.clone();
    let schema = ["postgresql-schema", database.as_str(), "public"];
    let who = format!("{}@example.com", fresh("ann"));
    let first = world.grant(&who, "READ_ONLY", "1h").unwrap();
    let second = world
        .grant_in(
            "orders-too",
            &schema,
            &who,
            &["--permission", "READ_ONLY", "--for", "1h"],
        )
        .unwrap();
    assert_ne!(first.user, second.user);
    assert!(world.psql(&first, "SELECT 1").ok && world.psql(&second, "SELECT 1").ok);
    world
        .command(&["revoke", &first.grant, "--wait", "20s"])
        .unwrap();
    assert!(!world.psql(&first, "SELECT 1").ok);
    assert!(world.psql(&second, "SELECT 1").ok);
}

/// Orders with one thing wrong each, and what the answer must name.
fn beyond_understanding(sample: &Value) -> Vec<(Value, &'static str)> {
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut task = sample["tasks"][0].clone();
        task["id"] = json!(Uuid::now_v7());
        task["grant"]["id"] = json!(Uuid::now_v7());
        task["grant"]["principal"]["email"] = json!("stranger@example.com");
        change(&mut task);
        task
    };
    let long_ago = "2020-01-01T00:00:00Z";
    vec![
        (
            changed(&|task| task["kind"] = json!("polish-silver")),
            "polish-silver",
        ),
        (
            changed(&|task| task["grant"]["permission"] = json!("OMNIPOTENT")),
            "OMNIPOTENT",
        ),
        (
            changed(&|task| task["grant"]["resource"]["type"] = json!("mainframe-dataset")),
            "mainframe-dataset",
        ),
        (
            changed(&|task| task["grant"]["principal"] = json!({"group": "admins"})),
            "group:admins",
        ),
        (
            changed(&|task| drop(task["grant"].as_object_mut().unwrap().remove("expiry"))),
            "grant.expiry",
        ),
        (
            changed(&|task| task["grant"]["expiry"] = json!(long_ago)),
            long_ago,
        ),
        (
            changed(&|task| task["grant"]["expiry"] = json!("2126-01-01T00:00:00Z")),
            "guardrails.longest_grant_s",
        ),
        (
            changed(&|task| task["issued_at"] = json!(long_ago)),
            "limit 600 s",
        ),
        (
            changed(&|task| drop(task.as_object_mut().unwrap().remove("recipient"))),
            "recipient",
        ),
        (
            changed(&|task| task["recipient"] = json!("ssh-rsa AAAA")),
            "recipient",
        ),
        (
            changed(&|task| task["grant"]["resource"]["path"] = json!(["app", "a\u{0}b"])),
            "resource.path",
        ),
        (
            changed(&|task| {
                let unknown = json!("019a0000-0000-7000-8000-000000000000");
                task["integration"] = unknown.clone();
                task["grant"]["integration"] = unknown;
            }),
            "019a0000-0000-7000-8000-000000000000",
        ),
    ]
}

/// Finds the answer that handed out the first order of a kind.
fn order_of(calls: &[Call], kind: &str) -> Option<Value> {
    let answers = calls.iter().filter(|call| call.line.contains("/lease "));
    let mut found = answers
        .filter_map(|call| body(&call.answered))
        .flat_map(|answer| {
            let tasks = answer["tasks"].as_array().cloned().unwrap_or_default();
            let header = answer["header"].clone();
            tasks
                .into_iter()
                .map(move |task| json!({"header": header, "tasks": [task]}))
        });
    found.find(|answer| answer["tasks"][0]["kind"] == kind)
}

fn results_of(calls: &[Call], order: &Value) -> Vec<Value> {
    let path = format!(
        "/tasks/{}/result ",
        order["tasks"][0]["id"].as_str().unwrap()
    );
    let of_it = calls.iter().filter(|call| call.line.contains(&path));
    of_it.filter_map(|call| body(&call.asked)).collect()
}

fn result_of(calls: &[Call], task: &str) -> Option<Value> {
    results_of(calls, &json!({"tasks": [{"id": task}]})).pop()
}

fn body(message: &[u8]) -> Option<Value> {
    let text = String::from_utf8_lossy(message);
    serde_json::from_str(text.split_once("\r\n\r\n")?.1).ok()
}
