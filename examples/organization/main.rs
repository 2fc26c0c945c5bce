//! Plays an AWS organization on this machine, for the demo: strict about signatures, order and time, with an account that was there
//! before the connector came. Says where it is, with which key, and its ids, as NAME=value lines; ends with its standard input.

mod support;

use aws_sdk_rds::types::Tag;
use std::error::Error;
use std::io::{Read, Write};
use std::time::Duration;
use support::aws::front::{
    Account, Front, Group, MANAGEMENT, Name, Organization, PermissionSet, REGION, Role, User,
};
use support::ldap::{Directory, Expected};

const SHOP: &str = "222222222222";
const WAREHOUSE: &str = "333333333333";
const VAULT: &str = "444444444444";
const RDS_PORT: i32 = 5432;
const READ_ONLY: &str = "arn:aws:iam::aws:policy/ReadOnlyAccess";
const ADMINISTRATOR: &str = "arn:aws:iam::aws:policy/AdministratorAccess";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let role = Role::new(MANAGEMENT, "apono-management", MANAGEMENT).external_id("here");
    let role_arn = role.arn().to_owned();
    let front = Front::start(organization().role(role)).await;
    let key = front.key(MANAGEMENT);
    let rds_host = database(&front).await?;
    // Stands behind the server's `pg_hba` for what RDS does itself.
    let directory = Directory::start(Expected {
        access_key: key.access_key_id().to_owned(),
        secret_key: key.secret_access_key().to_owned(),
        region: REGION.to_owned(),
        places: vec![format!("{rds_host}:{RDS_PORT}")],
        ahead: Duration::ZERO,
    });
    let lines = [
        ("AWS_ENDPOINT_URL", front.url()),
        ("AWS_REGION", REGION.to_owned()),
        ("AWS_ACCESS_KEY_ID", key.access_key_id().to_owned()),
        ("AWS_SECRET_ACCESS_KEY", key.secret_access_key().to_owned()),
        ("ROLE_ARN", role_arn),
        ("INSTANCE_ARN", front.instance_arn()),
        ("EXCLUDED_UNIT", front.unit_id("Suspended")),
        ("EXCLUDED", VAULT.to_owned()),
        ("SHOP", SHOP.to_owned()),
        ("WAREHOUSE", WAREHOUSE.to_owned()),
        ("READ_ONLY_SET", front.set_arn("ReadOnly")),
        ("ADMIN_SET", front.set_arn("Admin")),
        ("ALICE", front.id_of(&Name::user("alice"))),
        ("OPERATORS", front.id_of(&Name::group("Operators"))),
        ("RDS_HOST", rds_host),
        ("TOKEN_PORT", directory.port.to_string()),
        ("END", String::new()),
    ];
    let mut out = std::io::stdout();
    for (name, value) in lines {
        writeln!(out, "{name}={value}")?;
    }
    out.flush()?;
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await??;
    Ok(())
}

/// Makes a database server that asks by its tags to be managed; returns its name.
async fn database(front: &Front) -> Result<String, Box<dyn Error>> {
    let client = aws_sdk_rds::Client::new(&front.sdk(MANAGEMENT, REGION));
    let mut call = client.create_db_instance().db_instance_identifier("orders");
    for (key, value) in [
        ("apono-connect", "true"),
        ("apono-auth-type", "iam"),
        ("apono-database", "orders"),
    ] {
        call = call.tags(Tag::builder().key(key).value(value).build());
    }
    let call = call.db_instance_class("db.t3.micro").engine("postgres");
    let call = call.port(RDS_PORT).enable_iam_database_authentication(true);
    let call = call.allocated_storage(20).master_username("root");
    let call = call.master_user_password("a-password-of-a-master");
    call.send().await?;
    let found = client.describe_db_instances().send().await?;
    let endpoint = found
        .db_instances()
        .iter()
        .find_map(|one| one.endpoint()?.address());
    Ok(endpoint.ok_or("the database has no address")?.to_owned())
}

fn organization() -> Organization {
    Organization::new()
        .account(Account::new(SHOP).named("shop").within("Production"))
        .account(
            Account::new(WAREHOUSE)
                .named("warehouse")
                .within("Production/Logistics"),
        )
        .account(Account::new(VAULT).named("old-vault").within("Suspended"))
        .user(User::new("alice").email("alice@example.com"))
        .user(User::new("bob").email("bob@example.com"))
        .group(Group::new("Operators").member("bob"))
        .permission_set(
            PermissionSet::new("ReadOnly")
                .session("PT1H")
                .managed(READ_ONLY),
        )
        .permission_set(
            PermissionSet::new("Admin")
                .session("PT1H")
                .managed(ADMINISTRATOR),
        )
        // Stood before anybody asked, and is to stand afterwards.
        .assigned(WAREHOUSE, "ReadOnly", Name::group("Operators"))
}
