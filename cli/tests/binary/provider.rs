//! A provider that does what a test says, in Anthropic's wire format.

use std::{
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

use serde_json::{Value, json};

use crate::fixture::wait_until;

const REFUSAL: &str =
    r#"{"type":"error","error":{"type":"authentication_error","message":"invalid x-api-key"}}"#;

/// What a call is answered with.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// The key is wrong. Both wire formats understand it.
    Refuse,
    /// A text.
    Say(&'static str),
    /// No word, ever.
    Nothing,
    /// The beginning of a text whose end never comes.
    BeginToSay(&'static str),
    /// The beginning of a text, and its end when this is let go.
    SayInTwo(&'static str, &'static str, Gate),
    /// A call of a tool.
    Call(&'static str, Value),
}

/// Holds something back until it is opened.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gate(Arc<AtomicBool>);

impl Gate {
    pub(crate) fn open(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    fn wait(&self) {
        wait_until(|| {
            self.0.load(Ordering::SeqCst).then_some(()).ok_or_else(|| "the gate is shut".to_owned())
        });
    }
}

/// Answers for as long as the test process lives.
pub(crate) struct Provider {
    pub(crate) address: SocketAddr,
    calls: Arc<AtomicUsize>,
}

impl Provider {
    /// The script gets the number of the call, from 0, and the request.
    pub(crate) fn start(script: impl Fn(usize, &Value) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let calls = Arc::new(AtomicUsize::new(0));
        let (counted, script) = (Arc::clone(&calls), Arc::new(script));
        thread::spawn(move || {
            for connection in listener.incoming() {
                let number = counted.fetch_add(1, Ordering::SeqCst);
                let script = Arc::clone(&script);
                thread::spawn(move || {
                    // A client that leaves early is none of our business.
                    let _ = serve(connection.unwrap(), |request| script(number, request));
                });
            }
        });
        Self { address, calls }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

fn serve(connection: TcpStream, script: impl Fn(&Value) -> Answer) -> io::Result<()> {
    let mut reader = BufReader::new(connection);
    let mut body_bytes = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        if line.trim().is_empty() {
            break;
        }
        if let Some(length) = line.to_lowercase().strip_prefix("content-length:") {
            body_bytes = length.trim().parse().unwrap();
        }
    }
    let mut body = Vec::new();
    reader.by_ref().take(body_bytes).read_to_end(&mut body)?;
    let answer = script(&serde_json::from_slice(&body).unwrap_or_default());
    if matches!(answer, Answer::Nothing) {
        // Until the client has gone.
        return io::copy(&mut reader, &mut io::sink()).map(|_| ());
    }
    let (status, content_type, body) = match &answer {
        Answer::Nothing => unreachable!("it was dealt with above"),
        Answer::Refuse => ("401 Unauthorized", "application/json", REFUSAL.to_owned()),
        Answer::Say(text) => ("200 OK", "text/event-stream", whole(&text_block(text), "end_turn")),
        Answer::BeginToSay(text) | Answer::SayInTwo(text, _, _) => {
            ("200 OK", "text/event-stream", begin(&text_block(text)))
        }
        Answer::Call(name, input) => {
            ("200 OK", "text/event-stream", whole(&call_block(name, input), "tool_use"))
        }
    };
    write!(
        reader.get_mut(),
        "HTTP/1.1 {status}\r\ncontent-type: {content_type}\r\nconnection: close\r\n\r\n{body}"
    )?;
    reader.get_mut().flush()?;
    match &answer {
        Answer::BeginToSay(_) => {
            // Until the client has gone.
            io::copy(&mut reader, &mut io::sink())?;
        }
        Answer::SayInTwo(_, rest, gate) => {
            gate.wait();
            let delta =
                event(&json!({"type": "content_block_delta", "index": 0, "delta": text_block(rest).1}));
            write!(reader.get_mut(), "{delta}{}", end("end_turn"))?;
        }
        Answer::Refuse | Answer::Say(_) | Answer::Nothing | Answer::Call(..) => {}
    }
    Ok(())
}

/// The text of the last message of a request; nothing when it is no text.
pub(crate) fn last_words(request: &Value) -> String {
    let content =
        request["messages"].as_array().and_then(|messages| messages.last()).map(|last| &last["content"]);
    let parts = content.and_then(Value::as_array).cloned().unwrap_or_default();
    parts.iter().filter_map(|part| part["text"].as_str()).collect()
}

/// A block as it starts, and the one delta that fills it.
type Block = (Value, Value);

fn text_block(text: &str) -> Block {
    (json!({"type": "text", "text": ""}), json!({"type": "text_delta", "text": text}))
}

fn call_block(name: &str, input: &Value) -> Block {
    (
        json!({"type": "tool_use", "id": "toolu_1", "name": name, "input": {}}),
        json!({"type": "input_json_delta", "partial_json": input.to_string()}),
    )
}

fn begin((start, delta): &Block) -> String {
    let usage = json!({"input_tokens": 1, "output_tokens": 1});
    let message = json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "scripted",
                         "content": [], "stop_reason": null, "stop_sequence": null, "usage": usage});
    [
        json!({"type": "message_start", "message": message}),
        json!({"type": "content_block_start", "index": 0, "content_block": start}),
        json!({"type": "content_block_delta", "index": 0, "delta": delta}),
    ]
    .iter()
    .map(event)
    .collect()
}

fn whole(block: &Block, stop_reason: &str) -> String {
    begin(block) + &end(stop_reason)
}

fn end(stop_reason: &str) -> String {
    let delta = json!({"stop_reason": stop_reason, "stop_sequence": null});
    let end = [
        json!({"type": "content_block_stop", "index": 0}),
        json!({"type": "message_delta", "delta": delta, "usage": {"output_tokens": 5}}),
        json!({"type": "message_stop"}),
    ];
    end.iter().map(event).collect()
}

fn event(data: &Value) -> String {
    format!("event: {}\ndata: {data}\n\n", data["type"].as_str().unwrap_or_default())
}
