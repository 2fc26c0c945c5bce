//! What keeps what away.

use super::{BANK, PATIENCE, SHOP, Stage, Table, code, message, organization, wish};
use crate::support::aws::front::{Knobs, LockScope};
use std::time::Duration;

const CONFLICT: &str = "ConflictException";

/// Operations take until the clock is moved.
fn slow() -> Knobs {
    Knobs {
        due: (Duration::from_secs(30), Duration::from_secs(30)),
        ..Knobs::quick()
    }
}

#[tokio::test]
async fn one_operation_at_a_time_for_an_account_and_a_set() {
    let stage = Stage::of(organization().knobs(slow())).await;
    let mut table = Table::default();
    let conflict = || Err(CONFLICT.to_owned());
    let (alice, bob) = (
        wish(SHOP, "ReadOnly", "alice"),
        wish(SHOP, "ReadOnly", "bob"),
    );
    stage.create(&alice).await.unwrap();
    table.line("the same again", stage.create(&alice).await, conflict());
    table.line(
        "somebody else, same account and set",
        stage.create(&bob).await,
        conflict(),
    );
    table.line(
        "taking it away at once",
        stage.delete(&alice).await,
        conflict(),
    );
    table.line(
        "provisioning that account",
        stage.provision("ReadOnly", Some(SHOP)).await,
        conflict(),
    );
    table.line(
        "another set",
        stage.create(&wish(SHOP, "Admin", "alice")).await.is_ok(),
        true,
    );
    table.line(
        "another account",
        stage.create(&wish(BANK, "ReadOnly", "alice")).await.is_ok(),
        true,
    );
    stage
        .front
        .turn(|knobs| knobs.lock_scope = LockScope::Account);
    stage.front.clock().advance(Duration::from_secs(31));
    stage.create(&bob).await.unwrap();
    table.line(
        "another set when accounts are locked whole",
        stage.create(&wish(SHOP, "Admin", "bob")).await,
        conflict(),
    );
    table.line(
        "another account all the same",
        stage.create(&wish(BANK, "Admin", "bob")).await.is_ok(),
        true,
    );
    stage
        .front
        .turn(|knobs| knobs.conflict_after = Duration::from_secs(5));
    stage.front.clock().advance(Duration::from_secs(31));
    table.line(
        "shortly after the end",
        stage.delete(&bob).await,
        conflict(),
    );
    stage.front.clock().advance(Duration::from_secs(5));
    table.line("a while after", stage.delete(&bob).await.is_ok(), true);
}

#[tokio::test]
async fn a_set_is_not_edited_while_it_is_provisioned() {
    let stage = Stage::of(organization().knobs(slow())).await;
    let mut table = Table::default();
    for account in [SHOP, BANK] {
        stage
            .create(&wish(account, "ReadOnly", "alice"))
            .await
            .unwrap();
    }
    stage.front.clock().advance(Duration::from_secs(31));
    stage.provision("ReadOnly", None).await.unwrap();
    let inline = || {
        stage
            .sso
            .put_inline_policy_to_permission_set()
            .instance_arn(stage.front.instance_arn())
            .permission_set_arn(stage.front.set_arn("ReadOnly"))
            .inline_policy("{}")
    };
    table.line(
        "an edit",
        message(inline().send().await),
        "There is a conflicting operation in process.",
    );
    let create = stage.create(&wish(BANK, "ReadOnly", "bob")).await;
    table.line(
        "an assignment in one of its accounts",
        create,
        Err(CONFLICT.to_owned()),
    );
    let one = stage.provision("ReadOnly", Some(SHOP)).await;
    table.line(
        "provisioning one of its accounts",
        one,
        Err(CONFLICT.to_owned()),
    );
    stage.front.clock().advance(Duration::from_secs(31));
    table.line("an edit afterwards", code(inline().send().await), "ok");
    stage
        .front
        .turn(|knobs| knobs.edit_lock = Duration::from_secs(2));
    table.line(
        "edits in quick order",
        code(inline().send().await),
        CONFLICT,
    );
    stage.front.clock().advance(Duration::from_secs(2));
    table.line("edits in good order", code(inline().send().await), "ok");
}

#[tokio::test]
async fn a_set_in_use_stays() {
    let stage = Stage::of(organization()).await;
    let mut table = Table::default();
    let alice = wish(SHOP, "ReadOnly", "alice");
    let arn = stage.front.set_arn("ReadOnly");
    let delete = || {
        stage
            .sso
            .delete_permission_set()
            .instance_arn(stage.front.instance_arn())
            .permission_set_arn(&arn)
    };
    stage.created(&alice).await;
    let text = "Could not delete because PermissionSet has ApplicationProfile associated with it.";
    table.line("while assigned", message(delete().send().await), text);
    stage
        .front
        .turn(|knobs| knobs.deprovision_lag = Duration::from_secs(30));
    stage.deleted(&alice).await;
    table.line("shortly after", code(delete().send().await), CONFLICT);
    stage.front.clock().advance(Duration::from_secs(30));
    table.line("later", code(delete().send().await), "ok");
    table.line(
        "and gone",
        stage.front.set_names(),
        vec!["Admin".to_owned()],
    );
    stage.front.rest(PATIENCE).await;
}
