//! One chat as its user holds it: a message in, the answer printed as it comes, until the turn is over.
//!
//! The chat is watched for as long as a turn runs. The cursor and the transcript are kept between turns and
//! over broken streams, so nothing is printed twice and nothing is missed.

use std::time::{Duration, SystemTime};

use chatplane_domain::WorkspaceId;
use chatplane_proto::chat::v1::{
    CreateChatRequest, InterruptChatRequest, Part, SendMessageRequest, TextPart, WatchChatRequest, part,
};
use futures::future::BoxFuture;
use tokio::{
    io::{Stderr, Stdout},
    select,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tonic::Status;
use uuid::Uuid;

use crate::dev::{
    DevError,
    client::{ChatClient, with_deadline},
    model::Provider,
    outage::Outage,
    printer::Printer,
    transcript::{Outcome, Transcript},
    words,
};

/// Each event is either something new or the sign of life that comes every 15 s.
const SILENCE_TIME_MAX: Duration = Duration::from_secs(45);
/// After this long without a word, a person is told that it is the model that is waited for.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long an interrupt may take while everything is about to stop.
const ABANDON_TIME_MAX: Duration = Duration::from_secs(2);
/// How long the end of the answer's last line may take to be written then.
const LAST_LINE_TIME_MAX: Duration = Duration::from_millis(500);

/// A turn that may be running.
enum OpenTurn {
    /// Its message makes a chat, and may have arrived.
    Creating(CreateChatRequest),
    /// Its message goes to a chat that there is, and may have arrived.
    Sending(SendMessageRequest),
    /// Its message has arrived in this chat.
    Running { chat_id: String },
}

/// A chat, made by its first message.
pub(crate) struct Chat {
    client: ChatClient,
    workspace: WorkspaceId,
    provider: Provider,
    printer: Printer<Stdout, Stderr>,
    transcript: Transcript,
    chat_id: Option<String>,
    /// How far the chat has been printed.
    cursor: String,
    open_turn: Option<OpenTurn>,
}

impl Chat {
    pub(crate) fn new(client: ChatClient, workspace: WorkspaceId, provider: Provider) -> Self {
        Self {
            client,
            workspace,
            provider,
            printer: Printer::standard(),
            transcript: Transcript::new(provider),
            chat_id: None,
            cursor: String::new(),
            open_turn: None,
        }
    }

    /// Leaves the chat as it is: the next message makes another.
    pub(crate) fn begin_anew(&mut self) {
        self.transcript = Transcript::new(self.provider);
        self.chat_id = None;
        self.cursor.clear();
    }

    /// Sends the message and prints what comes of it until the turn is over. When `stop` is cancelled the turn
    /// is interrupted, and soon over.
    pub(crate) async fn turn(&mut self, text: String, stop: &CancellationToken) -> Result<Outcome, DevError> {
        let parts = vec![Part { kind: Some(part::Kind::Text(TextPart { text })) }];
        let request_id = new_request_id();
        // Known before the call, so that whoever drops this can still stop what the call has begun.
        self.open_turn = Some(match self.chat_id.clone() {
            None => OpenTurn::Creating(CreateChatRequest {
                request_id,
                parts,
                workspace_id: self.workspace.to_string(),
                ..Default::default()
            }),
            Some(chat_id) => {
                OpenTurn::Sending(SendMessageRequest { chat_id, request_id, parts, ..Default::default() })
            }
        });
        let delivered = self.deliver().await;
        if let Err(DevError::Refused { .. }) = delivered {
            self.open_turn = None;
        }
        let chat_id = delivered?.expect("the turn was opened above");
        self.transcript.begin_turn();
        let outcome = self.watch(chat_id, stop).await?;
        self.open_turn = None;
        self.printer.end_line().await.map_err(DevError::Output)?;
        Ok(outcome)
    }

    /// Stops a turn that may still be running, so that the next `dev` does not go on with it unasked.
    pub(crate) async fn abandon(&mut self) {
        if self.open_turn.is_some() {
            match timeout(ABANDON_TIME_MAX, self.stop_turn()).await {
                Ok(Ok(())) => self.open_turn = None,
                Ok(Err(error)) => tracing::warn!(%error, "the running turn could not be interrupted"),
                Err(_) => tracing::warn!("the running turn could not be interrupted in time"),
            }
        }
        // The answer ends here; that its line cannot be ended is of no use to anybody. A terminal that takes
        // no more must not keep us.
        let _ = timeout(LAST_LINE_TIME_MAX, self.printer.end_line()).await;
    }

    /// Only a message that has arrived makes a turn that can be interrupted: one that may have is sent again.
    async fn stop_turn(&mut self) -> Result<(), DevError> {
        match self.deliver().await? {
            Some(chat_id) => interrupt(self.client.clone(), chat_id).await,
            None => Ok(()),
        }
    }

    /// Brings the open turn's message to the control plane, and says in which chat it then runs. A repeat under
    /// the same request id makes no second chat and sends no second message.
    async fn deliver(&mut self) -> Result<Option<String>, DevError> {
        let chat_id = match &self.open_turn {
            None => return Ok(None),
            Some(OpenTurn::Running { chat_id }) => chat_id.clone(),
            Some(OpenTurn::Creating(request)) => create(&mut self.client, request).await?,
            Some(OpenTurn::Sending(request)) => send(&mut self.client, request).await?,
        };
        self.chat_id = Some(chat_id.clone());
        self.open_turn = Some(OpenTurn::Running { chat_id: chat_id.clone() });
        Ok(Some(chat_id))
    }

    async fn watch(&mut self, chat_id: String, stop: &CancellationToken) -> Result<Outcome, DevError> {
        let mut interruption = Interruption::new(self.client.clone(), chat_id.clone(), stop.clone());
        let mut outage = Outage::default();
        loop {
            let broken = match self.follow(&chat_id, &mut interruption, &mut outage).await? {
                Ended::Turn(outcome) => return Ok(outcome),
                Ended::Stream(status) => status,
            };
            outage.endure("watch the chat", broken).await?;
        }
    }

    /// Follows one stream as long as it lasts. The cursor of what has been printed is kept for the next.
    async fn follow(
        &mut self,
        chat_id: &str,
        interruption: &mut Interruption,
        outage: &mut Outage,
    ) -> Result<Ended, DevError> {
        let request = WatchChatRequest {
            chat_id: chat_id.to_owned(),
            cursor: self.cursor.clone(),
            history_limit: Some(-1),
        };
        let opened = timeout(SILENCE_TIME_MAX, self.client.watch_chat(request)).await;
        let mut stream = match opened {
            Ok(Ok(reply)) => reply.into_inner(),
            Ok(Err(status)) => return Ok(Ended::Stream(status)),
            Err(_) => return Ok(Ended::Stream(silence())),
        };
        loop {
            let waits_for_model = self.transcript.waits_for_model();
            let received = select! {
                received = timeout(SILENCE_TIME_MAX, stream.message()) => received,
                note = interruption.proceed() => {
                    self.printer.note(note).await;
                    continue;
                }
                () = sleep(PATIENCE), if waits_for_model => {
                    self.transcript.has_told_to_wait();
                    self.printer.note(&words::model_is_silent(self.provider)).await;
                    continue;
                }
            };
            let response = match received {
                Ok(Ok(Some(response))) => response,
                Ok(Ok(None)) => return Ok(Ended::Stream(Status::unavailable("the stream has ended"))),
                Ok(Err(status)) => return Ok(Ended::Stream(status)),
                Err(_) => return Ok(Ended::Stream(silence())),
            };
            outage.is_over();
            if let Some(event) = response.event {
                let outputs = self.transcript.apply(event, SystemTime::now());
                self.printer.print(outputs).await.map_err(DevError::Output)?;
            }
            self.cursor = response.cursor;
            if let Some(outcome) = self.transcript.outcome() {
                return Ok(Ended::Turn(outcome.clone()));
            }
        }
    }
}

enum Ended {
    Turn(Outcome),
    Stream(Status),
}

/// Interrupts a turn once, when it is asked to, and says what is happening.
struct Interruption {
    client: ChatClient,
    chat_id: String,
    stop: CancellationToken,
    progress: Progress,
}

enum Progress {
    NotAsked,
    Asked(BoxFuture<'static, Result<(), DevError>>),
    Over,
}

impl Interruption {
    fn new(client: ChatClient, chat_id: String, stop: CancellationToken) -> Self {
        Self { client, chat_id, stop, progress: Progress::NotAsked }
    }

    /// The next that is worth a note. Dropping the wait loses nothing.
    async fn proceed(&mut self) -> &'static str {
        loop {
            match &mut self.progress {
                Progress::NotAsked => {
                    self.stop.cancelled().await;
                    let request = interrupt(self.client.clone(), self.chat_id.clone());
                    self.progress = Progress::Asked(Box::pin(request));
                    return words::INTERRUPTING;
                }
                Progress::Asked(request) => {
                    let result = request.await;
                    self.progress = Progress::Over;
                    if let Err(error) = result {
                        tracing::warn!(%error, "the turn could not be interrupted");
                        return words::NOT_INTERRUPTED;
                    }
                }
                Progress::Over => std::future::pending().await,
            }
        }
    }
}

async fn create(client: &mut ChatClient, request: &CreateChatRequest) -> Result<String, DevError> {
    let mut outage = Outage::default();
    loop {
        match client.create_chat(with_deadline(request.clone())).await {
            Ok(reply) => return Ok(reply.into_inner().chat.unwrap_or_default().chat_id),
            Err(status) => outage.endure("create a chat", status).await?,
        }
    }
}

async fn send(client: &mut ChatClient, request: &SendMessageRequest) -> Result<String, DevError> {
    let mut outage = Outage::default();
    loop {
        match client.send_message(with_deadline(request.clone())).await {
            Ok(_) => return Ok(request.chat_id.clone()),
            Err(status) => outage.endure("send the message", status).await?,
        }
    }
}

async fn interrupt(mut client: ChatClient, chat_id: String) -> Result<(), DevError> {
    let request = InterruptChatRequest { chat_id, request_id: new_request_id() };
    let mut outage = Outage::default();
    loop {
        match client.interrupt_chat(with_deadline(request.clone())).await {
            Ok(_) => return Ok(()),
            Err(status) => outage.endure("interrupt the turn", status).await?,
        }
    }
}

fn silence() -> Status {
    Status::deadline_exceeded("no sign of life")
}

fn new_request_id() -> String {
    Uuid::new_v4().to_string()
}
