//! Owns the HTTP fault proxy: stands between the SDK and the front or an emulator, and spoils what rules say. Whatever it received
//! whole is dealt with to the end, even when the client has gone: as a network does.

use super::front::Refusal;
use super::letter::{Letter, read};
use super::wire::{Delivery, Request, Response, pass_on, serve};
use jiff::SignedDuration;
use jiff::fmt::rfc2822;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// Longest wait for a request to come by.
const PATIENCE: Duration = Duration::from_secs(60);
/// How dates stand in HTTP.
const HTTP_DATE: &str = "%a, %d %b %Y %H:%M:%S GMT";

/// A running proxy; ends with the test's runtime.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    rules: Arc<Mutex<Vec<Planned>>>,
}

/// Which requests are spoiled, and how.
#[derive(Debug, Clone)]
pub(crate) struct Rule {
    service: Option<String>,
    operation: Option<String>,
    skip: usize,
    times: usize,
    act: Act,
}

/// What is done to a request.
#[derive(Debug, Clone)]
pub(crate) enum Act {
    /// Passed on after a while.
    Delay(Duration),
    /// Passed on when released, and its answer given to whoever is still there.
    Hold,
    /// Not passed on; the connection ends.
    CutBefore,
    /// Passed on; the connection ends without an answer.
    CutAfter,
    /// Passed on; the connection ends in the middle of the answer.
    CutMidBody,
    /// Not passed on, but answered.
    Answer(Refusal),
    /// Passed on, and answered otherwise than the other side did.
    AnswerAfter(Refusal),
    /// Passed on; the answer's `Date` is so far off.
    Date(SignedDuration),
}

/// Tells what became of a rule, and releases what it holds.
#[derive(Clone)]
pub(crate) struct Sprung {
    record: Arc<Mutex<Record>>,
    gate: Arc<Semaphore>,
}

#[derive(Default)]
struct Record {
    times: usize,
    /// What the other side said to those passed on.
    said: Vec<Response>,
}

struct Planned {
    rule: Rule,
    sprung: Sprung,
}

impl Rule {
    /// Spoils every request, until narrowed.
    pub(crate) fn every(act: Act) -> Self {
        Self {
            service: None,
            operation: None,
            skip: 0,
            times: usize::MAX,
            act,
        }
    }

    /// Spoils one request for an operation: `CreateAccountAssignment`.
    pub(crate) fn once(operation: &str, act: Act) -> Self {
        Self {
            operation: Some(operation.to_owned()),
            times: 1,
            ..Self::every(act)
        }
    }

    /// Looks at one service alone, as it is signed: `sso`, `rds`.
    pub(crate) fn of_service(mut self, service: &str) -> Self {
        self.service = Some(service.to_owned());
        self
    }

    /// Lets so many pass first.
    pub(crate) fn after(mut self, skip: usize) -> Self {
        self.skip = skip;
        self
    }

    pub(crate) fn times(mut self, times: usize) -> Self {
        self.times = times;
        self
    }

    fn fits(&self, letter: &Letter) -> bool {
        self.service
            .as_ref()
            .is_none_or(|service| *service == letter.service)
            && self
                .operation
                .as_ref()
                .is_none_or(|operation| *operation == letter.operation)
    }
}

impl Proxy {
    /// Stands before a server on this machine.
    pub(crate) async fn before(server: u16) -> Self {
        let rules: Arc<Mutex<Vec<Planned>>> = Arc::default();
        let served = Arc::clone(&rules);
        let port = serve(move |request| deal(server, Arc::clone(&served), request)).await;
        Self { port, rules }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Adds a rule; the first that fits and has not run out decides.
    pub(crate) fn rule(&self, rule: Rule) -> Sprung {
        let sprung = Sprung {
            record: Arc::default(),
            gate: Arc::new(Semaphore::new(0)),
        };
        self.rules.lock().unwrap().push(Planned {
            rule,
            sprung: sprung.clone(),
        });
        sprung
    }
}

impl Sprung {
    /// Returns how many requests were spoiled, those still held among them.
    pub(crate) fn times(&self) -> usize {
        self.record.lock().unwrap().times
    }

    /// Returns what the other side answered to those that were passed on: status and body.
    pub(crate) fn said(&self) -> Vec<(u16, String)> {
        let record = self.record.lock().unwrap();
        let text = |said: &Response| String::from_utf8_lossy(&said.body).into_owned();
        record
            .said
            .iter()
            .map(|said| (said.status, text(said)))
            .collect()
    }

    /// Waits until so many requests were spoiled.
    pub(crate) async fn until_times(&self, times: usize) {
        self.until("spoiled", || self.times() >= times).await;
    }

    /// Waits until the other side has answered so many.
    pub(crate) async fn until_said(&self, times: usize) {
        self.until("answered", || {
            self.record.lock().unwrap().said.len() >= times
        })
        .await;
    }

    async fn until(&self, what: &str, done: impl Fn() -> bool) {
        let end = Instant::now() + PATIENCE;
        while !done() {
            assert!(
                Instant::now() < end,
                "not enough requests were {what}: {}",
                self.times()
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Lets go of one request that is held, or will be.
    pub(crate) fn release(&self) {
        self.gate.add_permits(1);
    }

    /// Lets go of all that are held, and holds none any more.
    pub(crate) fn release_all(&self) {
        self.gate.close();
    }

    async fn released(&self) {
        if let Ok(permit) = self.gate.acquire().await {
            permit.forget();
        }
    }
}

async fn deal(server: u16, rules: Arc<Mutex<Vec<Planned>>>, request: Request) -> Delivery {
    let letter = read(&request);
    let Some((act, sprung)) = chosen(&rules, &letter) else {
        return pass(server, &request)
            .await
            .map_or(Delivery::Nothing, Delivery::Whole);
    };
    match &act {
        Act::CutBefore => return Delivery::Nothing,
        Act::Answer(refusal) => return Delivery::Whole(refusal.say(letter.protocol)),
        Act::Delay(time) => tokio::time::sleep(*time).await,
        Act::Hold => sprung.released().await,
        Act::CutAfter | Act::CutMidBody | Act::AnswerAfter(_) | Act::Date(_) => {}
    }
    let Some(mut response) = pass(server, &request).await else {
        return Delivery::Nothing;
    };
    sprung.record.lock().unwrap().said.push(response.clone());
    match act {
        Act::CutAfter => Delivery::Nothing,
        Act::CutMidBody => Delivery::Half(response),
        Act::AnswerAfter(refusal) => Delivery::Whole(refusal.say(letter.protocol)),
        Act::Date(off) => {
            set_date(&mut response, off);
            Delivery::Whole(response)
        }
        Act::Delay(_) | Act::Hold | Act::CutBefore | Act::Answer(_) => Delivery::Whole(response),
    }
}

async fn pass(server: u16, request: &Request) -> Option<Response> {
    pass_on(server, request).await.ok()
}

fn chosen(rules: &Mutex<Vec<Planned>>, letter: &Letter) -> Option<(Act, Sprung)> {
    let mut rules = rules.lock().unwrap();
    let planned = rules
        .iter_mut()
        .find(|planned| planned.rule.times > 0 && planned.rule.fits(letter))?;
    if planned.rule.skip > 0 {
        planned.rule.skip -= 1;
        return None;
    }
    planned.rule.times -= 1;
    planned.sprung.record.lock().unwrap().times += 1;
    Some((planned.rule.act.clone(), planned.sprung.clone()))
}

/// Moves the answer's date, which the other side has set.
fn set_date(response: &mut Response, off: SignedDuration) {
    let Some((_, date)) = response.headers.iter().find(|(name, _)| name == "date") else {
        return;
    };
    let date = rfc2822::parse(date).unwrap().timestamp() + off;
    response.set("date", date.strftime(HTTP_DATE).to_string());
}
