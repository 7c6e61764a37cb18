//! A local server that sends what a script says, byte by byte.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// The head of an answer that streams.
pub(super) const OK: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";

/// What the server does after the request has come.
pub(super) enum Script {
    /// Sends these pieces and closes the connection.
    Send(Vec<String>),
    /// Sends this and then waits for the client to leave.
    Hang(String),
    /// Sends the first, then the second again and again until the client leaves.
    Repeat(String, &'static str),
}

/// A server of one connection.
pub(super) struct Server {
    /// Its address.
    pub(super) endpoint: String,
    /// The request, once it has come whole.
    pub(super) request: oneshot::Receiver<String>,
    /// Ends when the script has ended or the client has left.
    pub(super) task: JoinHandle<()>,
}

/// Serves one connection.
pub(super) async fn serve(script: Script) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let (send_request, request) = oneshot::channel();
    let task = tokio::spawn(async move {
        let (mut connection, _) = listener.accept().await.unwrap();
        let _ = send_request.send(read_request(&mut connection).await);
        run_script(&mut connection, script).await;
    });
    Server { endpoint, request, task }
}

async fn run_script(connection: &mut TcpStream, script: Script) {
    match script {
        Script::Send(pieces) => {
            for piece in pieces {
                if connection.write_all(piece.as_bytes()).await.is_err() {
                    return;
                }
            }
            let _ = connection.shutdown().await;
        }
        Script::Hang(first) => {
            connection.write_all(first.as_bytes()).await.unwrap();
            while connection.read(&mut [0; 64]).await.is_ok_and(|read| read > 0) {}
        }
        Script::Repeat(first, again) => {
            connection.write_all(first.as_bytes()).await.unwrap();
            while connection.write_all(again.as_bytes()).await.is_ok() {}
        }
    }
}

async fn read_request(connection: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    loop {
        let mut buffer = [0; 4096];
        let read = connection.read(&mut buffer).await.unwrap();
        bytes.extend_from_slice(&buffer[..read]);
        let text = String::from_utf8(bytes.clone()).unwrap();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        if body.len() == length.unwrap().parse::<usize>().unwrap() {
            return text;
        }
    }
}

/// Sends these pieces, one after the other.
pub(super) fn pieces(text: &[&str]) -> Script {
    Script::Send(text.iter().map(|&piece| piece.to_owned()).collect())
}

/// Answers with a status.
pub(super) fn answer_with_status(status: &str, headers: &str, body: &str) -> Script {
    Script::Send(vec![format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n{headers}\r\n{body}", body.len())])
}
