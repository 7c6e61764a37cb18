//! Watching, end to end: what several watchers make of one chat, cut wherever it
//! happens and resumed by cursor, against the chat itself and the model's journal.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use chatplane_proto::chat::v1::{self as proto, watch_chat_response::Event};
use chatplane_tests::{
    Client, Cluster, DEADLINE, Options, eventually,
    fold::{Fold, Pictures},
    model_server::{Action, Call, Gate, ModelServer, PartKind, call_tools, say},
    text,
};
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::json;
use tokio::{
    task::{JoinSet, LocalSet},
    time::timeout,
};
use tonic::Code;
use tonic_types::StatusExt;

/// What all watchers of a chat share.
struct Audience {
    chat: String,
    model: Arc<ModelServer>,
    pictures: Mutex<Pictures>,
    /// The snapshot at which the test has come to its end.
    end: tokio::sync::watch::Receiver<Option<i64>>,
}

/// How a watcher behaves.
#[derive(Clone, Copy)]
enum Manner {
    /// It stays.
    Steady,
    /// It leaves after a few events, and goes on with its cursor.
    Cut,
    /// As `Cut`, and sometimes it begins anew.
    Forgetful,
}

/// Watches until the end, and answers what it knows then.
async fn watch(mut client: Client, audience: Arc<Audience>, manner: Manner, seed: u64) -> Fold {
    let mut random = StdRng::seed_from_u64(seed);
    let mut end = audience.end.clone();
    let mut fold = Fold::default();
    loop {
        // A control plane that was killed is back before long.
        let opened = eventually("the chat can be watched", async || {
            match client.watch(&audience.chat, &fold.cursor).await {
                Err(status) if matches!(status.code(), Code::Unavailable | Code::Unknown) => None,
                opened => Some(opened),
            }
        });
        let mut stream = opened.await.expect("the cursor is good");
        let events = match manner {
            Manner::Steady => usize::MAX,
            Manner::Cut | Manner::Forgetful => random.random_range(0..40),
        };
        for _ in 0..events {
            if is_done(&fold, &audience) {
                return fold;
            }
            let event = tokio::select! {
                event = stream.message() => event,
                Ok(()) = end.changed() => continue,
            };
            let Ok(Some(event)) = event else { break };
            take(&mut fold, &event, &audience).unwrap_or_else(|wrong| panic!("with seed {seed}: {wrong}"));
        }
        drop(stream);
        match manner {
            Manner::Forgetful if random.random_ratio(1, 8) => fold = Fold::default(),
            _ if fold.cursor.is_empty() => {}
            _ => fold.reconnected(),
        }
    }
}

fn is_done(fold: &Fold, audience: &Audience) -> bool {
    let end = *audience.end.borrow();
    let known = fold.durable.state.map(|state| state.snapshot_version);
    end.is_some() && known >= end
}

fn take(fold: &mut Fold, event: &proto::WatchChatResponse, audience: &Audience) -> Result<(), String> {
    fold.apply(event)?;
    audience.pictures.lock().expect("nobody panics with it").compare(fold)?;
    let Some(Event::PartAppend(append)) = &event.event else { return Ok(()) };
    let stream = append.stream.ok_or("an append has no stream")?;
    let preview = &fold.previews[&(stream.base_version, stream.index)];
    let was_said = |call: &Call| {
        let parts = preview.parts.iter().zip(&call.parts);
        preview.parts.len() <= call.parts.len() && { parts }
            .all(|(shown, sent)| sent.sent.as_bytes().starts_with(&shown.bytes))
    };
    if preview.call.is_none() && !audience.model.calls().iter().any(was_said) {
        return Err(format!("the model never said {:?}", preview.parts));
    }
    Ok(())
}

/// Thinks, talks in small pieces, and looks around now and then.
fn lively() -> impl Fn(&chatplane_tests::model_server::Request) -> Vec<Action> {
    |request| {
        let number = request.number;
        if number % 7 == 3 {
            return vec![
                Action::error_status(529, "overloaded_error", "busy").with_header("retry-after", "0"),
            ];
        }
        if request.new_tool_results().is_empty() && number % 3 == 1 {
            return call_tools(&[("list_dir", json!({"path": "."})), ("read_file", json!({"path": "none"}))]);
        }
        let words = format!("Answer {number}: naïve café, 漢字 and 𝄞. ").repeat(6);
        let mut actions = vec![
            Action::DeltaBytes(7),
            Action::Pace(Duration::from_millis(1)),
            Action::thinking(&words, "signature"),
            Action::text(&words),
        ];
        // A stream that breaks in the middle is a call to be repeated.
        if number % 11 == 5 {
            actions.push(Action::Cut);
        }
        actions.push(Action::stop());
        actions
    }
}

/// A user who sends, interrupts and waits, without any plan.
async fn use_the_chat(client: &mut Client, chat: &str, random: &mut StdRng, sends: usize) {
    for number in 0..sends {
        let sent = client.send(chat, &format!("message {number}")).await;
        sent.expect("a queue of 50 takes them all");
        match random.random_range(0..4) {
            0 => {
                let request =
                    proto::InterruptChatRequest { chat_id: chat.to_owned(), request_id: String::new() };
                client.chats.interrupt_chat(request).await.expect("an interrupt is always allowed");
            }
            1 => drop(at_rest(client, chat).await),
            _ => {}
        }
    }
}

async fn at_rest(client: &mut Client, chat: &str) -> proto::Chat {
    eventually("the chat comes to rest", async || {
        let chat = client.chat(chat).await.ok()?;
        (chat.state() == proto::ChatState::Waiting).then_some(chat)
    })
    .await
}

async fn queue(client: &mut Client, chat: &str) -> Vec<proto::QueuedMessage> {
    let request = proto::ListMessagesRequest { chat_id: chat.to_owned(), page_size: 1, ..Default::default() };
    client.chats.list_messages(request).await.expect("the queue is listed").into_inner().queued_messages
}

/// A chat in a cluster, and everybody who watches it.
struct Show {
    cluster: Cluster,
    client: Client,
    chat: String,
    watchers: JoinSet<Fold>,
    end: tokio::sync::watch::Sender<Option<i64>>,
}

async fn show(model: ModelServer, seed: u64) -> Show {
    let options = Options { model_url: model.url(), workers: 1, workspace: true, ..Options::default() };
    let cluster = Cluster::start(options).await;
    let mut client = cluster.client();
    let request = proto::CreateChatRequest {
        parts: vec![text("Begin.")],
        workspace_id: cluster.workspace.to_string(),
        ..Default::default()
    };
    let created = client.chats.create_chat(request).await.expect("created").into_inner();
    let chat = created.chat.expect("a chat").chat_id;
    let (end, ended) = tokio::sync::watch::channel(None);
    let pictures = Mutex::default();
    let audience = Arc::new(Audience { chat: chat.clone(), model: Arc::new(model), pictures, end: ended });
    let mut watchers = JoinSet::new();
    let manners = [Manner::Steady, Manner::Cut, Manner::Cut, Manner::Forgetful];
    for (number, manner) in (0..).zip(manners) {
        watchers.spawn_local(watch(cluster.client(), Arc::clone(&audience), manner, seed + number));
    }
    Show { cluster, client, chat, watchers, end }
}

impl Show {
    /// At rest, every watcher knows what the chat is.
    async fn finish(mut self) {
        let chat = at_rest(&mut self.client, &self.chat).await;
        self.end.send_replace(Some(chat.snapshot_version));
        let folds = timeout(DEADLINE, self.watchers.join_all()).await.expect("every watcher gets there");
        let messages = self.client.messages(&self.chat).await;
        let queue = queue(&mut self.client, &self.chat).await;
        for fold in folds {
            fold.matches(&chat, &messages, &queue).unwrap_or_else(|wrong| panic!("{wrong}"));
        }
    }
}

#[tokio::test]
async fn watchers_cut_at_random_points_see_the_same_chat_as_one_that_stays() {
    let sends = if std::env::var_os("CI").is_some() { 40 } else { 12 };
    let seed = rand::random();
    LocalSet::new()
        .run_until(Box::pin(async {
            let mut random = StdRng::seed_from_u64(seed);
            let mut show = show(ModelServer::start(lively()).await, seed).await;

            use_the_chat(&mut show.client, &show.chat, &mut random, sends).await;

            show.finish().await;
        }))
        .await;
}

#[tokio::test]
async fn watchers_go_on_when_worker_and_control_plane_are_killed() {
    let seed = rand::random();
    LocalSet::new()
        .run_until(Box::pin(async {
            let mut random = StdRng::seed_from_u64(seed);
            let mut show = show(ModelServer::start(lively()).await, seed).await;

            use_the_chat(&mut show.client, &show.chat, &mut random, 4).await;
            show.cluster.add_worker();
            show.cluster.workers[0].kill();
            use_the_chat(&mut show.client, &show.chat, &mut random, 4).await;
            show.cluster.restart_control_plane().await;
            eventually("the control plane is back", async || show.client.chat(&show.chat).await.ok()).await;
            use_the_chat(&mut show.client, &show.chat, &mut random, 4).await;

            show.finish().await;
        }))
        .await;
}

#[tokio::test]
async fn a_joiner_is_shown_the_running_answer_from_its_beginning() {
    let gate = Gate::new();
    let held = gate.clone();
    let model = ModelServer::start(move |_| {
        vec![
            Action::thinking("Let me think.", "signature"),
            Action::text("It is "),
            held.wait(),
            Action::text("late."),
            Action::stop(),
        ]
    })
    .await;
    let cluster = Cluster::start(Options { model_url: model.url(), workers: 1, ..Options::default() }).await;
    let mut client = cluster.client();
    let chat = client.create_chat("When?").await.chat_id;
    gate.reached().await;

    let mut early = client.watch(&chat, "").await.expect("the chat can be watched");
    let mut fold = Fold::default();
    while !shows(&fold, "It is ") {
        fold.apply(&next(&mut early).await).expect("the events are right");
    }
    let mut late = client.watch(&chat, &fold.cursor).await.expect("the chat can be watched");
    fold.reconnected();
    fold.apply(&next(&mut late).await).expect("the events are right");
    assert!(fold.previews.is_empty(), "a reset comes first");
    while !shows(&fold, "It is ") {
        fold.apply(&next(&mut late).await).expect("the events are right");
    }

    let parts = &fold.previews.values().next().expect("an answer is shown").parts;
    let parts: Vec<_> = parts.iter().map(|part| (part.kind, part.bytes.as_slice())).collect();
    let expected =
        [(proto::PartKind::Reasoning, &b"Let me think."[..]), (proto::PartKind::Text, &b"It is "[..])];
    assert_eq!(parts, expected);
    assert_eq!(model.calls()[0].parts[0].kind, PartKind::Reasoning);
    gate.open();
    while fold.durable.state.is_none_or(|state| state.state() != proto::ChatState::Waiting) {
        let event = next(&mut late).await;
        assert!(!matches!(event.event, Some(Event::PreviewReset(_))), "a commit needs no reset");
        fold.apply(&event).expect("the events are right");
    }
    assert!(fold.previews.is_empty(), "the message has replaced it");
}

/// Whether the live answer ends with these words.
fn shows(fold: &Fold, words: &str) -> bool {
    let last = fold.previews.values().last().and_then(|preview| preview.parts.last());
    last.is_some_and(|part| part.bytes.ends_with(words.as_bytes()))
}

async fn next(stream: &mut tonic::Streaming<proto::WatchChatResponse>) -> proto::WatchChatResponse {
    let event = timeout(DEADLINE, stream.message()).await.expect("an event comes");
    event.expect("the stream goes on").expect("the stream goes on")
}

#[tokio::test]
async fn a_history_limit_sends_the_last_messages_and_no_others_later() {
    let model = ModelServer::start(|request| say(&format!("re {}", request.last_user_text()))).await;
    let cluster = Cluster::start(Options { model_url: model.url(), workers: 1, ..Options::default() }).await;
    let mut client = cluster.client();
    let chat = client.create_chat("1").await.chat_id;
    at_rest(&mut client, &chat).await;
    client.send(&chat, "2").await.expect("sent");
    let rest = at_rest(&mut client, &chat).await;

    let messages = client.messages(&chat).await;
    let all: Vec<i64> = messages.iter().map(|message| message.message_id).collect();
    assert_eq!(all.len(), 4);
    for (limit, expected) in [(0, &all[4..]), (1, &all[3..]), (3, &all[1..]), (-1, &all[..])] {
        let request = proto::WatchChatRequest {
            chat_id: chat.clone(),
            history_limit: Some(limit),
            ..Default::default()
        };
        let mut stream = client.chats.watch_chat(request).await.expect("watched").into_inner();
        let mut fold = Fold::default();
        while fold.durable.state.is_none() {
            fold.apply(&next(&mut stream).await).expect("the events are right");
        }

        let ids: Vec<i64> = fold.durable.messages.keys().copied().collect();
        assert_eq!(ids, expected);
        fold.matches(&rest, &messages, &[]).unwrap_or_else(|wrong| panic!("{wrong}"));
    }
}

#[tokio::test]
async fn a_change_that_nobody_hinted_at_is_found_by_the_poll() {
    let cluster = Cluster::start(Options::default()).await;
    let mut client = cluster.client();
    let chat = client.create_chat("before").await.chat_id;
    let mut stream = client.watch(&chat, "").await.expect("watched");
    let mut fold = Fold::default();
    while fold.durable.state.is_none() {
        fold.apply(&next(&mut stream).await).expect("the events are right");
    }

    let mut connection = cluster.database.connection().await;
    let rename = "update chat_metadata set title = 'after', metadata_version = metadata_version + 1";
    sqlx::query(rename).execute(&mut connection).await.expect("the chat is renamed");

    let event = next(&mut stream).await;
    fold.apply(&event).expect("the event is right");
    let renamed = client.chat(&chat).await.expect("it is there");
    assert_eq!(renamed.title, "after");
    fold.matches(&renamed, &client.messages(&chat).await, &[]).unwrap_or_else(|wrong| panic!("{wrong}"));
}

#[tokio::test]
async fn wrong_requests_are_refused_with_a_reason() {
    let cluster = Cluster::start(Options::default()).await;
    let mut client = cluster.client();
    let chat = client.create_chat("mine").await.chat_id;
    let other = client.create_chat("mine too").await.chat_id;
    let mut stream = client.watch(&other, "").await.expect("watched");
    let others_cursor = next(&mut stream).await.cursor;
    let watch = |chat: &str| proto::WatchChatRequest { chat_id: chat.to_owned(), ..Default::default() };
    let with_cursor = |cursor: &str| proto::WatchChatRequest { cursor: cursor.to_owned(), ..watch(&chat) };

    let field = (Code::InvalidArgument, "FIELD_INVALID".to_owned());
    let hidden = (Code::NotFound, "CHAT_NOT_FOUND".to_owned());
    assert_eq!(refusal(&mut client, watch("no id")).await, field);
    let limit = proto::WatchChatRequest { history_limit: Some(-2), ..watch(&chat) };
    assert_eq!(refusal(&mut client, limit).await, field);
    for cursor in ["no cursor", "AAAA", "====", &others_cursor] {
        assert_eq!(refusal(&mut client, with_cursor(cursor)).await, field);
    }
    let unknown = "0190c8f0-0000-7000-8000-000000000000";
    assert_eq!(refusal(&mut client, watch(unknown)).await, hidden);
    let mut stranger = Client::new(&cluster.url(), &cluster.tokens.stranger);
    assert_eq!(refusal(&mut stranger, watch(&chat)).await, hidden);
    assert_eq!(refusal(&mut stranger, with_cursor("AAAA")).await, hidden);
}

async fn refusal(client: &mut Client, request: proto::WatchChatRequest) -> (Code, String) {
    let status = client.chats.watch_chat(request).await.expect_err("it is refused");
    (status.code(), status.get_details_error_info().map(|info| info.reason).unwrap_or_default())
}

#[tokio::test]
async fn a_cursor_from_after_a_backup_that_was_put_back_has_expired() {
    let cluster = Cluster::start(Options::default()).await;
    let mut client = cluster.client();
    let chat = client.create_chat("mine").await.chat_id;
    let request = proto::InterruptChatRequest { chat_id: chat.clone(), request_id: String::new() };
    client.chats.interrupt_chat(request).await.expect("interrupted");
    let mut stream = client.watch(&chat, "").await.expect("watched");
    let mut fold = Fold::default();
    while fold.durable.state.is_none() {
        fold.apply(&next(&mut stream).await).expect("the events are right");
    }

    let mut connection = cluster.database.connection().await;
    let put_back = "update chats set snapshot_version = 1";
    sqlx::query(put_back).execute(&mut connection).await.expect("the row is put back");

    let request = proto::WatchChatRequest { chat_id: chat, cursor: fold.cursor, ..Default::default() };
    let expired = (Code::OutOfRange, "CURSOR_EXPIRED".to_owned());
    assert_eq!(refusal(&mut client, request).await, expired);
}
