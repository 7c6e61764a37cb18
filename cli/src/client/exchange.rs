//! One message in, its answer printed as it comes, until its turn is over.
//!
//! The chat is watched before the message is sent, so that nothing of its turn is missed; what belongs to the
//! turns of others, before and after, is not printed. The message is known before it is sent, with its request
//! id: whoever drops this in the middle can still stop what it has begun.

use std::time::{Duration, SystemTime};

use chatplane_proto::chat::v1::{
    CreateChatRequest, CreateChatResponse, DeleteQueuedMessageRequest, InterruptChatRequest,
    SendMessageRequest, SendMessageResponse, WatchChatRequest, WatchChatResponse, watch_chat_response::Event,
};
use futures::future::BoxFuture;
use tokio::{
    io::{Stderr, Stdout},
    select,
    sync::mpsc,
    time::{MissedTickBehavior, interval, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::client::{
    ClientError,
    awaited::{Awaited, Ours, Phase, Waited},
    connection::{ChatClient, new_request_id},
    json,
    notes::Notes,
    printer::Printer,
    requests::Caller,
    transcript::{Outcome, Transcript},
    watch::Watch,
    words::{self, Advice},
};

/// After this long without a word, a person is told that it is the model that is waited for.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often the line is drawn that says what is going on and for how long.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);
/// How long an interrupt may take while everything is about to stop.
pub(crate) const ABANDON_TIME_MAX: Duration = Duration::from_secs(2);
/// How long the end of the answer's last line may take to be written then.
const LAST_LINE_TIME_MAX: Duration = Duration::from_millis(500);

/// What is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// The answer, and notes beside it.
    Text,
    /// The reply and every event, a line each, as `json` says.
    Json,
}

/// The message and where it goes.
#[derive(Clone)]
pub(crate) enum Delivery {
    /// It makes a chat.
    New(CreateChatRequest),
    /// It goes to a chat that there is.
    ToChat(SendMessageRequest),
}

/// How it ended.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum End {
    Turn(Outcome),
    /// The message was taken away before it was answered.
    Removed,
}

/// A message, and what comes of it.
pub(crate) struct Exchange {
    caller: Caller,
    advice: Advice,
    format: Format,
    printer: Printer<Stdout, Stderr>,
    notes: mpsc::Receiver<String>,
    transcript: Transcript,
    delivery: Delivery,
    chat_id: Option<String>,
    awaited: Option<Awaited>,
    /// True from when the message may have arrived until its turn is known to be over.
    may_run: bool,
}

/// The chat after its message has arrived.
struct Delivered {
    chat_id: String,
    ours: Ours,
    line: String,
}

impl Exchange {
    pub(crate) fn new(client: ChatClient, delivery: Delivery, advice: Advice, format: Format) -> Self {
        let (notes, receiver) = Notes::channel();
        Self {
            caller: Caller::new(client, notes),
            advice,
            format,
            printer: Printer::standard(),
            notes: receiver,
            transcript: Transcript::new(advice),
            delivery,
            chat_id: None,
            awaited: None,
            may_run: false,
        }
    }

    /// The chat, once it is known.
    pub(crate) fn chat_id(&self) -> Option<&str> {
        match &self.delivery {
            Delivery::New(_) => self.chat_id.as_deref(),
            Delivery::ToChat(request) => Some(&request.chat_id),
        }
    }

    /// Prints a line for whoever waits for nothing else.
    pub(crate) async fn print_line(&mut self, line: &str) -> Result<(), ClientError> {
        self.printer.line(line).await.map_err(ClientError::Output)
    }

    /// Ends the answer's line, as far as it can be.
    pub(crate) async fn end_line(&mut self) {
        // That its line cannot be ended is of no use to anybody. A terminal that takes no more must not keep us.
        let _ = timeout(LAST_LINE_TIME_MAX, self.printer.end_line()).await;
    }

    /// Sends the message and waits for nothing more. The reply is printed for programs. When `stop` is
    /// cancelled first this is left at once: a message that has arrived goes on, as it was meant to.
    pub(crate) async fn send_only(&mut self, stop: &CancellationToken) -> Result<(), ClientError> {
        let delivered = self.deliver_and_note(stop).await?;
        if self.format == Format::Json {
            self.printer.line(&delivered.line).await.map_err(ClientError::Output)?;
        }
        Ok(())
    }

    /// Sends the message and prints what comes of it until its turn is over. When `stop` is cancelled the turn
    /// is stopped, or the message taken back, and the end comes soon; before it has arrived this is left at
    /// once, and [`Self::abandon`] has to see to it.
    pub(crate) async fn run(&mut self, stop: &CancellationToken) -> Result<End, ClientError> {
        let before = match &self.delivery {
            Delivery::New(_) => None,
            Delivery::ToChat(request) => Some(Watch::open(&self.caller, watch_from(&request.chat_id, 0))),
        };
        let mut watch = match before {
            None => None,
            Some(mut watch) => {
                self.read_present(&mut watch, stop).await?;
                Some(watch)
            }
        };
        let delivered = self.deliver_and_note(stop).await?;
        if self.format == Format::Json {
            self.printer.line(&delivered.line).await.map_err(ClientError::Output)?;
        }
        self.transcript.begin_turn();
        let chat_id = delivered.chat_id.clone();
        let watch = watch.get_or_insert_with(|| Watch::open(&self.caller, watch_from(&chat_id, -1)));
        let end = self.follow(watch, chat_id, stop).await?;
        self.may_run = false;
        self.printer.end_line().await.map_err(ClientError::Output)?;
        Ok(end)
    }

    /// Reads what the chat is before the message, up to where a picture is complete.
    async fn read_present(&mut self, watch: &mut Watch, stop: &CancellationToken) -> Result<(), ClientError> {
        loop {
            let response = select! {
                response = watch.next() => response?,
                () = stop.cancelled() => return Err(ClientError::Interrupted),
                Some(note) = self.notes.recv() => {
                    self.printer.note(&note).await;
                    continue;
                }
            };
            self.print_for_programs(&response).await?;
            let is_complete = matches!(response.event, Some(Event::State(_)));
            if let Some(event) = response.event {
                self.transcript.apply(event, SystemTime::now());
            }
            if is_complete {
                return Ok(());
            }
        }
    }

    async fn deliver_and_note(&mut self, stop: &CancellationToken) -> Result<Delivered, ClientError> {
        let (caller, delivery) = (self.caller.clone(), self.delivery.clone());
        let mut delivering = Box::pin(deliver(&caller, &delivery));
        self.may_run = true;
        let delivered = loop {
            select! {
                delivered = &mut delivering => break delivered,
                () = stop.cancelled() => return Err(ClientError::Interrupted),
                Some(note) = self.notes.recv() => self.printer.note(&note).await,
            }
        };
        if let Err(ClientError::Refused { .. }) = delivered {
            self.may_run = false;
        }
        let delivered = delivered?;
        self.chat_id = Some(delivered.chat_id.clone());
        self.awaited = Some(Awaited::new(delivered.ours.clone()));
        Ok(delivered)
    }

    async fn follow(
        &mut self,
        watch: &mut Watch,
        chat_id: String,
        stop: &CancellationToken,
    ) -> Result<End, ClientError> {
        let mut halt = Halt::new(self.caller.clone(), chat_id, stop.clone());
        let mut progress = interval(PROGRESS_INTERVAL);
        progress.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let shows_progress = self.printer.shows_progress() && self.format == Format::Text;
        loop {
            let waits_for_model = self.transcript.waits_for_model() && !shows_progress;
            let queued = self.awaited.as_ref().and_then(Awaited::queued).map(str::to_owned);
            select! {
                response = watch.next() => {
                    if let Some(end) = self.see(response?).await? {
                        return Ok(end);
                    }
                }
                note = halt.proceed(queued) => self.printer.note(note).await,
                Some(note) = self.notes.recv() => self.printer.note(&note).await,
                _ = progress.tick(), if shows_progress => {
                    self.printer.show_progress(&self.transcript.activity(), self.advice).await;
                }
                () = sleep(PATIENCE), if waits_for_model => {
                    self.transcript.has_told_to_wait();
                    self.note_of_turn(&words::model_is_silent(self.advice)).await;
                }
            }
        }
    }

    /// Takes an event, prints what it means, and says whether it was the last.
    async fn see(&mut self, response: WatchChatResponse) -> Result<Option<End>, ClientError> {
        self.print_for_programs(&response).await?;
        let (Some(event), Some(awaited)) = (response.event, &mut self.awaited) else {
            return Ok(None);
        };
        let had_entered = awaited.has_entered();
        let transcript = &self.transcript;
        let phase = awaited.see(&event, |id| Waited::of(id, transcript));
        match phase {
            Phase::Over => return Ok(Some(End::Turn(self.transcript.outcome_so_far()))),
            Phase::Removed => return Ok(Some(End::Removed)),
            Phase::Before | Phase::Within | Phase::Last => {}
        }
        let mut outputs = self.transcript.apply(event, SystemTime::now());
        if !had_entered {
            // Our own message, or what belongs to the turns before it.
            outputs.clear();
        }
        if self.format == Format::Text {
            self.printer.print(outputs).await.map_err(ClientError::Output)?;
        }
        let outcome = self.transcript.outcome().filter(|_| phase == Phase::Last);
        Ok(outcome.cloned().map(End::Turn))
    }

    async fn print_for_programs(&mut self, response: &WatchChatResponse) -> Result<(), ClientError> {
        match self.format {
            Format::Text => Ok(()),
            Format::Json => {
                let line = json::line("WatchChatResponse", response);
                self.printer.line(&line).await.map_err(ClientError::Output)
            }
        }
    }

    /// A note about the turn, which programs get as an event.
    async fn note_of_turn(&mut self, note: &str) {
        if self.format == Format::Text {
            self.printer.note(note).await;
        }
    }

    /// Whether the message is known to have arrived.
    pub(crate) fn has_arrived(&self) -> bool {
        self.awaited.is_some()
    }

    /// Stops a turn that may still be running, for nobody is left to see its end.
    pub(crate) async fn abandon(&mut self) {
        if self.may_run {
            match timeout(ABANDON_TIME_MAX, self.stop_turn()).await {
                Ok(Ok(())) => self.may_run = false,
                Ok(Err(error)) => tracing::warn!(%error, "the running turn could not be interrupted"),
                Err(_) => tracing::warn!("the running turn could not be interrupted in time"),
            }
        }
        self.end_line().await;
    }

    /// Only a message that has arrived makes a turn that can be interrupted: one that may have is sent again,
    /// which makes no second chat and sends no second message.
    async fn stop_turn(&mut self) -> Result<(), ClientError> {
        let known = self.chat_id.clone().zip(self.awaited.as_ref());
        let (chat_id, queued) = match known {
            Some((chat_id, awaited)) => (chat_id, awaited.queued().map(str::to_owned)),
            None => {
                let delivered = deliver(&self.caller, &self.delivery).await?;
                (delivered.chat_id, delivered.ours.into_queued())
            }
        };
        halt(self.caller.clone(), chat_id, queued).await
    }
}

fn watch_from(chat_id: &str, history_limit: i32) -> WatchChatRequest {
    WatchChatRequest { chat_id: chat_id.to_owned(), history_limit: Some(history_limit), ..Default::default() }
}

async fn deliver(caller: &Caller, delivery: &Delivery) -> Result<Delivered, ClientError> {
    match delivery {
        Delivery::New(request) => {
            let response = caller.create_chat(request).await?;
            let line = json::line("CreateChatResponse", &response);
            let CreateChatResponse { chat, message } = response;
            let ours = Ours::Message { message_id: message.unwrap_or_default().message_id };
            Ok(Delivered { chat_id: chat.unwrap_or_default().chat_id, ours, line })
        }
        Delivery::ToChat(request) => {
            let response = caller.send_message(request).await?;
            let line = json::line("SendMessageResponse", &response);
            Ok(Delivered { chat_id: request.chat_id.clone(), ours: ours(response), line })
        }
    }
}

/// Where our message is after it was sent: in the queue, or the last of those that entered.
fn ours(response: SendMessageResponse) -> Ours {
    match response.queued_message {
        Some(queued) => Ours::Queued { queued_message_id: queued.queued_message_id },
        None => {
            Ours::Message { message_id: response.messages.last().map_or(0, |message| message.message_id) }
        }
    }
}

/// Interrupts the turn that runs.
pub(crate) async fn interrupt(caller: &Caller, chat_id: String) -> Result<(), ClientError> {
    let request = InterruptChatRequest { chat_id, request_id: new_request_id() };
    caller.interrupt_chat(&request).await.map(|_| ())
}

/// Stops the turn once, when it is asked to, and says what is happening. A message that still waits is taken
/// back instead: what runs is somebody else's turn.
struct Halt {
    caller: Caller,
    chat_id: String,
    stop: CancellationToken,
    progress: HaltProgress,
}

enum HaltProgress {
    NotAsked,
    Asked(BoxFuture<'static, Result<(), ClientError>>),
    Over,
}

impl Halt {
    fn new(caller: Caller, chat_id: String, stop: CancellationToken) -> Self {
        Self { caller, chat_id, stop, progress: HaltProgress::NotAsked }
    }

    /// The next that is worth a note. Dropping the wait loses nothing.
    async fn proceed(&mut self, queued: Option<String>) -> &'static str {
        loop {
            match &mut self.progress {
                HaltProgress::NotAsked => {
                    self.stop.cancelled().await;
                    let (caller, chat_id) = (self.caller.clone(), self.chat_id.clone());
                    let note = if queued.is_some() { words::TAKING_BACK } else { words::INTERRUPTING };
                    self.progress = HaltProgress::Asked(Box::pin(halt(caller, chat_id, queued)));
                    return note;
                }
                HaltProgress::Asked(request) => {
                    let result = request.await;
                    self.progress = HaltProgress::Over;
                    if let Err(error) = result {
                        tracing::warn!(%error, "the turn could not be interrupted");
                        return words::NOT_INTERRUPTED;
                    }
                }
                HaltProgress::Over => std::future::pending().await,
            }
        }
    }
}

async fn halt(caller: Caller, chat_id: String, queued: Option<String>) -> Result<(), ClientError> {
    let Some(queued_message_id) = queued else {
        return interrupt(&caller, chat_id).await;
    };
    let request = DeleteQueuedMessageRequest {
        chat_id: chat_id.clone(),
        request_id: new_request_id(),
        queued_message_id,
    };
    match caller.delete_queued_message(&request).await {
        // It has entered the history meanwhile.
        Err(ClientError::Refused { .. }) => interrupt(&caller, chat_id).await,
        deleted => deleted.map(|_| ()),
    }
}
