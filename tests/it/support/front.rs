//! Owns the way between connector and control plane: passes calls on, answers in the control plane's place when told to, and
//! remembers all that went by, inflated.

use super::cluster::Cluster;
use super::world::World;
use flate2::read::MultiGzDecoder;
use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// What becomes of a call.
#[derive(Debug, Clone)]
pub(crate) enum Manner {
    /// It reaches the control plane.
    Pass,
    /// Orders are handed out twice: once one of them is carried out, the same answer is given again.
    Twice,
    /// It is answered with these bytes, and the connection ends.
    Answer(Vec<u8>),
    /// It is never answered.
    Silence,
}

/// One call.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    /// Its first line.
    pub(crate) line: String,
    /// What was asked, head and body.
    pub(crate) asked: Vec<u8>,
    /// What was answered, head and body; empty when the control plane was not asked.
    pub(crate) answered: Vec<u8>,
}

struct State {
    upstream: String,
    manner: Manner,
    calls: Vec<Call>,
    clients: Vec<TcpStream>,
    /// How often all connections were ended. A call read from an ended one is not carried out: its answer would reach nobody.
    age: u32,
    /// Answers given in the control plane's place, once each: the end of the call's path, and the bytes.
    once: VecDeque<(&'static str, Vec<u8>)>,
    /// Answers with orders none of which is carried out yet.
    given: Vec<Vec<u8>>,
    /// Answers with orders that are still to be given again.
    again: VecDeque<Vec<u8>>,
}

/// A running way; a clone is the same one.
#[derive(Clone)]
pub(crate) struct Front {
    port: u16,
    state: Arc<Mutex<State>>,
}

impl State {
    fn enter(&mut self, client: &TcpStream) -> u32 {
        self.clients.push(client.try_clone().unwrap());
        self.age
    }

    fn end_connections(&mut self) {
        self.age += 1;
        for client in self.clients.drain(..) {
            // It may be gone already.
            client.shutdown(Shutdown::Both).unwrap_or_default();
        }
    }
}

struct Message {
    line: String,
    raw: Vec<u8>,
    plain: Vec<u8>,
}

impl Front {
    /// Makes a world whose connector, not started yet, has to come this way.
    pub(crate) async fn of_a_world(cluster: &'static Cluster) -> (World, Self) {
        let mut world = World::prepare(cluster, &[], &[]).await;
        let front = Self::to(world.plane_address());
        world
            .environment
            .push(("APONO_URL".to_owned(), front.url()));
        (world, front)
    }

    /// Opens a way to the control plane at an address.
    pub(crate) fn to(upstream: &str) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let front = Self {
            port: listener.local_addr().unwrap().port(),
            state: Arc::new(Mutex::new(State {
                upstream: upstream.to_owned(),
                manner: Manner::Pass,
                calls: Vec::new(),
                clients: Vec::new(),
                age: 0,
                once: VecDeque::new(),
                given: Vec::new(),
                again: VecDeque::new(),
            })),
        };
        let serving = front.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let serving = serving.clone();
                let age = serving.state.lock().unwrap().enter(&client);
                // Either side may end a connection at any time.
                std::thread::spawn(move || serving.serve(client, age).unwrap_or_default());
            }
        });
        front
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Changes what becomes of calls, those that are waiting included.
    pub(crate) fn set(&self, manner: Manner) {
        let mut state = self.state.lock().unwrap();
        state.manner = manner;
        state.end_connections();
    }

    /// Answers one call, by the end of its path, in the control plane's place.
    pub(crate) fn answer_once(&self, call: &'static str, status: u16, body: &str) {
        let mut state = self.state.lock().unwrap();
        state
            .once
            .push_back((call, answer(status, "", body.as_bytes())));
        state.end_connections();
    }

    /// Tells whether nothing is left to be handed out again.
    pub(crate) fn has_repeated(&self) -> bool {
        let state = self.state.lock().unwrap();
        state.given.is_empty() && state.again.is_empty()
    }

    pub(crate) fn calls(&self) -> Vec<Call> {
        self.state.lock().unwrap().calls.clone()
    }

    fn serve(&self, mut client: TcpStream, age: u32) -> std::io::Result<()> {
        let mut reader = BufReader::new(client.try_clone()?);
        while let Some(asked) = read_message(&mut reader, true)? {
            let Some((manner, ours, upstream)) = self.take(&asked.line, age) else {
                return Ok(());
            };
            if let Some(bytes) = ours {
                self.remember(&asked, Vec::new());
                client.write_all(&bytes)?;
                return client.shutdown(Shutdown::Write);
            }
            match manner {
                Manner::Pass | Manner::Twice => {}
                Manner::Answer(bytes) => {
                    self.remember(&asked, Vec::new());
                    client.write_all(&bytes)?;
                    return client.shutdown(Shutdown::Write);
                }
                Manner::Silence => {
                    self.remember(&asked, Vec::new());
                    // Ends when the client, or whoever changes the manner, closes it.
                    return client.read(&mut [0]).map(drop);
                }
            }
            let mut plane = TcpStream::connect(upstream)?;
            plane.write_all(&asked.raw)?;
            let Some(answered) = read_message(&mut BufReader::new(plane), false)? else {
                return Ok(());
            };
            let has_orders = asked.line.contains("/lease ")
                && String::from_utf8_lossy(&answered.plain).contains("\"attempt\"");
            self.remember(&asked, answered.plain);
            client.write_all(&answered.raw)?;
            if matches!(manner, Manner::Twice) {
                self.repeat(&asked.line, has_orders.then_some(answered.raw));
            }
        }
        Ok(())
    }

    /// Keeps an answer with orders until a result of one of them goes by; then it is given to the next asking for work.
    fn repeat(&self, line: &str, orders: Option<Vec<u8>>) {
        let mut state = self.state.lock().unwrap();
        state.given.extend(orders);
        let Some(task) = line
            .split("/tasks/")
            .nth(1)
            .and_then(|rest| rest.strip_suffix("/result HTTP/1.1"))
        else {
            return;
        };
        let about = |raw: &Vec<u8>| String::from_utf8_lossy(raw).contains(task);
        if let Some(at) = state.given.iter().position(about) {
            let raw = state.given.remove(at);
            state.again.push_back(raw);
            state.end_connections();
        }
    }

    fn take(&self, line: &str, age: u32) -> Option<(Manner, Option<Vec<u8>>, String)> {
        let mut state = self.state.lock().unwrap();
        if state.age != age {
            return None;
        }
        let path = line.split(' ').nth(1).unwrap_or_default();
        let at = state.once.iter().position(|(call, _)| path.ends_with(call));
        let mut ours = at
            .and_then(|at| state.once.remove(at))
            .map(|(_, bytes)| bytes);
        if ours.is_none() && path.ends_with("/lease") {
            ours = state.again.pop_front();
        }
        Some((state.manner.clone(), ours, state.upstream.clone()))
    }

    fn remember(&self, asked: &Message, answered: Vec<u8>) {
        self.state.lock().unwrap().calls.push(Call {
            line: asked.line.clone(),
            asked: asked.plain.clone(),
            answered,
        });
    }
}

/// Puts an answer together.
pub(crate) fn answer(status: u16, headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let mut bytes = format!(
        "HTTP/1.1 {status} x\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n{headers}\r\n"
    )
    .into_bytes();
    bytes.extend(body);
    bytes
}

/// Reads one message; nothing when the connection ended before it.
fn read_message(reader: &mut impl BufRead, asks: bool) -> std::io::Result<Option<Message>> {
    let mut raw = Vec::new();
    while !raw.ends_with(b"\r\n\r\n") {
        if reader.read_until(b'\n', &mut raw)? == 0 {
            return Ok(None);
        }
    }
    let head = String::from_utf8_lossy(&raw).into_owned();
    let header = |name: &str| {
        head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name)
                .then(|| value.trim().to_owned())
        })
    };
    let mut body = Vec::new();
    if header("transfer-encoding").is_some_and(|how| how.contains("chunked")) {
        loop {
            let mut size = String::new();
            reader.read_line(&mut size)?;
            let length = usize::from_str_radix(size.trim(), 16).unwrap_or_default();
            let mut chunk = vec![0; length + 2];
            reader.read_exact(&mut chunk)?;
            raw.extend(size.as_bytes());
            raw.extend(&chunk);
            body.extend(&chunk[..length]);
            if length == 0 {
                break;
            }
        }
    } else {
        match header("content-length").and_then(|length| length.parse().ok()) {
            Some(length) => {
                body.resize(length, 0);
                reader.read_exact(&mut body)?;
            }
            None if asks => {}
            None => drop(reader.read_to_end(&mut body)?),
        }
        raw.extend(&body);
    }
    if body.starts_with(&[0x1f, 0x8b]) {
        let mut inflated = Vec::new();
        // An upload that breaks off is read as far as it goes.
        MultiGzDecoder::new(body.as_slice())
            .read_to_end(&mut inflated)
            .unwrap_or_default();
        body = inflated;
    }
    let line = head.lines().next().unwrap_or_default().to_owned();
    let mut plain = head.into_bytes();
    plain.extend(body);
    Ok(Some(Message { line, raw, plain }))
}
