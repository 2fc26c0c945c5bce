//! Owns a way to a server that can go silent: nothing is refused or closed, and nothing gets through any more.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

/// Passes connections on, in clear, until told otherwise.
pub(crate) struct Gate {
    pub(crate) port: u16,
    state: Arc<State>,
}

/// Words of the client that make their own connection silent, once.
#[derive(Clone)]
pub(crate) struct Trap {
    pub(crate) words: &'static str,
    /// Whether the server still hears them, so that only its answer is lost.
    pub(crate) heard: bool,
}

#[derive(Default)]
struct State {
    opened: AtomicU64,
    /// Connections up to this number are silent.
    silent: AtomicU64,
    trap: Mutex<Option<Trap>>,
}

impl Gate {
    /// Opens a way to the server on a port.
    pub(crate) async fn to(server: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State::default());
        spawn(serve(listener, server, Arc::clone(&state)));
        Self { port, state }
    }

    /// Makes every connection there is silent; later ones work.
    pub(crate) fn silence(&self) {
        let opened = self.state.opened.load(Ordering::SeqCst);
        self.state.silent.store(opened, Ordering::SeqCst);
    }

    /// Waits for words of the client.
    pub(crate) fn set(&self, trap: Trap) {
        *self.state.trap.lock().unwrap() = Some(trap);
    }

    /// Tells whether the words have come.
    pub(crate) fn has_sprung(&self) -> bool {
        self.state.trap.lock().unwrap().is_none()
    }

    /// How many connections were made so far.
    pub(crate) fn opened(&self) -> u64 {
        self.state.opened.load(Ordering::SeqCst)
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the tasks end with the test's runtime"
)]
fn spawn(task: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(task);
}

async fn serve(listener: TcpListener, server: u16, state: Arc<State>) {
    loop {
        let (client, _) = listener.accept().await.unwrap();
        let server = TcpStream::connect(("127.0.0.1", server)).await.unwrap();
        let way = Arc::new(Way {
            number: state.opened.fetch_add(1, Ordering::SeqCst) + 1,
            cut: AtomicBool::new(false),
            state: Arc::clone(&state),
        });
        let ((from_client, to_client), (from_server, to_server)) =
            (client.into_split(), server.into_split());
        spawn(pass(from_client, to_server, Arc::clone(&way), true));
        spawn(pass(from_server, to_client, way, false));
    }
}

struct Way {
    number: u64,
    cut: AtomicBool,
    state: Arc<State>,
}

impl Way {
    fn is_silent(&self) -> bool {
        self.cut.load(Ordering::SeqCst) || self.number <= self.state.silent.load(Ordering::SeqCst)
    }

    /// Springs the trap if these are its words; says whether the server may still hear them.
    fn listen(&self, said: &[u8]) -> bool {
        let mut trap = self.state.trap.lock().unwrap();
        let words = |trap: &Trap| {
            said.windows(trap.words.len())
                .any(|w| w == trap.words.as_bytes())
        };
        match trap.take_if(|trap| words(trap)) {
            Some(trap) => {
                self.cut.store(true, Ordering::SeqCst);
                trap.heard
            }
            None => true,
        }
    }
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, way: Arc<Way>, is_client: bool) {
    // Holds a whole statement of a start, which the client sends at once.
    let mut buffer = vec![0; 256 * 1024];
    loop {
        let length = match from.read(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(length) => length,
        };
        let said = &buffer[..length];
        if way.is_silent() || (is_client && !way.listen(said)) {
            continue;
        }
        if to.write_all(said).await.is_err() {
            break;
        }
    }
    // Silence covers the end of a connection too: a dead machine says no farewell.
    if way.is_silent() {
        std::future::pending::<()>().await;
    }
}
