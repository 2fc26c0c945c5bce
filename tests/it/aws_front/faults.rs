//! Faults on demand, each shown to have come to pass.

use super::{PATIENCE, SHOP, Stage, Table, code, organization, wish};
use crate::support::aws::front::{Fault, Kind, Name};
use aws_sdk_ssoadmin::types::StatusValues::{Failed, Succeeded};
use std::time::Duration;

#[tokio::test]
async fn calls_fail_before_and_after_their_effect() {
    let stage = Stage::of(organization()).await;
    let mut table = Table::default();
    let alice = wish(SHOP, "ReadOnly", "alice");
    let create = async |fault: Fault| {
        let fired = stage.front.fault("CreateAccountAssignment", 0, 1, fault);
        let asked = stage.create(&alice).await.map(|_| ());
        stage.front.rest(PATIENCE).await;
        let there = stage.front.is_assigned(SHOP, "ReadOnly", &alice.name);
        stage.front.unassign(SHOP, "ReadOnly", &alice.name);
        (fired.times(), asked, there)
    };
    let failed = |code: &str| Err(code.to_owned());
    table.line(
        "500 before",
        create(Fault::server_error()).await,
        (1, failed("InternalServerException"), false),
    );
    table.line(
        "500 after",
        create(Fault::server_error_after()).await,
        (1, failed("InternalServerException"), true),
    );
    table.line(
        "no answer",
        create(Fault::AnswerLost).await,
        (1, failed("no answer"), true),
    );
    table.line(
        "half an answer",
        create(Fault::AnswerCut).await,
        (1, failed("half an answer"), true),
    );
    table.line(
        "throttled",
        create(Fault::throttled()).await,
        (1, failed("ThrottlingException"), false),
    );
    table.line(
        "conflict",
        create(Fault::conflict()).await,
        (1, failed("ConflictException"), false),
    );
    let storm = stage.front.fault("ListInstances", 1, 2, Fault::throttled());
    let mut codes = Vec::new();
    for _ in 0..4 {
        codes.push(code(stage.sso.list_instances().send().await));
    }
    table.line(
        "the second and third call",
        codes,
        ["ok", "ThrottlingException", "ThrottlingException", "ok"]
            .map(str::to_owned)
            .to_vec(),
    );
    table.line("and no other", storm.times(), 2);
}

#[tokio::test]
async fn operations_end_otherwise_than_they_should() {
    let stage = Stage::of(organization()).await;
    let mut table = Table::default();
    let alice = wish(SHOP, "ReadOnly", "alice");
    let there = || stage.front.is_assigned(SHOP, "ReadOnly", &alice.name);
    let plan = |fault: Fault| stage.front.fault("CreateAccountAssignment", 0, 1, fault);
    plan(Fault::FailsUnexpectedly);
    let (status, reason) = stage.created(&alice).await;
    table.line("fails", (status, there()), (Failed, false));
    table.says("fails", &reason, "An unexpected internal service exception");
    plan(Fault::FailsWithEffect);
    table.line(
        "fails, and is there",
        (stage.created(&alice).await.0, there()),
        (Failed, true),
    );
    let takes = plan(Fault::Takes(Duration::from_secs(600)));
    stage.create(&alice).await.unwrap();
    table.line(
        "takes long",
        (stage.front.running(Kind::Create), takes.times()),
        (1, 1),
    );
    stage.front.clock().advance(Duration::from_secs(600));
    table.line("and ends", stage.front.running(Kind::Create), 0);
    let role = stage.front.role_arn(SHOP, "ReadOnly");
    stage.front.remake_role(SHOP, "ReadOnly");
    table.line(
        "its role is another",
        stage.front.role_arn(SHOP, "ReadOnly") == role,
        false,
    );
    stage.front.assign(SHOP, "Admin", &Name::group("dbas"));
    let group = super::Wish {
        account: SHOP,
        set: "Admin",
        name: Name::group("dbas"),
    };
    table.line(
        "what others did is there",
        stage.deleted(&group).await.0,
        Succeeded,
    );
    let calls = stage.front.calls_of("DeleteAccountAssignment");
    table.line(
        "calls name their account",
        calls[0].account.as_deref(),
        Some(SHOP),
    );
    table.line("and their operation", calls[0].request_id.is_some(), true);
    table.says("and their caller", &calls[0].caller, "user/tester");
    table.says("and their program", &calls[0].user_agent, "aws-sdk-rust");
    table.line("and their region", calls[0].region.as_str(), "eu-west-1");
    table.line("all of them", stage.front.calls().len() > 4, true);
    plan(Fault::NeverEnds);
    stage
        .front
        .turn(|knobs| knobs.signature_age = Duration::from_secs(2 * 86_400));
    stage.create(&alice).await.unwrap();
    stage.front.clock().advance(Duration::from_secs(86_400));
    table.line("never ends", stage.front.running(Kind::Create), 1);
}
