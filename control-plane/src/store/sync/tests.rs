//! What a watcher reads, from a real PostgreSQL.

use chatplane_domain::{
    ACTION_TIMEOUT_DEFAULT, Answer, AnswerContent, AnswerPart, BusyBehavior, CallId, CallKind, ChatId,
    Command, CommitStep, Context, Covered, CreateChat, EditMessage, Effort, Fence, HolderCommand,
    HolderWrite, MessageId, NextStep, QueuedMessageId, Rejection, Role, SendMessage, SessionId, State,
    Summary, ToolCall, Usage, UserId, UserMessage, UserPart, WriteHeader, create, decide,
};
use uuid::Uuid;

use super::{QueuePosition, QueueThrough, RowPosition, SyncFrom, WatchedVersions};
use crate::{
    limits::Limits,
    store::{
        Ask, DEFAULT_ORGANIZATION, Database, MessageChange, MetadataView, NewChat, PendingCall, QueueChange,
        Store, SyncPage, Transacted,
    },
    testing::database,
};

const START: SyncFrom = SyncFrom::Start { history_limit: None };

/// A chat that a session has leased: a prompt nobody sees, and a user's message.
struct World {
    store: Store,
    user: UserId,
    chat: ChatId,
    session: SessionId,
}

async fn world() -> World {
    let store = Store::connect(Database::at(&database().await, 2, Limits::default().database_use_max))
        .await
        .expect("the database answers");
    let user = UserId(Uuid::now_v7());
    store.create_user(user, DEFAULT_ORGANIZATION, "user", false).await.expect("the user is new");
    let beginning = store.beginning::<Rejection>(user, DEFAULT_ORGANIZATION, None).await;
    let beginning = beginning.expect("the database answers");
    let (now, turn_settings) = (beginning.now, beginning.turn_settings);
    let chat = ChatId(Uuid::now_v7());
    let decision = create(
        CreateChat {
            id: chat,
            organization: DEFAULT_ORGANIZATION,
            owner: user,
            model: "test".to_owned(),
            effort: Effort::default(),
            workspace: None,
            deployment_prompt: Some("nobody sees this".to_owned()),
            system_prompt: None,
            client_tools: Vec::new(),
            action_timeout: ACTION_TIMEOUT_DEFAULT,
            message: message(user, "first"),
        },
        Context { now, queue_max: 500, lease_offer: None },
    );
    let metadata = MetadataView { metadata_version: 1, title: String::new(), labels: Default::default() };
    let (ask, files) = (&Ask::default(), Vec::new());
    let new = NewChat { count_running: None, ask, metadata, workspace: None, turn_settings, files, now };
    let created = store.create::<Rejection>(new, |_| decision, || unreachable!("its files are there"));
    created.await.expect("it is created");
    let world = World { store, user, chat, session: SessionId(Uuid::now_v7()) };
    world.transact(Command::Lease(world.session)).await;
    world
}

fn message(user: UserId, text: &str) -> UserMessage {
    UserMessage {
        created_by: user,
        parts: vec![UserPart::Text(text.to_owned())],
        model: None,
        requested_model: None,
        effort: None,
        queued_message_id: None,
    }
}

impl World {
    async fn transact(&self, command: Command) {
        let run = |snapshot: &crate::store::Snapshot| {
            let context = Context { now: snapshot.now, queue_max: 500, lease_offer: None };
            decide(&snapshot.chat, command.clone(), context)
        };
        let done = self.store.transact(self.chat, &Ask::default(), |_| Ok(()), run).await;
        assert!(matches!(done, Ok(Transacted::Applied(_))), "{done:?}");
    }

    async fn queue(&self, text: &str) -> QueuedMessageId {
        let id = QueuedMessageId(Uuid::now_v7());
        let message = message(self.user, text);
        self.transact(Command::SendMessage(SendMessage { id, message, busy: BusyBehavior::Queue })).await;
        id
    }

    async fn answer(&self, write_no: i64, parts: Vec<AnswerContent>, next: NextStep) {
        self.commit(write_no, parts, next, None).await;
    }

    async fn commit(
        &self,
        write_no: i64,
        parts: Vec<AnswerContent>,
        next: NextStep,
        summary: Option<Summary>,
    ) {
        let parts =
            parts.into_iter().map(|content| AnswerPart { content, provider_state: b"secret".to_vec() });
        let answer = Answer {
            parts: parts.collect(),
            model: "test".to_owned(),
            usage: Usage::default(),
            runtime_ms: 1,
            interrupted: false,
        };
        let view = self.store.chat(self.chat, self.user).await.expect("it answers").expect("it is there");
        let header = WriteHeader {
            session: self.session,
            fence: Fence(1),
            write_no,
            history_version: view.versions.history,
        };
        let write =
            HolderWrite::CommitStep(CommitStep { answer: Some(answer), next, journal: None, summary });
        self.transact(Command::Holder(HolderCommand { header, write })).await;
    }

    async fn edit_first(&self) {
        self.edit(MessageId(2), None).await;
    }

    async fn edit(&self, target: MessageId, boundary_below: Option<MessageId>) {
        let replacement = message(self.user, "edited");
        let edit = EditMessage {
            target,
            target_role: Some(Role::User),
            boundary_below,
            answered_below: false,
            replacement,
        };
        self.transact(Command::EditMessage(edit)).await;
    }

    async fn sync(&self, from: SyncFrom) -> SyncPage {
        self.store.sync(self.chat, self.user, from).await.expect("it answers").expect("it is there")
    }
}

fn text(text: &str) -> AnswerContent {
    AnswerContent::Text(text.to_owned())
}

fn after(revision: i64, id: i64) -> SyncFrom {
    let row = RowPosition { revision, id: MessageId(id) };
    SyncFrom::After { row, queue: QueuePosition::START, removed_after: 0 }
}

/// Rows as `id@revision`, deleted ones with a minus.
fn rows(page: &SyncPage) -> Vec<String> {
    let row = |change: &MessageChange| match change {
        MessageChange::Live(view) => format!("{}@{}", view.id.0, view.revision),
        MessageChange::Deleted { id, revision } => format!("-{}@{revision}", id.0),
    };
    page.messages.iter().map(row).collect()
}

fn entries(page: &SyncPage) -> Vec<(QueuedMessageId, bool)> {
    let entry = |change: &QueueChange| match change {
        QueueChange::Upserted { entry, .. } => (entry.id, true),
        QueueChange::Removed { id, .. } => (*id, false),
    };
    page.queue.iter().map(entry).collect()
}

#[tokio::test]
async fn a_chat_that_is_not_there_gives_no_page() {
    let world = world().await;
    let page = world.store.sync(ChatId(Uuid::now_v7()), world.user, START).await.expect("it answers");
    assert_eq!(page, None);
}

#[tokio::test]
async fn a_page_shows_what_users_see_with_the_lease_and_the_open_calls() {
    let world = world().await;
    let call = ToolCall {
        tool_name: "read_file".to_owned(),
        arguments_json: "{}".to_owned(),
        kind: CallKind::Worker,
    };
    world.answer(1, vec![text("Let me see."), AnswerContent::ToolCall(call)], NextStep::Continue).await;

    let page = world.sync(START).await;

    assert_eq!(rows(&page), ["2@1", "3@3"], "the prompt is not shown");
    assert_eq!((page.chat.fence, page.chat.leased, page.more), (Some(Fence(1)), true, false));
    assert_eq!(page.open_calls, [CallId { message: MessageId(3), index: 0 }]);
    assert!(!format!("{page:?}").contains("115, 101, 99, 114, 101, 116"), "provider state stays behind");
    assert_eq!(
        page.chat,
        world.store.chat(world.chat, world.user).await.expect("it answers").expect("it is there")
    );
}

#[tokio::test]
async fn a_suspended_chat_says_which_calls_wait_for_whom_and_until_when() {
    let world = world().await;
    let call = ToolCall {
        tool_name: "ask\0user".to_owned(),
        arguments_json: "{}".to_owned(),
        kind: CallKind::Client,
    };
    world.answer(1, vec![AnswerContent::ToolCall(call)], NextStep::Suspend).await;

    let page = world.sync(START).await;

    let id = CallId { message: MessageId(3), index: 0 };
    assert_eq!((page.chat.state, page.chat.leased), (State::Suspended, false));
    assert_eq!(page.open_calls, [id]);
    let required = page.chat.action_required.expect("a call waits");
    let tool_name = "ask\0user".to_owned();
    assert_eq!(required.calls, [PendingCall { id, tool_name, kind: CallKind::Client }]);
    assert_eq!(required.deadline, page.chat.update_time + ACTION_TIMEOUT_DEFAULT);
    let again = world.store.chat(world.chat, world.user).await.expect("it answers").expect("it is there");
    assert_eq!(again.action_required.map(|again| again.deadline), Some(required.deadline));
}

#[tokio::test]
async fn a_boundary_is_shown_without_what_only_the_model_sees_and_comes_again_when_an_edit_spares_it() {
    let world = world().await;
    world.answer(1, vec![text("one")], NextStep::Continue).await;
    let later = world.queue("second in line").await;
    world.answer(2, vec![text("two")], NextStep::Finish).await;
    let summary = Summary {
        covers_through: MessageId(3),
        covered: Covered { live: true, changed_since: false },
        text: "what was said".to_owned(),
        model: "test".to_owned(),
        usage: Usage::default(),
        runtime_ms: 1,
        context_tokens: 70,
        context_percent: 70,
    };
    world.commit(3, vec![text("three")], NextStep::Continue, Some(summary)).await;

    let before = world.sync(START).await;
    // The message that was queued, below the boundary and not covered by it.
    world.edit(MessageId(5), Some(MessageId(3))).await;
    let after_edit = world.sync(after(6, 9)).await;

    assert_eq!(entries(&before), [], "{later} has entered");
    assert_eq!(rows(&before), ["2@1", "3@3", "4@5", "5@5", "7@6", "8@6", "9@6"]);
    let covered = |page: &SyncPage| -> Vec<Option<MessageId>> {
        let live = page.messages.iter().filter_map(|change| match change {
            MessageChange::Live(view) => Some(view.covers_through),
            MessageChange::Deleted { .. } => None,
        });
        live.collect()
    };
    let through = Some(MessageId(3));
    assert_eq!(covered(&before), [None, None, None, None, through, through, None]);
    assert_eq!(rows(&after_edit), ["-5@7", "7@7", "8@7", "-9@7", "10@7"]);
    assert_eq!(covered(&after_edit), [through, through, None]);
    assert_eq!(rows(&world.sync(START).await), ["2@1", "3@3", "4@5", "7@7", "8@7", "10@7"]);
    let last = world.sync(SyncFrom::Start { history_limit: Some(2) }).await;
    assert_eq!(rows(&last), ["8@7", "10@7"]);
}

#[tokio::test]
async fn a_limit_shows_the_last_messages_and_where_they_begin() {
    let world = world().await;
    world.answer(1, vec![text("one")], NextStep::Continue).await;
    world.answer(2, vec![text("two")], NextStep::Continue).await;

    let last_two = world.sync(SyncFrom::Start { history_limit: Some(2) }).await;
    let none = world.sync(SyncFrom::Start { history_limit: Some(0) }).await;
    let all = world.sync(SyncFrom::Start { history_limit: Some(3) }).await;

    assert_eq!(rows(&last_two), ["3@3", "4@4"]);
    assert_eq!(last_two.start, RowPosition { revision: 1, id: MessageId(2) });
    assert_eq!(rows(&none), Vec::<String>::new());
    assert_eq!(none.start, RowPosition { revision: 4, id: MessageId(4) });
    assert_eq!((rows(&all).len(), all.start), (3, RowPosition::START));
}

#[tokio::test]
async fn deleted_rows_are_shown_to_who_may_have_them() {
    let world = world().await;
    world.answer(1, vec![text("one")], NextStep::Continue).await;
    world.edit_first().await;

    let resumed = world.sync(after(1, 2)).await;
    let fresh = world.sync(START).await;
    let later = SyncFrom::After {
        row: RowPosition { revision: 1, id: MessageId(2) },
        queue: QueuePosition::START,
        removed_after: 4,
    };

    assert_eq!(rows(&resumed), ["-2@4", "-3@4", "4@4"]);
    assert_eq!(rows(&fresh), ["4@4"]);
    assert_eq!(rows(&world.sync(later).await), ["4@4"]);
    assert_eq!(rows(&world.sync(after(4, 3)).await), ["4@4"]);
    assert_eq!(rows(&world.sync(after(4, 4)).await), Vec::<String>::new());
}

#[tokio::test]
async fn the_queue_is_read_by_revision_and_entry() {
    let world = world().await;
    let first = world.queue("first in line").await;
    let second = world.queue("second in line").await;
    world.answer(1, vec![text("done")], NextStep::Finish).await;
    let queue = |revision, through| SyncFrom::After {
        row: RowPosition::START,
        queue: QueuePosition { revision, through },
        removed_after: 0,
    };

    assert_eq!(entries(&world.sync(START).await), [(second, true)]);
    let all = world.sync(queue(0, QueueThrough::All)).await;
    assert_eq!(entries(&all), [(second, true), (first, false)]);
    let behind_second = world.sync(queue(4, QueueThrough::Entry(second))).await;
    assert_eq!(entries(&behind_second), [(first, false)]);
    let complete = world.sync(queue(all.chat.versions.queue, QueueThrough::All)).await;
    assert_eq!(entries(&complete), []);
}

#[tokio::test]
async fn pages_are_cut_by_bytes_and_a_larger_message_is_one_of_its_own() {
    let world = world().await;
    world.queue("waits").await;
    for (write_no, bytes) in (1..).zip([600_000, 600_000, 1_500_000, 10]) {
        world.answer(write_no, vec![text(&"x".repeat(bytes))], NextStep::Continue).await;
    }

    let mut pages = Vec::new();
    let mut from = START;
    loop {
        let page = world.sync(from).await;
        assert_eq!(page.queue.is_empty(), page.more, "the queue follows the last message");
        pages.push(rows(&page));
        let Some(MessageChange::Live(last)) = page.messages.last() else { panic!("a page has rows") };
        from = after(last.revision, last.id.0);
        if !page.more {
            break;
        }
    }

    assert_eq!(pages, [vec!["2@1", "3@4"], vec!["4@5"], vec!["5@6"], vec!["6@7"]]);
}

#[tokio::test]
async fn pages_are_cut_by_rows_and_entries() {
    let world = world().await;
    for number in 0..201 {
        world.queue(&format!("entry {number}")).await;
    }

    let first = world.sync(START).await;
    let QueueChange::Upserted { entry, revision } = &first.queue[199] else { panic!("nothing is removed") };
    let queue = QueuePosition { revision: *revision, through: QueueThrough::Entry(entry.id) };
    let row = RowPosition { revision: 1, id: MessageId(2) };
    let second = world.sync(SyncFrom::After { row, queue, removed_after: 0 }).await;

    assert_eq!((first.messages.len(), first.queue.len(), first.more), (1, 200, true));
    assert_eq!((second.messages.len(), second.queue.len(), second.more), (0, 1, false));
}

#[tokio::test]
async fn versions_are_read_for_many_chats_at_once() {
    let world = world().await;
    let chats = [world.chat, ChatId(Uuid::now_v7())];
    let versions = world.store.versions(&chats).await.expect("it answers");
    let expected = WatchedVersions { snapshot: 2, metadata: 1, connection: None };
    assert_eq!(versions, [(world.chat, expected)]);
}
