//! The strict front is strict: each rule it has to keep has a line in a table here, asked with the real SDK.
#![expect(clippy::too_many_lines, reason = "tables, one line for a rule")]

mod conflicts;
mod door;
mod faults;
mod identities;
mod organizations;
mod outcomes;
mod reading;
mod sessions;
mod sets;
mod shapes;

use crate::support::aws::front::{
    Account, Front, Group, Knobs, MANAGEMENT, Name, Organization, PermissionSet, REGION, User,
};
use aws_sdk_ssoadmin::Client;
use aws_sdk_ssoadmin::config::http::HttpResponse;
use aws_sdk_ssoadmin::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_ssoadmin::types::{PrincipalType, StatusValues, TargetType};
use std::fmt::Debug;
use std::time::Duration;

/// Member accounts of the small organization.
const SHOP: &str = "222222222222";
const BANK: &str = "333333333333";
/// What is waited for at most.
const PATIENCE: Duration = Duration::from_secs(60);

/// Rules and whether they hold; shows all that do not.
#[derive(Default)]
struct Table {
    broken: Vec<String>,
}

impl Table {
    fn line<T: PartialEq<U> + Debug, U: Debug>(&mut self, rule: &str, got: T, expected: U) {
        if got != expected {
            self.broken
                .push(format!("{rule}: expected {expected:?}, got {got:?}"));
        }
    }

    fn says(&mut self, rule: &str, got: &str, part: &str) {
        if !got.contains(part) {
            self.broken
                .push(format!("{rule}: expected …{part}…, got {got}"));
        }
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        assert!(
            std::thread::panicking() || self.broken.is_empty(),
            "rules the front does not keep:\n{}",
            self.broken.join("\n")
        );
    }
}

/// Returns `ok`, the code of the refusal, or what else became of the call.
fn code<T, E: ProvideErrorMetadata>(outcome: Result<T, SdkError<E, HttpResponse>>) -> String {
    match outcome {
        Ok(_) => "ok".to_owned(),
        Err(SdkError::ServiceError(error)) => error.err().code().unwrap_or("no code").to_owned(),
        Err(SdkError::DispatchFailure(_)) => "no answer".to_owned(),
        Err(SdkError::ResponseError(_)) => "half an answer".to_owned(),
        Err(_) => "something else".to_owned(),
    }
}

/// Returns the message of a refusal.
fn message<T: Debug, E: ProvideErrorMetadata>(
    outcome: Result<T, SdkError<E, HttpResponse>>,
) -> String {
    match outcome {
        Err(SdkError::ServiceError(error)) => error.err().message().unwrap_or_default().to_owned(),
        other => format!("{:?}", other.map_err(|error| error.to_string())),
    }
}

/// Two accounts, a disabled user among three, two permission sets, nothing assigned.
fn organization() -> Organization {
    Organization::new()
        .account(
            Account::new(SHOP)
                .named("shop")
                .within("Prod/Payments")
                .tag("team", "shop"),
        )
        .account(Account::new(BANK).named("bank").within("Prod"))
        .user(User::new("alice").email("alice@example.com"))
        .user(User::new("bob").email("bob@example.com"))
        .user(User::new("gone").disabled())
        .group(Group::new("dbas").member("bob"))
        .permission_set(
            PermissionSet::new("ReadOnly")
                .session("PT2H")
                .tag("owner", "tests"),
        )
        .permission_set(PermissionSet::new("Admin"))
        .knobs(Knobs::quick())
}

/// A front whose clock stands still, and a client of its management account.
struct Stage {
    front: Front,
    sso: Client,
}

impl Stage {
    async fn of(organization: Organization) -> Self {
        let front = Front::start(organization).await;
        front.clock().stop();
        let sso = Client::new(&front.sdk(MANAGEMENT, REGION));
        Self { front, sso }
    }

    fn of_account(&self, account: &str) -> Client {
        Client::new(&self.front.sdk(account, REGION))
    }
}

/// An assignment to ask for, by names.
#[derive(Clone)]
struct Wish {
    account: &'static str,
    set: &'static str,
    name: Name,
}

fn wish(account: &'static str, set: &'static str, user: &str) -> Wish {
    Wish {
        account,
        set,
        name: Name::user(user),
    }
}

/// Status and reason an operation ended with.
type End = (StatusValues, String);

impl Stage {
    /// Asks for an assignment; returns the id of the operation, or the code of the refusal.
    async fn create(&self, wish: &Wish) -> Result<String, String> {
        self.create_for(wish, &self.front.id_of(&wish.name)).await
    }

    async fn create_for(&self, wish: &Wish, principal: &str) -> Result<String, String> {
        let asked = self
            .sso
            .create_account_assignment()
            .instance_arn(self.front.instance_arn())
            .target_id(wish.account)
            .target_type(TargetType::AwsAccount)
            .permission_set_arn(self.front.set_arn(wish.set))
            .principal_type(kind(&wish.name))
            .principal_id(principal)
            .send()
            .await;
        match asked {
            Ok(output) => Ok(output
                .account_assignment_creation_status()
                .unwrap()
                .request_id()
                .unwrap()
                .to_owned()),
            Err(error) => Err(code::<(), _>(Err(error))),
        }
    }

    async fn delete(&self, wish: &Wish) -> Result<String, String> {
        let asked = self
            .sso
            .delete_account_assignment()
            .instance_arn(self.front.instance_arn())
            .target_id(wish.account)
            .target_type(TargetType::AwsAccount)
            .permission_set_arn(self.front.set_arn(wish.set))
            .principal_type(kind(&wish.name))
            .principal_id(self.front.id_of(&wish.name))
            .send()
            .await;
        match asked {
            Ok(output) => Ok(output
                .account_assignment_deletion_status()
                .unwrap()
                .request_id()
                .unwrap()
                .to_owned()),
            Err(error) => Err(code::<(), _>(Err(error))),
        }
    }

    async fn created(&self, wish: &Wish) -> End {
        let id = self.create(wish).await.unwrap();
        self.end_of_create(&id).await
    }

    async fn end_of_create(&self, id: &str) -> End {
        self.front.rest(PATIENCE).await;
        let status = self
            .sso
            .describe_account_assignment_creation_status()
            .instance_arn(self.front.instance_arn())
            .account_assignment_creation_request_id(id)
            .send()
            .await
            .unwrap();
        let status = status.account_assignment_creation_status().unwrap();
        (
            status.status().unwrap().clone(),
            status.failure_reason().unwrap_or_default().to_owned(),
        )
    }

    async fn deleted(&self, wish: &Wish) -> End {
        let id = self.delete(wish).await.unwrap();
        self.front.rest(PATIENCE).await;
        let status = self
            .sso
            .describe_account_assignment_deletion_status()
            .instance_arn(self.front.instance_arn())
            .account_assignment_deletion_request_id(id)
            .send()
            .await
            .unwrap();
        let status = status.account_assignment_deletion_status().unwrap();
        (
            status.status().unwrap().clone(),
            status.failure_reason().unwrap_or_default().to_owned(),
        )
    }

    /// Returns what the list shows of an account and a permission set.
    async fn listed(&self, account: &str, set: &str) -> Vec<String> {
        let listed = self
            .sso
            .list_account_assignments()
            .instance_arn(self.front.instance_arn())
            .account_id(account)
            .permission_set_arn(self.front.set_arn(set))
            .send()
            .await
            .unwrap();
        listed
            .account_assignments()
            .iter()
            .map(|row| row.principal_id().unwrap().to_owned())
            .collect()
    }

    async fn provision(&self, set: &str, account: Option<&str>) -> Result<String, String> {
        let target = if account.is_some() {
            "AWS_ACCOUNT"
        } else {
            "ALL_PROVISIONED_ACCOUNTS"
        };
        let asked = self
            .sso
            .provision_permission_set()
            .instance_arn(self.front.instance_arn())
            .permission_set_arn(self.front.set_arn(set))
            .target_type(target.into())
            .set_target_id(account.map(str::to_owned))
            .send()
            .await;
        match asked {
            Ok(output) => Ok(output
                .permission_set_provisioning_status()
                .unwrap()
                .request_id()
                .unwrap()
                .to_owned()),
            Err(error) => Err(code::<(), _>(Err(error))),
        }
    }

    async fn provisioned(&self, set: &str, account: Option<&str>) -> End {
        let id = self.provision(set, account).await.unwrap();
        self.front.rest(PATIENCE).await;
        let status = self
            .sso
            .describe_permission_set_provisioning_status()
            .instance_arn(self.front.instance_arn())
            .provision_permission_set_request_id(id)
            .send()
            .await
            .unwrap();
        let status = status.permission_set_provisioning_status().unwrap();
        (
            status.status().unwrap().clone(),
            status.failure_reason().unwrap_or_default().to_owned(),
        )
    }
}

fn kind(name: &Name) -> PrincipalType {
    match name {
        Name::User(_) => PrincipalType::User,
        Name::Group(_) => PrincipalType::Group,
    }
}

#[tokio::test]
async fn an_assignment_is_under_way_before_it_is_there_and_takes_its_role_along_when_the_last_one_goes()
 {
    let stage = Stage::of(organization()).await;
    let mut table = Table::default();
    let (alice, bob) = (
        wish(SHOP, "ReadOnly", "alice"),
        wish(SHOP, "ReadOnly", "bob"),
    );
    let id = stage.create(&alice).await.unwrap();
    table.line(
        "nothing shows before the end",
        stage.listed(SHOP, "ReadOnly").await,
        Vec::<String>::new(),
    );
    table.line(
        "nor is there a role",
        stage.front.role_arn(SHOP, "ReadOnly"),
        None,
    );
    stage.front.clock().advance(Duration::from_secs(1));
    table.line(
        "the operation succeeds",
        stage.end_of_create(&id).await.0,
        StatusValues::Succeeded,
    );
    table.line(
        "the row is there",
        stage.listed(SHOP, "ReadOnly").await,
        vec![stage.front.id_of(&alice.name)],
    );
    let first_role = stage.front.role_arn(SHOP, "ReadOnly").unwrap();
    let id = stage.create(&bob).await.unwrap();
    stage.front.clock().advance(Duration::from_secs(1));
    table.line(
        "a second one succeeds",
        stage.end_of_create(&id).await.0,
        StatusValues::Succeeded,
    );
    table.line(
        "on the same role",
        stage.front.role_arn(SHOP, "ReadOnly"),
        Some(first_role.clone()),
    );
    for gone in [&alice, &bob] {
        stage.delete(gone).await.unwrap();
        stage.front.clock().advance(Duration::from_secs(1));
    }
    table.line(
        "the role goes with the last row",
        stage.front.role_arn(SHOP, "ReadOnly"),
        None,
    );
    table.line("nothing is assigned", stage.front.assignments().len(), 0);
    stage.create(&alice).await.unwrap();
    stage.front.clock().advance(Duration::from_secs(1));
    let next_role = stage.front.role_arn(SHOP, "ReadOnly").unwrap();
    table.line(
        "a role made anew has another name",
        next_role == first_role,
        false,
    );
    let history = stage.front.history();
    table.line("three spans", history.len(), 3);
    table.line(
        "first alice",
        *history[0].assignment.principal.id == *stage.front.id_of(&alice.name),
        true,
    );
    table.line("then bob", history[0].appeared < history[1].appeared, true);
    table.line(
        "two of them over",
        history
            .iter()
            .filter(|span| span.disappeared.is_some())
            .count(),
        2,
    );
    table.line(
        "at most one was under way",
        stage
            .front
            .most_outstanding(crate::support::aws::front::Kind::Create),
        1,
    );
}
