//! Runs one prompt: creates a chat, watches it to the end of its turn, prints on the way.

use std::time::{Duration, SystemTime};

use chatplane_domain::WorkspaceId;
use chatplane_proto::chat::v1::{
    CreateChatRequest, InterruptChatRequest, Part, TextPart, WatchChatRequest, part,
};
use tokio::{
    io::{Stderr, Stdout},
    time::{Instant, sleep, timeout},
};
use tonic::{Code, Status};
use uuid::Uuid;

use crate::{
    dev::{
        DevError,
        client::{ChatClient, with_deadline},
        printer::Printer,
        transcript::{Outcome, Transcript},
        words,
    },
    exit::{Exit, say},
};

/// Each event is either something new or the sign of life that comes every 15 s.
const SILENCE_TIME_MAX: Duration = Duration::from_secs(45);
/// How long the control plane, which runs beside us, may be out of reach.
const OUTAGE_TIME_MAX: Duration = Duration::from_secs(30);
const RECONNECT_DELAY: Duration = Duration::from_millis(100);
/// How long an interrupt may take while everything is about to stop.
const INTERRUPT_TIME_MAX: Duration = Duration::from_secs(2);

/// One prompt and the chat that answers it.
pub(crate) struct PromptRun {
    client: ChatClient,
    printer: Printer<Stdout, Stderr>,
    chat_id: Option<String>,
}

impl PromptRun {
    pub(crate) fn new(client: ChatClient) -> Self {
        Self { client, printer: Printer::standard(), chat_id: None }
    }

    /// Runs the prompt to the end of its turn.
    pub(crate) async fn run(&mut self, workspace: WorkspaceId, prompt: String) -> Result<Exit, DevError> {
        let chat_id = self.create(workspace, prompt).await?;
        self.chat_id = Some(chat_id.clone());
        let outcome = self.watch(chat_id).await?;
        self.chat_id = None;
        self.printer.end_line().await.map_err(DevError::Output)?;
        match outcome {
            Outcome::Answered => Ok(Exit::Done),
            Outcome::Failed(error) => {
                say(&words::failure(&error));
                Ok(Exit::ChatFailed)
            }
        }
    }

    /// Stops a turn that is still running, so that the next `dev` does not go on with it unasked.
    pub(crate) async fn interrupt(&mut self) {
        // The answer ends here; that its line cannot be ended is of no use to anybody.
        let _ = self.printer.end_line().await;
        let Some(chat_id) = self.chat_id.take() else {
            return;
        };
        let request = InterruptChatRequest { chat_id, request_id: new_request_id() };
        match timeout(INTERRUPT_TIME_MAX, self.client.interrupt_chat(request)).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => {
                tracing::warn!(code = ?error.code(), "the running turn could not be interrupted");
            }
            Err(_) => tracing::warn!("the running turn could not be interrupted in time"),
        }
    }

    /// A repeat under the same request id creates no second chat.
    async fn create(&mut self, workspace: WorkspaceId, prompt: String) -> Result<String, DevError> {
        let request = CreateChatRequest {
            request_id: new_request_id(),
            parts: vec![Part { kind: Some(part::Kind::Text(TextPart { text: prompt })) }],
            workspace_id: workspace.to_string(),
            ..Default::default()
        };
        let mut outage = Outage::default();
        loop {
            match self.client.create_chat(with_deadline(request.clone())).await {
                Ok(reply) => return Ok(reply.into_inner().chat.unwrap_or_default().chat_id),
                Err(status) => outage.endure("create a chat", status).await?,
            }
        }
    }

    async fn watch(&mut self, chat_id: String) -> Result<Outcome, DevError> {
        let mut request = WatchChatRequest { chat_id, cursor: String::new(), history_limit: Some(-1) };
        let mut transcript = Transcript::default();
        let mut outage = Outage::default();
        loop {
            let broken = match self.follow(&mut request, &mut transcript, &mut outage).await? {
                Ended::Turn(outcome) => return Ok(outcome),
                Ended::Stream(status) => status,
            };
            outage.endure("watch the chat", broken).await?;
        }
    }

    /// Follows one stream as long as it lasts. The cursor of what has been printed is kept for the next.
    async fn follow(
        &mut self,
        request: &mut WatchChatRequest,
        transcript: &mut Transcript,
        outage: &mut Outage,
    ) -> Result<Ended, DevError> {
        let opened = timeout(SILENCE_TIME_MAX, self.client.watch_chat(request.clone())).await;
        let mut stream = match opened {
            Ok(Ok(reply)) => reply.into_inner(),
            Ok(Err(status)) => return Ok(Ended::Stream(status)),
            Err(_) => return Ok(Ended::Stream(silence())),
        };
        loop {
            let response = match timeout(SILENCE_TIME_MAX, stream.message()).await {
                Ok(Ok(Some(response))) => response,
                Ok(Ok(None)) => return Ok(Ended::Stream(Status::unavailable("the stream has ended"))),
                Ok(Err(status)) => return Ok(Ended::Stream(status)),
                Err(_) => return Ok(Ended::Stream(silence())),
            };
            outage.is_over();
            if let Some(event) = response.event {
                let outputs = transcript.apply(event, SystemTime::now());
                self.printer.print(outputs).await.map_err(DevError::Output)?;
            }
            request.cursor = response.cursor;
            if let Some(outcome) = transcript.outcome() {
                return Ok(Ended::Turn(outcome.clone()));
            }
        }
    }
}

enum Ended {
    Turn(Outcome),
    Stream(Status),
}

/// How long calls have been failing in a row.
#[derive(Default)]
struct Outage {
    since: Option<Instant>,
}

impl Outage {
    fn is_over(&mut self) {
        self.since = None;
    }

    /// Waits a moment before the next try, or says that another try is of no use.
    async fn endure(&mut self, action: &'static str, status: Status) -> Result<(), DevError> {
        let since = *self.since.get_or_insert_with(Instant::now);
        let may_pass = match status.code() {
            Code::Unavailable
            | Code::Unknown
            | Code::Cancelled
            | Code::DeadlineExceeded
            | Code::Aborted
            | Code::ResourceExhausted => true,
            Code::Ok
            | Code::InvalidArgument
            | Code::NotFound
            | Code::AlreadyExists
            | Code::PermissionDenied
            | Code::FailedPrecondition
            | Code::OutOfRange
            | Code::Unimplemented
            | Code::Internal
            | Code::DataLoss
            | Code::Unauthenticated => false,
        };
        if !may_pass {
            return Err(DevError::Refused { action, status: Box::new(status) });
        }
        if since.elapsed() > OUTAGE_TIME_MAX {
            return Err(DevError::Unanswered { seconds: OUTAGE_TIME_MAX.as_secs() });
        }
        sleep(RECONNECT_DELAY).await;
        Ok(())
    }
}

fn silence() -> Status {
    Status::deadline_exceeded("no sign of life")
}

fn new_request_id() -> String {
    Uuid::new_v4().to_string()
}
