//! Permission sets of declared permissions: made on first use, kept as declared, removed with their grant or when unused.

use super::{PROD, TEST, alice, organization};
use crate::support::aws::front::{
    Account, Fault, Front, Knobs, MANAGEMENT, Name, Organization, PermissionSet, Role,
};
use crate::support::aws::proxy::{Act, Proxy, Rule};
use crate::support::realm::{LATEST_LANDING_S, Realm};
use serde_json::json;
use std::fs;
use std::time::Duration;

const READ: &str = "arn:aws:iam::aws:policy/ReadOnlyAccess";
const AUDIT: &str = "arn:aws:iam::aws:policy/SecurityAudit";

/// What the tests declare: everything a declaration can have.
fn declared() -> String {
    json!({
        "description": "For auditors",
        "session_duration": "PT2H",
        "managed_policies": [READ],
        "customer_managed_policies": [{"name": "limits", "path": "/team/"}],
        "inline_policy": {"Version": "2012-10-17", "Statement": []},
        "permissions_boundary": {"customer_managed_policy": {"name": "edge"}},
    })
    .to_string()
}

/// Production has the policies of the account itself that are declared.
fn with_policies() -> Organization {
    let account = |id: &str| Account::new(id).policy("/team/limits").policy("/edge");
    (0..6).fold(organization(), |organization, number| {
        organization.account(account(&place(number)))
    })
}

fn place(number: usize) -> String {
    format!("{:012}", 500_000_000_000_usize + number)
}

fn made(front: &Front) -> Vec<String> {
    let mut names = front.set_names();
    names.retain(|name| name.starts_with("Auditor-"));
    names
}

/// Ends a grant and waits until nothing is left of it.
fn end(realm: &Realm, grant: &str) {
    drop(realm.world.command(&["revoke", grant]));
    realm.world.until("the grant is over and clean", |_| {
        realm.state(grant) == "ended"
    });
}

fn all_are(realm: &Realm, states: &[&str]) -> bool {
    let is = |state: &serde_json::Value| states.iter().any(|one| state == one);
    realm.listed().iter().all(|grant| is(&grant["state"]))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_declared_permission_is_made_for_each_grant_and_removed_with_it() {
    let text = declared();
    let realm = Realm::start(with_policies(), &[("permission.Auditor", &text)]).await;
    let (front, account) = (&realm.front, place(0));
    let before = front.set_names().len();
    let first = realm
        .grant(&account, "Auditor", "alice@example.com", "1h")
        .unwrap();
    let second = realm.grant(&account, "Auditor", "user:bob", "1h").unwrap();
    let name_of = |grant: &str| realm.detail(grant, "details", "permission_set").unwrap();
    let (alices, bobs) = (name_of(&first.grant), name_of(&second.grant));
    assert_ne!(alices, bobs);
    assert!(front.is_assigned(&account, &alices, &alice()));
    assert!(front.is_assigned(&account, &bobs, &Name::user("bob")));
    let link = realm.detail(&first.grant, "details", "sign_in_url");
    assert!(link.unwrap().ends_with(&alices));
    let set = front.definition(&alices);
    assert_eq!(
        (set.description.as_deref(), set.session.as_deref()),
        (Some("For auditors"), Some("PT2H"))
    );
    assert_eq!(set.managed, [READ.to_owned()].into());
    assert_eq!(
        set.customer,
        [("/team/".to_owned(), "limits".to_owned())].into()
    );
    assert!(set.inline.unwrap().contains("2012-10-17"));
    let boundary = set.boundary.unwrap();
    assert_eq!(boundary["CustomerManagedPolicyReference"]["Name"], "edge");
    assert_eq!(set.tags["apono-connector"], "test-connector");
    assert_eq!(set.tags["apono-grant"], first.grant);
    let expiry = |name: &str| front.definition(name).tags["apono-expiry"].clone();
    let at_first = expiry(&alices);
    let extend = ["extend", first.grant.as_str(), "--for", "2h"];
    realm.world.command(&extend).unwrap();
    assert!(expiry(&alices) > at_first);
    // A set that was made for somebody is nobody else's to ask for.
    let error = realm.grant(&account, &bobs, "alice@example.com", "1h");
    assert!(error.unwrap_err().contains("made for one grant"));
    end(&realm, &first.grant);
    assert_eq!(made(front), [bobs]);
    let role = realm.detail(&first.grant, "end_details", "role");
    assert_eq!(role.as_deref(), Some("deleted with its last assignment"));
    end(&realm, &second.grant);
    assert_eq!((made(front), front.set_names().len()), (vec![], before));
    assert!(front.assignments().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_declaration_reaches_the_sets_in_use_and_their_accounts() {
    let text = declared();
    // Like the real one: an edit spreads for a while, and a set is not let go of at once.
    let slow = with_policies().knobs(Knobs {
        edit_lock: Duration::from_millis(100),
        deprovision_lag: Duration::from_secs(2),
        due: (Duration::from_millis(100), Duration::from_millis(300)),
        signature_age: Duration::from_secs(LATEST_LANDING_S),
        ..Knobs::quick()
    });
    let realm = Realm::start(slow, &[("permission.Auditor", &text)]).await;
    let (front, account) = (&realm.front, place(0));
    let login = realm
        .grant(&account, "Auditor", "alice@example.com", "1h")
        .unwrap();
    let name = made(front).remove(0);
    let changed = json!({"managed_policies": [AUDIT], "session_duration": "PT1H"});
    let setting = format!("--setting=permission.Auditor={changed}");
    let change = ["integration", "change", "organization", &setting];
    realm.world.command(&change).unwrap();
    realm.world.until("the set holds what is declared", |_| {
        let set = front.definition(&name);
        set.managed == [AUDIT.to_owned()].into()
            && (set.customer.len(), &set.inline, &set.boundary) == (0, &None, &None)
            && set.session.as_deref() == Some("PT1H")
            && front.is_current(&account, &name)
    });
    // One that cannot be used is not taken over while grants are open: they must find their end.
    let bad = "--setting=permission.Auditor={}";
    let change = ["integration", "change", "organization", bad];
    realm.world.command(&change).unwrap();
    realm.world.until("the bad one is told", |world| {
        world.logs().contains("settings that cannot be used")
    });
    assert!(front.is_assigned(&account, &name, &alice()));
    let change = ["integration", "change", "organization", &setting];
    realm.world.command(&change).unwrap();
    realm
        .world
        .until("the good one is in force again", |world| {
            let said = fs::read_to_string(world.path("connector.err")).unwrap();
            said.matches("`organization` taken over").count() == 3
        });
    // The grant goes on, and others begin with the new one.
    assert!(front.is_assigned(&account, &name, &alice()));
    let other = realm.grant(&account, "Auditor", "user:bob", "1h").unwrap();
    let its = realm.detail(&other.grant, "details", "permission_set");
    assert_eq!(
        front.definition(&its.unwrap()).managed,
        [AUDIT.to_owned()].into()
    );
    end(&realm, &login.grant);
    end(&realm, &other.grant);
    assert!(made(front).is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_foreign_set_is_never_taken_for_a_declared_one() {
    let text = declared();
    let foreign = PermissionSet::new("Auditor").managed(AUDIT);
    let settings = [
        ("permission.Auditor", text.as_str()),
        ("permission.Reader", text.as_str()),
        ("permission_set_per", "person"),
    ];
    let realm = Realm::start(with_policies().permission_set(foreign), &settings).await;
    let (front, account) = (&realm.front, place(0));
    let ask = |permission| realm.grant(&account, permission, "alice@example.com", "1h");
    let error = ask("Auditor").unwrap_err();
    assert!(error.contains("which is not ours"), "{error}");
    // One that lost its marks is nobody's we know.
    let login = ask("Reader").unwrap();
    end(&realm, &login.grant);
    let name = realm
        .detail(&login.grant, "details", "permission_set")
        .unwrap();
    front.untag_set(&name, "apono-integration");
    front.edit_set(&name, |set| set.managed.clear());
    let error = ask("Reader").unwrap_err();
    assert!(error.contains("not its tags"), "{error}");
    assert!(front.definition(&name).managed.is_empty());
    assert_eq!(
        front.definition("Auditor").managed,
        [AUDIT.to_owned()].into()
    );
    assert!(front.definition("Auditor").tags.is_empty());
    assert!(front.assignments().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_persons_set_is_used_again_and_removed_when_nobody_needs_it() {
    let text = declared();
    let settings = [
        ("permission.Auditor", text.as_str()),
        ("permission_set_per", "person"),
    ];
    let realm = Realm::start(with_policies(), &settings).await;
    let front = &realm.front;
    let ask = |account: &str| {
        let login = realm.grant(account, "Auditor", "alice@example.com", "1h");
        login.unwrap()
    };
    let first = ask(&place(0));
    let second = ask(&place(1));
    let same = realm
        .grant(&place(1), "Auditor", "user:alice", "1h")
        .unwrap();
    let names = made(front);
    assert_eq!(names.len(), 1);
    assert_eq!(front.assignments().len(), 2);
    for grant in [&first.grant, &second.grant] {
        end(&realm, grant);
    }
    assert!(front.is_assigned(&place(1), &names[0], &alice()));
    end(&realm, &same.grant);
    assert!(front.assignments().is_empty());
    realm.world.until("it is marked as unused", |_| {
        let tags = front.definition(&names[0]).tags;
        tags.get("apono-unused-since")
            .is_some_and(|since| !since.is_empty())
    });
    let again = ask(&place(2));
    assert_eq!(made(front), names);
    assert_eq!(front.definition(&names[0]).tags["apono-unused-since"], "");
    end(&realm, &again.grant);
    let setting = "--setting=permission_set_keep_unused_s=0";
    let change = ["integration", "change", "organization", setting];
    realm.world.command(&change).unwrap();
    realm
        .world
        .until("it is removed", |_| made(front).is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_that_fails_after_its_set_was_made_takes_it_away_again() {
    let text = declared();
    let realm = Realm::start(with_policies(), &[("permission.Auditor", &text)]).await;
    // This account has no policy of that name.
    let error = realm.grant(TEST, "Auditor", "alice@example.com", "1h");
    let error = error.unwrap_err();
    assert!(error.contains("Not supported policy"), "{error}");
    assert_eq!(realm.front.calls_of("CreatePermissionSet").len(), 1);
    realm
        .world
        .until("nothing is left", |_| made(&realm.front).is_empty());
    assert!(realm.front.assignments().is_empty());
}

/// Every call a life of a set takes.
const CALLS: [&str; 11] = [
    "ListPermissionSets",
    "CreatePermissionSet",
    "AttachManagedPolicyToPermissionSet",
    "AttachCustomerManagedPolicyReferenceToPermissionSet",
    "PutInlinePolicyToPermissionSet",
    "PutPermissionsBoundaryToPermissionSet",
    "TagResource",
    "CreateAccountAssignment",
    "DeleteAccountAssignment",
    "ListTagsForResource",
    "DeletePermissionSet",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_answers_at_every_call_end_in_one_set_for_each_grant_and_in_none() {
    let text = declared();
    let settings = [("permission.Auditor", text.as_str())];
    let mut realm = Realm::prepare(with_policies(), &settings).await;
    let proxy = Proxy::before(realm.front.port).await;
    realm.go_through(&proxy.url());
    realm.begin();
    for (what, act) in [
        ("cut before", Some(Act::CutBefore)),
        ("cut after", Some(Act::CutAfter)),
        ("cut in the middle", Some(Act::CutMidBody)),
        ("a conflict", None),
    ] {
        let places: Vec<String> = (0..4).map(place).collect();
        let mut sprung = Vec::new();
        let mut fired = Vec::new();
        for call in CALLS {
            match &act {
                Some(act) => sprung.push(proxy.rule(Rule::once(call, act.clone()))),
                None => fired.push(realm.front.fault(call, 0, 1, Fault::conflict())),
            }
        }
        std::thread::scope(|scope| {
            for account in &places {
                let realm = &realm;
                scope.spawn(move || realm.ask(account, "Auditor", "alice@example.com", "1h"));
            }
        });
        realm
            .world
            .until(&format!("{what}: every grant is active"), |_| {
                all_are(&realm, &["active", "ended"])
            });
        assert_eq!(made(&realm.front).len(), places.len(), "{what}");
        assert_eq!(realm.front.assignments().len(), places.len(), "{what}");
        for grant in realm.listed().iter().filter(|one| one["state"] == "active") {
            let id = grant["grant"]["id"].as_str().unwrap();
            drop(realm.world.command(&["revoke", id, "--wait", "0s"]));
        }
        realm
            .world
            .until(&format!("{what}: every grant is over and clean"), |_| {
                all_are(&realm, &["ended"])
            });
        assert_eq!(made(&realm.front), Vec::<String>::new(), "{what}");
        assert!(realm.front.assignments().is_empty(), "{what}");
        let times: Vec<usize> = match act {
            Some(_) => sprung.iter().map(|one| one.times()).collect(),
            None => fired.iter().map(|one| one.times()).collect(),
        };
        assert_eq!(times, vec![1; CALLS.len()], "{what}");
    }
}

/// Kills the process while it makes sets: one set is on its way, one has no policies yet, one is complete and not assigned.
async fn killed_while_making(empty_disk: bool) {
    let text = declared();
    let settings = [("permission.Auditor", text.as_str())];
    let mut realm = Realm::prepare(with_policies(), &settings).await;
    let proxy = Proxy::before(realm.front.port).await;
    realm.go_through(&proxy.url());
    realm.begin();
    let held: Vec<_> = CALLS[1..3]
        .iter()
        .chain(["CreateAccountAssignment"].iter())
        .map(|call| proxy.rule(Rule::once(call, Act::Hold)))
        .collect();
    for (number, held) in held.iter().enumerate() {
        realm.ask(&place(number), "Auditor", "alice@example.com", "16s");
        realm
            .world
            .until("a call is held back", |_| held.times() == 1);
    }
    assert_eq!(made(&realm.front).len(), 2);
    realm.world.kill_connector();
    for held in &held {
        held.release_all();
    }
    if empty_disk {
        fs::remove_dir_all(realm.world.path("state")).unwrap();
    }
    realm.begin();
    realm.world.until("every grant is over", |_| {
        all_are(&realm, &["ended", "failed"])
    });
    realm
        .world
        .until("nothing is left", |_| made(&realm.front).is_empty());
    assert!(realm.front.assignments().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_dies_while_it_makes_sets_leaves_none() {
    killed_while_making(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_dies_with_its_disk_while_it_makes_sets_leaves_none() {
    killed_while_making(true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_set_nobody_knows_goes_with_what_it_gives_when_its_marks_say_that_it_is_over() {
    let mut realm = Realm::prepare(organization(), &[]).await;
    let integration = realm.world.integration("organization")["id"].clone();
    let integration = integration.as_str().unwrap();
    let grant = "018f0000-0000-7000-8000-000000000001";
    let marked = |name: &str, connector: &str, expiry: &str| {
        PermissionSet::new(name)
            .tag("apono-connector", connector)
            .tag("apono-integration", integration)
            .tag("apono-permission", "Auditor")
            .tag("apono-grant", grant)
            .tag("apono-expiry", expiry)
    };
    let (past, future) = ("2020-01-01T00:00:00Z", "2099-01-01T00:00:00Z");
    let front = &realm.front;
    front.make_set(marked("Auditor-aaaaaaaaaa", "test-connector", past));
    front.make_set(marked("Auditor-bbbbbbbbbb", "test-connector", future));
    front.make_set(marked("Auditor-cccccccccc", "another", past));
    front.make_set(PermissionSet::new("Auditor-dddddddddd"));
    for name in made(front) {
        front.assign(PROD, &name, &Name::user("bob"));
    }
    realm.begin();
    let front = &realm.front;
    realm.world.until("the one that is over is gone", |_| {
        !made(front).contains(&"Auditor-aaaaaaaaaa".to_owned())
    });
    let mut left = made(front);
    left.sort();
    let names = ["bbbbbbbbbb", "cccccccccc", "dddddddddd"];
    assert_eq!(left, names.map(|hash| format!("Auditor-{hash}")));
    assert_eq!(front.assignments().len(), 3);
    realm.world.until("it is said", |world| {
        world.logs().contains("which nobody knows")
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_conditions_of_the_list_of_actions_are_enough_for_declared_permissions() {
    let realm = Realm::prepare(with_policies(), &[]).await;
    let (asked, ours) = (
        "aws:RequestTag/apono-connector",
        "aws:ResourceTag/apono-connector",
    );
    let allow = |actions: &[&str], key: Option<&str>| {
        let mut statement = json!({"Effect": "Allow", "Action": actions, "Resource": "*"});
        if let Some(key) = key {
            statement["Condition"] = json!({"StringEquals": {key: "test-connector"}});
        }
        statement
    };
    let reads = [
        "sso:List*",
        "sso:Describe*",
        "sso:Get*",
        "identitystore:*",
        "organizations:*",
    ];
    let edits = [
        "sso:UpdatePermissionSet",
        "sso:Attach*",
        "sso:Detach*",
        "sso:Put*",
        "sso:Delete*Policy*",
        "sso:DeletePermissions*",
        "sso:DeletePermissionSet",
    ];
    let orders = ["sso:*AccountAssignment", "sso:ProvisionPermissionSet"];
    let makes = ["sso:CreatePermissionSet", "sso:TagResource"];
    // The instance has no tag of ours; the edits of a set need both.
    let mut instance = allow(&edits, None);
    instance["Resource"] = json!("arn:aws:sso:::instance/*");
    let policy = json!({"Version": "2012-10-17", "Statement": [
        allow(&reads, None),
        allow(&orders, None),
        allow(&makes, Some(asked)),
        instance,
        allow(&edits, Some(ours)),
    ]});
    let role = Role::new(MANAGEMENT, "narrow", MANAGEMENT);
    let role = role.external_id("test-connector").policy(policy);
    let arn = role.arn().to_owned();
    realm.front.add_role(role);
    let text = declared();
    let settings = [
        ("sso_region", "eu-west-1"),
        ("management_role_arn", arn.as_str()),
        ("permission.Auditor", text.as_str()),
    ];
    realm
        .world
        .add_integration_of("narrow", "aws-organization", &settings);
    let mut realm = realm;
    realm.begin();
    let how = ["--permission", "Auditor", "--for", "1h"];
    let resource = ["aws-organization-account", &place(0)];
    let login = realm
        .world
        .grant_in("narrow", &resource, "alice@example.com", &how)
        .unwrap();
    assert_eq!(made(&realm.front).len(), 1);
    end(&realm, &login.grant);
    assert!(made(&realm.front).is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn declarations_that_cannot_be_used_are_named_in_the_status() {
    let mut realm = Realm::prepare(organization(), &[]).await;
    let cases = [
        (
            "unknown",
            "permission.Auditor",
            "{\"policies\": []}",
            "unknown field `policies`",
        ),
        ("level", "permission.ADMIN", "{}", "has no proper name"),
        (
            "owner",
            "permission_set_per",
            "month",
            "must be `grant` or `person`",
        ),
        ("time", "permission_set_keep_unused_s", "-1", "must be 0 to"),
    ];
    let role = format!("arn:aws:iam::{MANAGEMENT}:role/apono-management");
    for (name, setting, value, _) in cases {
        let settings = [
            ("sso_region", "eu-west-1"),
            ("management_role_arn", role.as_str()),
            (setting, value),
        ];
        realm
            .world
            .add_integration_of(name, "aws-organization", &settings);
    }
    realm.begin();
    for (name, _, _, words) in cases {
        realm.world.until(&format!("`{words}` is told"), |world| {
            let seen = world.integration(name);
            let message = seen["message"].as_str().unwrap_or_default();
            seen["status"] == "error" && message.contains(words)
        });
    }
}
