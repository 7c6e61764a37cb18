//! A database with a user, and commands as a replica would run them.

use std::{collections::BTreeMap, time::Duration};

use chatplane_domain::{
    ACTION_TIMEOUT_DEFAULT, Answer, AnswerContent, AnswerPart, BusyBehavior, CallId, CallKind, ChatId,
    ClientTool, Command, CommitStep, Context, Covered, CreateChat, Decision, EditMessage, Effort, Fence,
    FileId, FinishedCall, ForkChat, HolderCommand, HolderWrite, MessageId, NextStep, QueuedMessageId,
    Rejection, RequestId, SendMessage, SessionId, Summary, ToolCall, Usage, UserId, UserMessage, UserPart,
    WriteHeader, create, decide, fork,
};
use sha2::{Digest as _, Sha256};
use sqlx::{PgPool, postgres::PgPoolOptions};
use tokio::time::timeout;
use uuid::Uuid;

use crate::{
    caps::Caps,
    limits::Limits,
    store::{
        Applied, Ask, ChatView, Claim, ClaimError, Claimable, DEFAULT_ORGANIZATION, Database, FileView,
        MessageView, MetadataView, NewChat, Request, Snapshot, Store, TransactError, Transacted,
    },
    testing::database,
};

pub(super) type Outcome = Result<Transacted, TransactError<Rejection>>;

/// What is waited for in a test happens long before.
const DEADLINE: Duration = Duration::from_secs(30);

pub(super) struct World {
    pub(super) store: Store,
    pub(super) pool: PgPool,
    pub(super) user: UserId,
}

pub(super) async fn world() -> World {
    let url = database().await;
    let store = Store::connect(Database::at(&url, 4, Limits::default().database_use_max))
        .await
        .expect("the database answers");
    let user = UserId(Uuid::now_v7());
    store.create_user(user, DEFAULT_ORGANIZATION, "user", false).await.expect("the user is new");
    // The store keeps its connections to itself.
    let pool = PgPoolOptions::new().connect_lazy_with(store.connections.options());
    World { pool, store, user }
}

impl World {
    pub(super) fn message(&self, text: &str) -> UserMessage {
        UserMessage {
            created_by: self.user,
            parts: vec![UserPart::Text(text.to_owned())],
            model: None,
            requested_model: None,
            effort: None,
            queued_message_id: None,
        }
    }

    pub(super) fn new_chat_of(&self, text: &str) -> CreateChat {
        CreateChat {
            id: ChatId(Uuid::now_v7()),
            organization: DEFAULT_ORGANIZATION,
            owner: self.user,
            model: "test".to_owned(),
            effort: Effort::Unspecified,
            workspace: None,
            deployment_prompt: None,
            system_prompt: None,
            client_tools: Vec::new(),
            action_timeout: ACTION_TIMEOUT_DEFAULT,
            message: self.message(text),
        }
    }

    pub(super) async fn create(&self, new: CreateChat, ask: &Ask) -> Outcome {
        let beginning = self.store.beginning::<Rejection>(self.user, DEFAULT_ORGANIZATION, None).await?;
        let context = Context { now: beginning.now, queue_max: 3, lease_offer: None };
        let decision = create(new, context);
        let metadata =
            MetadataView { metadata_version: 1, title: "a title".to_owned(), labels: BTreeMap::new() };
        let new = NewChat {
            count_running: None,
            ask,
            metadata,
            workspace: None,
            turn_settings: beginning.turn_settings,
            files: self.files(&ask.files).await,
            now: beginning.now,
        };
        self.store.create(new, |_| decision, || Rejection::MessageNotFound).await
    }

    pub(super) async fn chat(&self, request: Option<Request>) -> Outcome {
        self.create(self.new_chat_of("first"), &Ask { request, ..Ask::default() }).await
    }

    pub(super) async fn new_chat(&self) -> ChatId {
        applied(self.chat(None).await).decision.chat.id
    }

    pub(super) async fn transact(&self, chat: ChatId, ask: &Ask, command: Command) -> Outcome {
        self.store.transact(chat, ask, |_| Ok(()), |snapshot| run(snapshot, command.clone())).await
    }

    /// A command that is applied, with nothing asked beside the chat.
    pub(super) async fn apply(&self, chat: ChatId, command: Command) -> Box<Applied> {
        applied(self.transact(chat, &Ask::default(), command).await)
    }

    /// What a user's command asks.
    pub(super) fn ask(&self) -> Ask {
        Ask { viewer: Some(self.user), ..Ask::default() }
    }

    /// The chat as its owner sees it.
    pub(super) async fn view(&self, chat: ChatId) -> ChatView {
        self.store.chat(chat, self.user).await.expect("it answers").expect("it is there")
    }

    /// Until somebody waits for a lock.
    pub(super) async fn until_somebody_waits(&self) {
        self.until_waiting(1).await;
    }

    /// Until so many wait for locks.
    pub(super) async fn until_waiting(&self, number: i64) {
        let waiting = "select count(*) from pg_stat_activity \
             where datname = current_database() and wait_event_type = 'Lock'";
        let somebody = async {
            while self.count(waiting).await < number {
                tokio::task::yield_now().await;
            }
        };
        timeout(DEADLINE, somebody).await.expect("they come to the lock");
    }

    /// A file of the user's; the same name has the same content.
    pub(super) async fn file(&self, name: &str) -> FileView {
        let sha256: [u8; 32] = Sha256::digest(name).into();
        sqlx::query("insert into file_contents (owner_id, sha256, content) values ($1, $2, $3)")
            .bind(self.user.0)
            .bind(&sha256[..])
            .bind(name.as_bytes())
            .execute(&self.pool)
            .await
            .expect("it is new");
        self.file_named(name, sha256).await
    }

    /// A file of this name with a content that is there.
    pub(super) async fn file_named(&self, name: &str, sha256: [u8; 32]) -> FileView {
        let id = FileId(Uuid::now_v7());
        sqlx::query(
            "insert into files (file_id, owner_id, name, media_type, size_bytes, sha256) \
             values ($1, $2, $3, 'text/plain', 1, $4)",
        )
        .bind(id.0)
        .bind(self.user.0)
        .bind(name)
        .bind(&sha256[..])
        .execute(&self.pool)
        .await
        .expect("it is new");
        self.files(&[id]).await.remove(0)
    }

    async fn files(&self, ids: &[FileId]) -> Vec<FileView> {
        self.store.files(self.user, ids).await.expect("it answers")
    }

    /// The chat as a command reads it.
    pub(super) async fn snapshot(&self, chat: ChatId, ask: &Ask) -> Snapshot {
        self.store.read(chat, ask).await.expect("it answers").expect("it is there")
    }

    pub(super) fn send(&self, text: &str) -> Command {
        self.send_busy(text, BusyBehavior::Queue)
    }

    pub(super) fn send_busy(&self, text: &str, busy: BusyBehavior) -> Command {
        let id = QueuedMessageId(Uuid::now_v7());
        Command::SendMessage(SendMessage { id, message: self.message(text), busy })
    }

    /// Replaces a message with what the store finds out about it.
    pub(super) async fn edit(&self, chat: ChatId, target: i64, text: &str) -> Outcome {
        let ask = Ask { target: Some(MessageId(target)), ..Ask::default() };
        let replacement = self.message(text);
        let edit = |snapshot: &Snapshot| run(snapshot, edit_message(snapshot, target, replacement.clone()));
        self.store.transact(chat, &ask, |_| Ok(()), edit).await
    }

    /// Clears the context with what the store finds out about the history.
    pub(super) async fn clear(&self, chat: ChatId) -> Outcome {
        let ask = Ask { history_ends: true, ..Ask::default() };
        let clear = |snapshot: &Snapshot| {
            run(snapshot, Command::ClearContext(snapshot.history_ends.expect("it was asked for")))
        };
        self.store.transact(chat, &ask, |_| Ok(()), clear).await
    }

    pub(super) async fn fork(&self, chat: ChatId, target: i64, request: Option<Request>) -> Outcome {
        let ask = Ask { fork: Some(MessageId(target)), request, ..self.ask() };
        let id = ChatId(Uuid::now_v7());
        self.store.fork(chat, &ask, |_| Ok(()), |snapshot| fork_of(snapshot, id, target)).await
    }

    /// Gives the chat to a new session.
    pub(super) async fn lease(&self, chat: ChatId) -> SessionId {
        let session = SessionId(Uuid::now_v7());
        self.apply(chat, Command::Lease(session)).await;
        session
    }

    /// A write of the chat's holder, with what the store finds out about its summary.
    pub(super) async fn hold(&self, chat: ChatId, write: HolderWrite) -> Outcome {
        let history_version = self.snapshot(chat, &Ask::default()).await.chat.versions.history;
        let covered = match &write {
            HolderWrite::CommitStep(step) => {
                step.summary.as_ref().map(|summary| (summary.covers_through, history_version))
            }
            _ => None,
        };
        let ask = Ask { covered, ..Ask::default() };
        let hold = |snapshot: &Snapshot| run(snapshot, held(snapshot, write.clone()));
        self.store.transact(chat, &ask, |_| Ok(()), hold).await
    }

    /// An answer of these parts.
    pub(super) async fn answer(
        &self,
        chat: ChatId,
        parts: Vec<AnswerContent>,
        next: NextStep,
    ) -> Box<Applied> {
        applied(self.hold(chat, step(Some(parts), next, None)).await)
    }

    pub(super) fn request(&self, body: u8) -> Request {
        Request {
            actor: self.user.0,
            id: RequestId(Uuid::now_v7()),
            method: "SendMessage",
            body_sha256: [body; 32],
        }
    }

    pub(super) async fn count(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(&self.pool).await.expect("the statement is right")
    }

    pub(super) async fn execute(&self, sql: &'static str) {
        sqlx::query(sql).execute(&self.pool).await.expect("the statement is right");
    }

    /// Ids of live rows.
    pub(super) async fn live(&self, chat: ChatId) -> Vec<i64> {
        let sql = "select id from messages where chat_id = $1 and not deleted order by id";
        sqlx::query_scalar(sql).bind(chat.0).fetch_all(&self.pool).await.expect("the statement is right")
    }

    /// Ids of the rows that a write which may lease the chat reads for the model.
    pub(super) async fn prompt(&self, chat: ChatId) -> Vec<i64> {
        let ask = Ask { turn_bytes_max: Some(i64::MAX), ..Ask::default() };
        let free = self.snapshot(chat, &ask).await.turn_input;
        let held = self.snapshot(chat, &Ask { for_holder: true, ..ask }).await.turn_input;
        ids(&free.or(held).expect("it was asked for"))
    }
}

pub(super) fn ids(messages: &[MessageView]) -> Vec<i64> {
    messages.iter().map(|message| message.id.0).collect()
}

pub(super) fn run(snapshot: &Snapshot, command: Command) -> Result<Decision, Rejection> {
    decide(&snapshot.chat, command, context(snapshot))
}

fn context(snapshot: &Snapshot) -> Context {
    Context { now: snapshot.now, queue_max: 3, lease_offer: None }
}

pub(super) fn edit_message(snapshot: &Snapshot, target: i64, replacement: UserMessage) -> Command {
    Command::EditMessage(EditMessage {
        target: MessageId(target),
        target_role: snapshot.target.map(|target| target.role),
        boundary_below: snapshot.target.and_then(|target| target.boundary_below),
        answered_below: snapshot.target.is_some_and(|target| target.answer_below.is_some()),
        replacement,
    })
}

pub(super) fn fork_of(snapshot: &Snapshot, id: ChatId, target: i64) -> Result<Decision, Rejection> {
    let facts = snapshot.fork.clone().ok_or(Rejection::MessageNotFound)?;
    let copy = ForkChat {
        id,
        organization: DEFAULT_ORGANIZATION,
        owner: snapshot.chat.owner,
        target: MessageId(target),
        covers_through: facts.covers_through,
        unanswered: facts.unanswered,
        answered: facts.last_answer.is_some(),
    };
    Ok(fork(&snapshot.chat, copy, context(snapshot)))
}

/// The next write of whoever has the chat's last lease.
pub(super) fn held(snapshot: &Snapshot, mut write: HolderWrite) -> Command {
    if let HolderWrite::CommitStep(CommitStep { summary: Some(summary), .. }) = &mut write {
        summary.covered = snapshot.covered.expect("it was asked for");
    }
    let lease = snapshot.chat.last_lease.as_ref();
    let header = WriteHeader {
        session: lease.map_or(SessionId(Uuid::nil()), |lease| lease.session),
        fence: lease.map_or(Fence::FIRST, |lease| lease.fence),
        write_no: lease.and_then(|lease| lease.last_write).map_or(0, |write| write.write_no) + 1,
        history_version: snapshot.chat.versions.history,
    };
    Command::Holder(HolderCommand { header, write })
}

pub(super) fn applied(outcome: Outcome) -> Box<Applied> {
    match outcome.expect("it is applied") {
        Transacted::Applied(applied) => applied,
        Transacted::Replayed(_) => panic!("it is no repeat"),
    }
}

/// Whatever chat waits longest.
pub(super) fn claimable(but: &[ChatId]) -> Claimable<'_> {
    Claimable { but, after: UserId(Uuid::nil()), caps: Caps::default(), turn_bytes_max: 1024 }
}

pub(super) fn leased(claimed: Result<Claim, ClaimError<Rejection>>) -> Box<Applied> {
    match claimed {
        Ok(Claim::Leased(applied)) => applied,
        other => panic!("nothing was claimed: {other:?}"),
    }
}

pub(super) fn text(text: &str) -> AnswerContent {
    AnswerContent::Text(text.to_owned())
}

pub(super) fn call(kind: CallKind) -> AnswerContent {
    call_of("a_tool", "{}", kind)
}

pub(super) fn call_of(tool_name: &str, arguments: &str, kind: CallKind) -> AnswerContent {
    AnswerContent::ToolCall(ToolCall {
        tool_name: tool_name.to_owned(),
        arguments_json: arguments.to_owned(),
        kind,
    })
}

pub(super) fn step(
    parts: Option<Vec<AnswerContent>>,
    next: NextStep,
    summary: Option<Summary>,
) -> HolderWrite {
    let answer = parts.map(|parts| Answer {
        parts: parts
            .into_iter()
            .map(|content| AnswerPart { content, provider_state: b"state".to_vec() })
            .collect(),
        model: "test".to_owned(),
        usage: Usage::default(),
        runtime_ms: 1,
        interrupted: false,
    });
    HolderWrite::CommitStep(CommitStep { answer, next, journal: None, summary })
}

pub(super) fn summary(covers_through: i64, text: &str) -> Summary {
    Summary {
        covers_through: MessageId(covers_through),
        covered: Covered { live: false, changed_since: false },
        text: text.to_owned(),
        model: "summarizer".to_owned(),
        usage: Usage { output_tokens: 5, ..Usage::default() },
        runtime_ms: 3,
        context_tokens: 700,
        context_percent: 70,
    }
}

pub(super) fn result(message: i64, index: i32, output: &str) -> FinishedCall {
    FinishedCall {
        call: CallId { message: MessageId(message), index },
        output: output.to_owned(),
        is_error: false,
        runtime_ms: 2,
    }
}

pub(super) fn tool(name: &str) -> ClientTool {
    ClientTool {
        name: name.to_owned(),
        description: "does something".to_owned(),
        input_schema_json: "{}".to_owned(),
    }
}
