//! Owns the strict front: an AWS that refuses whatever the real one refuses. Plays Identity Center, its identity store, Organizations
//! and STS from one state of its own, and passes the rest on to moto, in the account of whoever asks.
//!
//! What it does follows the rules written down for it from AWS's documentation, its published models and reports from the field;
//! what those leave open is a knob.

mod assignments;
mod callers;
mod chance;
mod clock;
mod door;
mod faults;
mod identities;
mod knobs;
mod observe;
mod operations;
mod organization;
mod organizations;
mod others;
mod outcomes;
mod pace;
mod pages;
mod policies;
mod refusal;
mod rows;
mod sessions;
mod sets;
mod shapes;
mod signature;
mod state;

pub(crate) use callers::Role;
pub(crate) use clock::Clock;
pub(crate) use faults::Fault;
pub(crate) use knobs::{Knobs, LockScope, Order, Paging, WrongRegion};
pub(crate) use observe::Call;
pub(crate) use operations::Kind;
pub(crate) use organization::{
    Account, Group, MANAGEMENT, Name, Organization, PermissionSet, REGION, State, User,
};
pub(crate) use refusal::Refusal;

use super::emulators::{Emulator, sdk};
use super::letter::{Letter, Protocol, read};
use super::wire::{Delivery, Request, Response, pass_on, serve};
use aws_config::SdkConfig;
use aws_credential_types::Credentials;
use clock::timestamp;
use faults::Moment as Stage;
use refusal::answer;
use serde_json::Value;
use signature::Signed;
use state::World;
use std::sync::{Arc, Mutex, MutexGuard};

/// A running front; ends with the test's runtime.
pub(crate) struct Front {
    pub(crate) port: u16,
    inner: Arc<Inner>,
}

struct Inner {
    world: Mutex<World>,
    clock: Clock,
}

/// What became of it.
struct Told {
    caller: Option<String>,
    /// Code of the refusal.
    refused: Option<String>,
    request_id: Option<String>,
}

impl Front {
    pub(crate) async fn start(organization: Organization) -> Self {
        let clock = Clock::default();
        let world = World::of(organization, clock.now().as_millisecond());
        let inner = Arc::new(Inner {
            world: Mutex::new(world),
            clock,
        });
        let served = Arc::clone(&inner);
        let port = serve(move |request| respond(Arc::clone(&served), request)).await;
        Self { port, inner }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.inner.clock
    }

    /// Returns a key of a user of an account who may do everything.
    pub(crate) fn key(&self, account: &str) -> Credentials {
        callers::key_of_account(account)
    }

    /// Returns what an SDK client of that user is made of. Nothing is tried twice.
    pub(crate) fn sdk(&self, account: &str, region: &'static str) -> SdkConfig {
        sdk(&self.url(), region, self.key(account))
    }

    /// The world as it is now: what is due has happened.
    fn world(&self) -> MutexGuard<'_, World> {
        self.inner.world()
    }
}

impl Inner {
    fn world(&self) -> MutexGuard<'_, World> {
        let mut world = self.world.lock().unwrap();
        world.settle(self.clock.moment());
        world
    }
}

async fn respond(inner: Arc<Inner>, request: Request) -> Delivery {
    let letter = read(&request);
    let owned = matches!(
        letter.service.as_str(),
        "sso" | "identitystore" | "organizations" | "sts"
    );
    let mut delivery = if owned {
        inner.answer(&request, &letter)
    } else {
        inner.hand_over(request, &letter).await
    };
    if let Delivery::Whole(response) | Delivery::Half(response) = &mut delivery {
        let date = inner
            .clock
            .now()
            .strftime("%a, %d %b %Y %H:%M:%S GMT")
            .to_string();
        response.set("date", date);
        response.set("x-amzn-requestid", "00000000-0000-4000-8000-000000000000");
    }
    delivery
}

impl Inner {
    /// Answers what the front owns.
    fn answer(&self, request: &Request, letter: &Letter) -> Delivery {
        let now = self.clock.moment();
        let mut world = self.world();
        let outcome = world.asked(request, letter, now);
        let after = outcome
            .1
            .as_ref()
            .ok()
            .and_then(|_| world.faults.take(&letter.operation, Stage::After));
        let (caller, outcome) = outcome;
        let response = match &outcome {
            Ok(body) => {
                let kind = match letter.protocol {
                    Protocol::Json => "application/x-amz-json-1.1",
                    Protocol::Query => "text/xml",
                };
                answer(200, kind, body.clone())
            }
            Err(refusal) => refusal.say(letter.protocol),
        };
        let refused = outcome.as_ref().err().map(|refusal| refusal.code.clone());
        let began = outcome
            .ok()
            .and_then(|body| request_id(&letter.operation, &body));
        let told = Told {
            caller,
            refused,
            request_id: began,
        };
        world.note(request, letter, told, now);
        match after {
            Some(Fault::AnswerLost) => Delivery::Nothing,
            Some(Fault::AnswerCut) => Delivery::Half(response),
            Some(Fault::RefusedAfter(refusal)) => Delivery::Whole(refusal.say(letter.protocol)),
            _ => Delivery::Whole(response),
        }
    }

    /// Passes on what the front does not own, once it is known who asks.
    async fn hand_over(&self, mut request: Request, letter: &Letter) -> Delivery {
        let now = self.clock.moment();
        let signed = {
            let mut world = self.world();
            let signed =
                signature::verify(&request, &world.callers, &world.knobs, now, letter.protocol);
            let fault = world.faults.take(&letter.operation, Stage::Before);
            let signed = match fault {
                Some(Fault::Refused(refusal)) => Err(refusal),
                _ => signed,
            };
            let caller = signed.as_ref().ok().map(|signed| signed.caller.arn.clone());
            let refused = signed.as_ref().err().map(|refusal| refusal.code.clone());
            let told = Told {
                caller,
                refused,
                request_id: None,
            };
            world.note(&request, letter, told, now);
            signed
        };
        let signed = match signed {
            Ok(signed) => signed,
            Err(refusal) => return Delivery::Whole(refusal.say(letter.protocol)),
        };
        let named = self.world().passes_to;
        let port = match named {
            Some(port) => port,
            // Starting it takes a second of waiting.
            None => tokio::task::spawn_blocking(|| Emulator::moto().port)
                .await
                .unwrap(),
        };
        request
            .headers
            .push(("x-moto-account-id".to_owned(), signed.caller.account));
        Delivery::Whole(
            pass_on(port, &request)
                .await
                .unwrap_or_else(|error| Response {
                    status: 502,
                    headers: Vec::new(),
                    body: error.to_string().into_bytes(),
                }),
        )
    }
}

impl World {
    /// Returns who asked, as far as that is known, and the answer.
    fn asked(
        &mut self,
        request: &Request,
        letter: &Letter,
        now: i64,
    ) -> (Option<String>, Result<String, Refusal>) {
        let signed =
            match signature::verify(request, &self.callers, &self.knobs, now, letter.protocol) {
                Ok(signed) => signed,
                Err(refusal) => return (None, Err(refusal)),
            };
        let caller = Some(signed.caller.arn.clone());
        (caller, self.told(&signed, letter, now))
    }

    fn told(&mut self, signed: &Signed, letter: &Letter, now: i64) -> Result<String, Refusal> {
        if signed.service != letter.service {
            let message = format!(
                "Credential should be scoped to correct service: '{}'.",
                letter.service
            );
            return Err(match letter.protocol {
                Protocol::Json => Refusal::new("InvalidSignatureException", message),
                Protocol::Query => Refusal::new("SignatureDoesNotMatch", message).status(403),
            });
        }
        if let Some(Fault::Refused(refusal)) = self.faults.take(&letter.operation, Stage::Before) {
            return Err(refusal);
        }
        let (operation, input) = (letter.operation.as_str(), &letter.input);
        match letter.service.as_str() {
            "sso" => self
                .sso(signed, operation, input, now)
                .map(|answer| answer.to_string()),
            "identitystore" => self
                .identitystore(signed, operation, input, now)
                .map(|answer| answer.to_string()),
            "organizations" => self
                .organizations(signed, operation, input, now)
                .map(|answer| answer.to_string()),
            _ => self.sts(signed, operation, input, now),
        }
    }

    fn note(&mut self, request: &Request, letter: &Letter, told: Told, now: i64) {
        let account = ["TargetId", "AccountId"]
            .iter()
            .find_map(|name| letter.input[*name].as_str());
        self.seen.calls.push(Call {
            at: timestamp(now),
            service: letter.service.clone(),
            operation: letter.operation.clone(),
            region: letter.region.clone(),
            caller: told.caller.unwrap_or_default(),
            account: account.map(str::to_owned),
            request_id: told.request_id,
            refused: told.refused,
            user_agent: request.header("user-agent").unwrap_or_default().to_owned(),
        });
    }
}

/// Returns the id of the operation a call began.
fn request_id(operation: &str, body: &str) -> Option<String> {
    if !matches!(
        operation,
        "CreateAccountAssignment" | "DeleteAccountAssignment" | "ProvisionPermissionSet"
    ) {
        return None;
    }
    let answer: Value = serde_json::from_str(body).ok()?;
    let status = answer.as_object()?.values().next()?;
    Some(status["RequestId"].as_str()?.to_owned())
}
