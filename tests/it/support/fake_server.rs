//! Owns servers that are no servers: just enough of the protocol to misbehave.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Accepts connections and never says a word. The listener keeps them open as long as it lives.
pub(crate) async fn silent() -> (u16, TcpListener) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    (listener.local_addr().unwrap().port(), listener)
}

/// Answers the start of one connection with the given bytes and nothing more; the task returns what the client sent after that.
pub(crate) async fn answering(answer: Vec<u8>) -> (u16, JoinHandle<Vec<u8>>) {
    let (port, listener) = silent().await;
    #[expect(clippy::disallowed_methods, reason = "the test waits for the task")]
    let task = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_start(&mut stream).await;
        stream.write_all(&answer).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut rest = Vec::new();
        // The client may reset the connection; what it sent before that is what counts.
        let _result = stream.read_to_end(&mut rest).await;
        rest
    });
    (port, task)
}

/// Reads one message without a tag: four bytes of length that count themselves, and the body.
async fn read_start(stream: &mut TcpStream) {
    let length = stream.read_u32().await.unwrap();
    let mut body = vec![0; length as usize - 4];
    stream.read_exact(&mut body).await.unwrap();
}
