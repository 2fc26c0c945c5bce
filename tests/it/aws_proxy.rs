//! The fault proxy spoils what it is told to, and says so.

use crate::support::aws::emulators::{Emulator, sdk};
use crate::support::aws::front::{
    Account, Front, Knobs, MANAGEMENT, Name, Organization, PermissionSet, REGION, Refusal, User,
};
use crate::support::aws::proxy::{Act, Proxy, Rule, Sprung};
use aws_sdk_ssoadmin::Client;
use aws_sdk_ssoadmin::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_ssoadmin::types::{PrincipalType, TargetType};
use jiff::SignedDuration;
use std::time::{Duration, Instant};

const SHOP: &str = "222222222222";
const CREATE: &str = "CreateAccountAssignment";
const PATIENCE: Duration = Duration::from_secs(60);

struct Stage {
    front: Front,
    proxy: Proxy,
    sso: Client,
}

impl Stage {
    async fn new() -> Self {
        let organization = Organization::new()
            .account(Account::new(SHOP))
            .user(User::new("alice"))
            .permission_set(PermissionSet::new("ReadOnly"))
            .knobs(Knobs::quick());
        let front = Front::start(organization).await;
        let proxy = Proxy::before(front.port).await;
        let sso = Client::new(&sdk(&proxy.url(), REGION, front.key(MANAGEMENT)));
        Self { front, proxy, sso }
    }

    async fn create(&self) -> String {
        let asked = self
            .sso
            .create_account_assignment()
            .instance_arn(self.front.instance_arn())
            .target_id(SHOP)
            .target_type(TargetType::AwsAccount)
            .permission_set_arn(self.front.set_arn("ReadOnly"))
            .principal_type(PrincipalType::User)
            .principal_id(self.front.id_of(&Name::user("alice")))
            .send()
            .await;
        match asked {
            Ok(_) => "ok".to_owned(),
            Err(SdkError::ServiceError(error)) => error.err().code().unwrap_or_default().to_owned(),
            Err(SdkError::DispatchFailure(_)) => "no answer".to_owned(),
            Err(SdkError::ResponseError(_)) => "half an answer".to_owned(),
            Err(other) => format!("{other:?}"),
        }
    }

    /// Asks for the assignment, and is gone as soon as the proxy holds the request.
    async fn create_and_leave(&self, held: &Sprung, times: usize) {
        tokio::select! {
            said = self.create() => panic!("the client was answered: {said}"),
            () = held.until_times(times) => {}
        }
    }

    /// Tells whether the assignment is there once nothing is under way; takes it away again.
    async fn is_there(&self) -> bool {
        self.front.rest(PATIENCE).await;
        self.front.unassign(SHOP, "ReadOnly", &Name::user("alice"))
    }
}

#[tokio::test]
async fn connections_end_before_after_and_within_the_answer() {
    let stage = Stage::new().await;
    for (act, said, effect) in [
        (Act::CutBefore, "no answer", false),
        (Act::CutAfter, "no answer", true),
        (Act::CutMidBody, "half an answer", true),
    ] {
        let sprung = stage.proxy.rule(Rule::once(CREATE, act.clone()));
        assert_eq!(stage.create().await, said, "{act:?}");
        assert_eq!(
            (sprung.times(), stage.is_there().await),
            (1, effect),
            "{act:?}"
        );
    }
    assert_eq!(stage.create().await, "ok");
    assert!(stage.is_there().await);
}

#[tokio::test]
async fn answers_are_replaced_with_and_without_their_effect() {
    let stage = Stage::new().await;
    let down = || Refusal::new("InternalServerException", "down").status(503);
    let second = stage.proxy.rule(
        Rule::once(CREATE, Act::Answer(Refusal::rate()))
            .after(1)
            .of_service("sso"),
    );
    let elsewhere = stage
        .proxy
        .rule(Rule::every(Act::CutBefore).of_service("rds"));
    assert_eq!(stage.create().await, "ok");
    assert!(stage.is_there().await);
    assert_eq!(stage.create().await, "ThrottlingException");
    assert!(!stage.is_there().await);
    let after = stage
        .proxy
        .rule(Rule::once(CREATE, Act::AnswerAfter(down())).times(2));
    for _ in 0..2 {
        assert_eq!(stage.create().await, "InternalServerException");
        assert!(stage.is_there().await);
    }
    assert_eq!(
        (second.times(), after.times(), elsewhere.times()),
        (1, 2, 0)
    );
    assert_eq!(after.said()[0].0, 200);
}

#[tokio::test]
async fn a_held_request_arrives_after_its_client_has_gone() {
    let stage = Stage::new().await;
    let held = stage.proxy.rule(Rule::once(CREATE, Act::Hold).times(2));
    stage.create_and_leave(&held, 1).await;
    assert!(!stage.is_there().await);
    held.release();
    held.until_said(1).await;
    assert!(stage.is_there().await);

    // Held for longer than a signature is good for, it comes to nothing.
    stage.create_and_leave(&held, 2).await;
    stage.front.clock().advance(Duration::from_secs(16 * 60));
    held.release_all();
    held.until_said(2).await;
    let (status, body) = held.said()[1].clone();
    assert_eq!(status, 400);
    assert!(body.contains("Signature expired"), "{body}");
    assert!(!stage.is_there().await);
}

#[tokio::test]
async fn requests_are_delayed_and_dates_are_moved() {
    let stage = Stage::new().await;
    let delay = Duration::from_millis(200);
    let delayed = stage
        .proxy
        .rule(Rule::once("ListInstances", Act::Delay(delay)));
    let begin = Instant::now();
    stage.sso.list_instances().send().await.unwrap();
    assert!(begin.elapsed() >= delay);
    assert_eq!(delayed.times(), 1);
    let moved = stage
        .proxy
        .rule(Rule::every(Act::Date(SignedDuration::from_hours(24 * 365))));
    let client = reqwest::ClientBuilder::new().build().unwrap();
    let answer = client.post(stage.proxy.url()).send().await.unwrap();
    let date = answer.headers()["date"].to_str().unwrap().to_owned();
    let next_year = stage.front.clock().now() + SignedDuration::from_hours(24 * 365);
    assert!(
        date.contains(&next_year.strftime("%b %Y").to_string()),
        "{date}"
    );
    assert_eq!(moved.times(), 1);
}

#[tokio::test]
async fn emulators_are_spoiled_in_their_own_protocol() {
    let moto = Emulator::moto();
    let proxy = Proxy::before(moto.port).await;
    let sts = aws_sdk_sts::Client::new(&sdk(
        &proxy.url(),
        REGION,
        aws_credential_types::Credentials::new("AKIATEST", "any", None, None, "test"),
    ));
    let throttling = Refusal::new("Throttling", "Rate exceeded");
    let sprung =
        proxy.rule(Rule::once("GetCallerIdentity", Act::Answer(throttling)).of_service("sts"));
    let asked = sts.get_caller_identity().send().await;
    assert_eq!(asked.unwrap_err().code(), Some("Throttling"));
    let asked = sts.get_caller_identity().send().await;
    assert!(asked.unwrap().account().is_some());
    assert_eq!(sprung.times(), 1);
}
