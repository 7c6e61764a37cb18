//! A chat that goes on: what is asked for goes out, what happens comes in. Knows nothing of a terminal.

use std::time::{Duration, SystemTime};

use chatplane_proto::chat::v1::{
    BusyBehavior, Part, Role, WatchChatRequest, WatchChatResponse, watch_chat_response::Event,
};
use futures::future::BoxFuture;
use tokio::{select, sync::mpsc, time::timeout};

use self::stop::{LeftChats, stop_all};
use super::outbox::{Done, Item, Outbox, Reply, Settings};
use crate::{
    client::{
        ClientError,
        connection::ChatClient,
        exchange::interrupt,
        json,
        notes::Notes,
        requests::Caller,
        transcript::{Activity, Outcome, Output, Transcript},
        watch::Watch,
        words::{self, Advice},
    },
    exit::chain,
};

mod stop;

/// How long leaving may take while something is still on its way.
const LEAVE_TIME_MAX: Duration = Duration::from_secs(2);

/// A chat, or the one that the next message makes.
pub(super) struct Talk {
    caller: Caller,
    notes: mpsc::Receiver<String>,
    advice: Advice,
    settings: Settings,
    /// Files that go with the next message.
    attached: Vec<Part>,
    chat_id: Option<String>,
    watch: Option<Watch>,
    transcript: Transcript,
    /// The newest message that was seen, for a fork.
    last_message_id: Option<i64>,
    outbox: Outbox,
    halt: Option<BoxFuture<'static, Result<(), ClientError>>>,
    is_halt_wanted: bool,
    /// True while the turn that runs here has been told to end, and nobody has seen its end.
    was_halted: bool,
    /// The chats before this one that were busy when they were left.
    left: LeftChats,
}

/// Something has happened.
#[derive(Default)]
pub(super) struct News {
    /// For a person.
    pub(super) outputs: Vec<Output>,
    /// The same for a program.
    pub(super) line: Option<String>,
    /// A turn is over.
    pub(super) outcome: Option<Outcome>,
    /// A message has entered, with which a turn begins or goes on.
    pub(super) enters: bool,
    /// The turn before it was interrupted from here, and nothing else will tell.
    pub(super) follows_interruption: bool,
}

/// What somebody is told who has left.
pub(super) struct Parting {
    /// How many messages may not have arrived.
    pub(super) unsent: usize,
    /// What else did not go as it was meant to, or did in the last moment.
    pub(super) notes: Vec<String>,
}

/// What is waited for.
enum Happened {
    Event(Box<WatchChatResponse>),
    Done(Done),
    Halted(Result<(), ClientError>),
    Note(String),
}

impl News {
    fn note(note: impl Into<String>) -> Self {
        Self { outputs: vec![Output::Note(note.into())], ..Self::default() }
    }
}

impl Talk {
    pub(super) fn new(
        client: ChatClient,
        chat_id: Option<String>,
        settings: Settings,
        attached: Vec<Part>,
        advice: Advice,
    ) -> Self {
        let (notes, receiver) = Notes::channel();
        let mut talk = Self {
            caller: Caller::new(client, notes),
            notes: receiver,
            advice,
            settings,
            attached,
            chat_id,
            watch: None,
            transcript: Transcript::new(advice),
            last_message_id: None,
            outbox: Outbox::default(),
            halt: None,
            is_halt_wanted: false,
            was_halted: false,
            left: LeftChats::default(),
        };
        talk.watch_from(None);
        talk
    }

    pub(super) fn caller(&self) -> &Caller {
        &self.caller
    }

    pub(super) fn chat_id(&self) -> Option<&str> {
        self.chat_id.as_deref()
    }

    pub(super) fn advice(&self) -> Advice {
        self.advice
    }

    /// What is going on.
    pub(super) fn activity(&self) -> Activity {
        self.transcript.activity()
    }

    /// Whether there is something to wait for, or to interrupt.
    pub(super) fn is_busy(&self) -> bool {
        !self.outbox.is_empty() || self.activity() != Activity::Idle
    }

    /// The lines of the messages that wait, here or there.
    pub(super) fn waiting(&self) -> Vec<String> {
        let queued = self.transcript.queue().map(|it| words::waiting(it.is_steering, &it.preview));
        queued.chain(self.outbox.texts().map(words::sending)).collect()
    }

    /// Sends a message, or says why it cannot be sent.
    pub(super) fn send(&mut self, text: String, busy: BusyBehavior) -> Result<(), &'static str> {
        let attached = std::mem::take(&mut self.attached);
        self.outbox.push(Item::Message { text, attached, busy }).map_err(|item| {
            self.keep_attached(item);
            words::TOO_MANY_ON_THEIR_WAY
        })
    }

    /// A message that does not go leaves its files to the next one.
    fn keep_attached(&mut self, item: Item) {
        if let Item::Message { attached, .. } = item {
            self.attached.splice(..0, attached);
        }
    }

    /// Leaves the chat as it is: the next message makes another.
    pub(super) fn begin_anew(&mut self) -> Result<(), &'static str> {
        if !self.outbox.is_empty() {
            return Err(words::STILL_ON_ITS_WAY);
        }
        self.go_to(None);
        Ok(())
    }

    /// Asks for a copy of the chat, in which this then goes on.
    pub(super) fn fork(&mut self) -> Result<(), &'static str> {
        let message_id = self.last_message_id.ok_or(words::NO_CHAT_YET)?;
        self.ask(Item::Fork { message_id })
    }

    /// Asks for a summary.
    pub(super) fn compact(&mut self) -> Result<(), &'static str> {
        self.ask(Item::Compact)
    }

    /// Lets the model forget.
    pub(super) fn clear(&mut self) -> Result<(), &'static str> {
        self.ask(Item::Clear)
    }

    fn ask(&mut self, item: Item) -> Result<(), &'static str> {
        if self.chat_id.is_none() {
            return Err(words::NO_CHAT_YET);
        }
        self.outbox.push(item).map_err(|_| words::TOO_MANY_ON_THEIR_WAY)
    }

    /// Interrupts what runs, or what the message on its way will begin.
    pub(super) fn interrupt(&mut self) {
        self.is_halt_wanted = true;
        self.was_halted = true;
    }

    /// The next that happens. Dropping the wait loses nothing.
    pub(super) async fn news(&mut self) -> Result<News, ClientError> {
        loop {
            match self.next().await? {
                Happened::Event(response) => return Ok(self.see(*response)),
                Happened::Done(done) => {
                    if let Some(news) = self.done(done)? {
                        return Ok(news);
                    }
                }
                Happened::Halted(Ok(())) => {}
                Happened::Halted(Err(_)) => {
                    self.is_not_halted();
                    return Ok(News::note(words::NOT_INTERRUPTED));
                }
                Happened::Note(note) => return Ok(News::note(note)),
            }
        }
    }

    async fn next(&mut self) -> Result<Happened, ClientError> {
        self.begin_what_can_begin();
        select! {
            response = next_event(&mut self.watch) => Ok(Happened::Event(Box::new(response?))),
            done = self.outbox.done() => Ok(Happened::Done(done)),
            halted = halted(&mut self.halt) => {
                self.halt = None;
                Ok(Happened::Halted(halted))
            }
            Some(note) = self.notes.recv() => Ok(Happened::Note(note)),
        }
    }

    fn begin_what_can_begin(&mut self) {
        self.outbox.begin_next(&self.caller, self.chat_id.as_deref(), &self.settings);
        if self.outbox.may_begin_turn() && self.activity() == Activity::Idle {
            self.transcript.begin_turn();
        }
        if self.outbox.is_empty() {
            self.begin_halt();
        }
    }

    /// Begins to interrupt what runs in the chat, where that is wanted.
    fn begin_halt(&mut self) {
        if let (true, None, Some(chat_id)) = (self.is_halt_wanted, &self.halt, &self.chat_id) {
            self.is_halt_wanted = false;
            let (caller, chat_id) = (self.caller.clone(), chat_id.clone());
            self.halt = Some(Box::pin(async move { interrupt(&caller, chat_id).await }));
        }
    }

    /// What was asked for has not interrupted the turn. A later wish may still.
    fn is_not_halted(&mut self) {
        self.was_halted = self.is_halt_wanted;
    }

    fn see(&mut self, response: WatchChatResponse) -> News {
        let line = Some(json::line("WatchChatResponse", &response));
        let Some(event) = response.event else {
            return News { line, ..News::default() };
        };
        let mut enters = false;
        let was_interrupted = self.activity() == Activity::Interruption
            || self.transcript.outcome_so_far() == Outcome::Interrupted;
        match &event {
            Event::Message(message) if message.covers_through == 0 => {
                enters = message.role() == Role::User;
                self.last_message_id = self.last_message_id.max(Some(message.message_id));
            }
            // What takes their place follows.
            Event::HistoryReset(_) => self.last_message_id = None,
            _ => {}
        }
        let follows_interruption = enters && was_interrupted && std::mem::take(&mut self.was_halted);
        let outputs = self.transcript.apply(event, SystemTime::now());
        let outcome = self.transcript.take_outcome().map(|outcome| self.told(outcome));
        News { outputs, line, outcome, enters, follows_interruption }
    }

    /// How a turn ended: one that was stopped before it had said a word looks as if it had nothing to say.
    fn told(&mut self, outcome: Outcome) -> Outcome {
        match (outcome, std::mem::take(&mut self.was_halted)) {
            (Outcome::Answered, true) => Outcome::Interrupted,
            (outcome, _) => outcome,
        }
    }

    /// A call was answered. Those that concern the whole connection end the talk.
    fn done(&mut self, done: Done) -> Result<Option<News>, ClientError> {
        let reply = match done.result {
            Ok(reply) => reply,
            Err(error) if error.is_of_one_call() => {
                self.is_refused();
                let is_message = matches!(done.item, Item::Message { .. });
                self.keep_attached(done.item);
                return Ok(Some(News::note(words::not_done(&chain(&error), is_message))));
            }
            Err(error) => return Err(error),
        };
        if let Some(chat) = reply.chat() {
            self.transcript.has_begun(chat.snapshot_version);
        }
        let line = match reply {
            Reply::Created(response) => {
                self.chat_id = response.chat.as_ref().map(|chat| chat.chat_id.clone());
                self.watch_from(Some(-1));
                json::line("CreateChatResponse", &*response)
            }
            Reply::Sent(response) => json::line("SendMessageResponse", &*response),
            Reply::Forked(response) => {
                let line = json::line("ForkChatResponse", &*response);
                let chat_id = response.chat.unwrap_or_default().chat_id;
                let note = words::forked(&chat_id);
                self.go_to(Some(chat_id));
                return Ok(Some(News { line: Some(line), ..News::note(note) }));
            }
            Reply::Accepted(_) | Reply::NothingToDo => return Ok(None),
        };
        Ok(Some(News { line: Some(line), ..News::default() }))
    }

    /// A call was refused, with which a turn was expected to begin.
    fn is_refused(&mut self) {
        self.transcript.begins_not();
        if !self.is_busy() {
            // The turn that was to be interrupted never was; the next one is another.
            self.is_halt_wanted = false;
            self.was_halted = false;
        }
    }

    /// From here on it is this chat, whose messages have been seen, or a new one.
    fn go_to(&mut self, chat_id: Option<String>) {
        // It is the chat before that was meant.
        self.begin_halt();
        self.is_halt_wanted = false;
        self.was_halted = false;
        if let Some(left) = std::mem::replace(&mut self.chat_id, chat_id)
            && self.activity() != Activity::Idle
        {
            self.left.remember(left);
        }
        self.transcript = Transcript::new(self.advice);
        if self.chat_id.is_none() {
            self.last_message_id = None;
        }
        self.watch_from(Some(0));
    }

    fn watch_from(&mut self, history_limit: Option<i32>) {
        let request = |chat_id: &String| WatchChatRequest {
            chat_id: chat_id.clone(),
            history_limit,
            ..Default::default()
        };
        self.watch = self.chat_id.as_ref().map(|chat_id| Watch::open(&self.caller, request(chat_id)));
    }

    /// Waits a moment for what is on its way.
    pub(super) async fn let_go(&mut self) -> Parting {
        let mut notes = Vec::new();
        // What takes longer is told as not done.
        let _ = timeout(LEAVE_TIME_MAX, self.finish(&mut notes)).await;
        Parting { unsent: self.outbox.texts().count(), notes }
    }

    /// Waits for what is on its way. Nobody follows the chat any more, but what was asked for is told.
    async fn finish(&mut self, notes: &mut Vec<String>) {
        while !self.outbox.is_empty() || self.is_halt_wanted || self.halt.is_some() {
            match self.next().await {
                Ok(Happened::Event(response)) => drop(self.see(*response)),
                Ok(Happened::Done(Done { result: Err(error), .. })) => {
                    self.is_refused();
                    notes.push(words::not_done_at_last(&chain(&error)));
                    if !error.is_of_one_call() {
                        return;
                    }
                }
                Ok(Happened::Done(done)) => {
                    let news = self.done(done).ok().flatten().unwrap_or_default();
                    notes.extend(news.outputs.into_iter().filter_map(Output::into_note));
                }
                Ok(Happened::Halted(Ok(()))) => {}
                Ok(Happened::Halted(Err(_))) => {
                    self.is_not_halted();
                    notes.push(words::NOT_INTERRUPTED_AT_LAST.to_owned());
                }
                // That nobody answers shows in what has not arrived.
                Ok(Happened::Note(_)) => {}
                // Nobody needs to see more of the chat.
                Err(_) => self.watch = None,
            }
        }
    }

    /// Stops what runs here and in the chats that were left, and takes back what waits, so that nobody goes on
    /// with it unasked. Says in how many chats more something may run, because too many were left.
    pub(super) async fn stop(&mut self) -> usize {
        self.outbox.drop_waiting();
        let was_busy = self.is_busy();
        let stopped = async {
            // Only a message that has arrived makes a turn that can be interrupted.
            while !self.outbox.is_empty() {
                let done = self.outbox.done().await;
                if let Err(error) = self.done(done) {
                    tracing::warn!(%error, "the last message may have begun a turn");
                }
            }
            let mut chat_ids = self.left.take();
            if was_busy {
                chat_ids.extend(self.chat_id.clone());
            }
            stop_all(&self.caller, chat_ids).await;
        };
        if timeout(LEAVE_TIME_MAX, stopped).await.is_err() {
            tracing::warn!("the running turn could not be interrupted in time");
        }
        self.left.forgotten()
    }
}

async fn next_event(watch: &mut Option<Watch>) -> Result<WatchChatResponse, ClientError> {
    match watch {
        Some(watch) => watch.next().await,
        None => std::future::pending().await,
    }
}

async fn halted(halt: &mut Option<BoxFuture<'static, Result<(), ClientError>>>) -> Result<(), ClientError> {
    match halt {
        Some(halt) => halt.await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
