//! Row 12: a watcher goes on at another replica, with its cursor.
//!
//! The worker is connected to one replica, where the chat was watched. While nobody watches, the
//! user sends a message and the model writes its answer but for the end. Then the watcher goes on at
//! the other replica: the time goes from just before its call until it has the message, the state
//! and every byte of the answer, which come over the link between the replicas. Afterwards the
//! answer ends; that each message came exactly once is checked, and one that did not is an error.

use std::time::Instant;

use chatplane_proto::chat::v1::{ChatState, watch_chat_response::Event};

use crate::{
    bench::Bench,
    chunks::ChunkReader,
    client::{Client, Watch},
    error::{Error, Result},
    floors::{database, grpc},
    measure::MOVED_WATCH,
    model_server::{End, ModelServer, Script, mark},
    report::table::number,
    stack::Stack,
    summary::Reading,
    wait::milliseconds,
};

const SLOTS: u32 = 16;
const CHUNKS: u32 = 50;
/// Moves of a chat's watcher before the next chat, so that no history grows long.
const MOVES: usize = 20;

/// The watcher's two clients, and what happens.
struct Scene<'a> {
    here: Client,
    elsewhere: Client,
    model: &'a ModelServer,
    script: Script,
}

/// What a watcher has got since it moved.
struct Got {
    /// Message ids with their revisions, in their order.
    messages: Vec<(i64, i64)>,
    is_running: bool,
    chunks: ChunkReader,
}

pub(crate) async fn measure(bench: &Bench<'_>) -> Result<Vec<Reading>> {
    let script = Script { end: End::WhenSeen, ..Script::at_once(CHUNKS, bench.arguments.chunk_bytes) };
    let model = ModelServer::start(script).await?;
    let mut stack = Stack::start_two(bench, Some(&model)).await?;
    stack.add_worker(SLOTS).await?;
    let (here, elsewhere) = (stack.client().await?, stack.client_elsewhere().await?);
    let mut scene = Scene { here, elsewhere, model: &model, script };
    let mut figures = Vec::with_capacity(bench.scale.moves);
    let (mut chat, mut cursor) = scene.watched_chat().await?;
    for event in 0..bench.scale.moves {
        if event % MOVES == MOVES - 1 {
            (chat, cursor) = scene.watched_chat().await?;
        }
        let figure;
        (figure, cursor) = scene.move_on(&chat, &cursor, event as u64).await?;
        figures.push(figure);
    }
    let chats = [chat.parse().map_err(|_| Error::wrong("a chat's id is no UUID"))?];
    let unary = grpc::unary_ms(bench, stack.channel_elsewhere().await?).await?;
    let read = database::read_ms(bench, &stack.database, &chats).await?;
    let streamed = grpc::streamed_ms(bench).await?;
    stack.end().await?;
    let note = format!(
        "{CHUNKS} chunks of an answer under way come over the link between the replicas; floor: a unary gRPC round \
         trip ({} ms), a row read by its key ({} ms) and two streamed gRPC messages ({} ms each)",
        number(unary),
        number(read),
        number(streamed)
    );
    let floor = Some(unary + read + 2.0 * streamed);
    Ok(vec![Reading { measure: &MOVED_WATCH, figures, floor, tolerance: 0.0, notes: vec![note] }])
}

impl Scene<'_> {
    /// A chat at rest that was watched where its worker is, and the watcher's cursor.
    async fn watched_chat(&mut self) -> Result<(String, String)> {
        let (chat, watch) = self.here.idle_chat("Hello.").await?;
        Ok((chat, watch.cursor().to_owned()))
    }

    /// A turn that begins while nobody watches; the time until the watcher has all of it, and its
    /// cursor at the end.
    async fn move_on(&mut self, chat: &str, cursor: &str, mark_number: u64) -> Result<(f64, String)> {
        let version = self.here.send(chat, &mark(mark_number)).await?;
        self.model.journal().wait_for_chunks(mark_number, self.script.chunks).await?;
        let start = Instant::now();
        let mut moved = self.elsewhere.watch_from(chat, cursor).await?;
        let chunks = ChunkReader::new(self.script.chunk_bytes);
        let mut got = Got { messages: Vec::new(), is_running: false, chunks };
        let at = got.until_all(&mut moved, self.script.chunks).await?;
        self.model.journal().saw(mark_number);
        require_once(&got.rest(&mut moved, version).await?)?;
        Ok((milliseconds(at - start), moved.cursor().to_owned()))
    }
}

impl Got {
    /// Until the message, the state and the answer so far have come, and when the last had.
    async fn until_all(&mut self, watch: &mut Watch, chunks: u32) -> Result<Instant> {
        loop {
            let (event, at) = watch.next().await?;
            match event {
                Event::Message(message) => self.messages.push((message.message_id, message.revision)),
                Event::State(state) => self.is_running = state.state() == ChatState::Running,
                Event::PartAppend(append) => {
                    self.chunks.append(append.offset, &append.data)?;
                }
                _ => {}
            }
            if !self.messages.is_empty() && self.is_running && self.chunks.count() == chunks {
                return Ok(at);
            }
        }
    }

    /// Until the chat waits for its user, and all messages that came.
    async fn rest(mut self, watch: &mut Watch, version: i64) -> Result<Vec<(i64, i64)>> {
        loop {
            match watch.next().await?.0 {
                Event::Message(message) => self.messages.push((message.message_id, message.revision)),
                Event::State(state)
                    if state.state() == ChatState::Waiting && state.snapshot_version >= version =>
                {
                    return Ok(self.messages);
                }
                _ => {}
            }
        }
    }
}

/// The user's message and the answer, each once.
fn require_once(messages: &[(i64, i64)]) -> Result<()> {
    match messages {
        [(first, _), (second, _)] if first < second => Ok(()),
        _ => Err(Error::wrong(format!("a watcher that moved was told {} messages, not 2", messages.len()))),
    }
}
