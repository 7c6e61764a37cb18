//! Effects that come late: by then another lease of the chat is under way.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use chatplane_domain::{
    ACTION_TIMEOUT_DEFAULT, BusyBehavior, ChatId, Command, ConfigureChat, Context, CreateChat, Effort,
    ExpireCause, ExpireLease, Fence, QueuedMessageId, ReplicaId, SendMessage, SessionId, UserId, UserMessage,
    UserPart, create, decide,
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    app::{App, AppParts, Credentials, TitleSettings},
    limits::Limits,
    peers::{Peers, PeersParts},
    pubsub::Hub,
    relay::{PartHeader, PartKind, PartOffset, Relay, StreamHeader, StreamId, StreamKind},
    scheduler::{Action, LeaseKey, Opening, Scheduler, SchedulerLimits},
    store::{Applied, Ask, DEFAULT_ORGANIZATION, Database, Error, MetadataView, NewChat, Store, Transacted},
    testing::database,
};

const NEVER: Duration = Duration::from_secs(3600);
const FORMER: SessionId = SessionId(Uuid::from_u128(1));
const OTHER: SessionId = SessionId(Uuid::from_u128(2));

struct World {
    app: App,
    user: UserId,
    chat: ChatId,
}

async fn world() -> World {
    let url = database().await;
    let store = Store::connect(Database::at(&url, 2, Limits::default().database_use_max));
    let app = app(store.await.expect("the database answers"));
    let user = UserId(Uuid::now_v7());
    app.inner.store.create_user(user, DEFAULT_ORGANIZATION, "user", false).await.expect("the user is new");
    for session in [FORMER, OTHER] {
        let (listed, rows) = (BTreeSet::new(), Vec::new());
        app.inner.scheduler.open(session, Opening { connection: 1, slots_total: 2, listed, rows });
    }
    let chat = ChatId(Uuid::now_v7());
    let world = World { app, user, chat };
    world.create().await;
    world
}

fn app(store: Store) -> App {
    let (hub, relay) = (Hub::default(), Relay::default());
    let replica = ReplicaId(Uuid::from_u128(1));
    let parts =
        PeersParts { own: replica, address: None, transport: None, relay: relay.clone(), hub: hub.clone() };
    App::new(AppParts {
        replica,
        store,
        hub,
        relay,
        peers: Peers::new(parts),
        peer_tools: None,
        // Nothing happens by itself, however busy the machine.
        scheduler: Scheduler::new(SchedulerLimits {
            ping_every: NEVER,
            session_ttl: NEVER,
            ..SchedulerLimits::default()
        }),
        credentials: Credentials::default(),
        limits: Limits::default(),
        titles: TitleSettings { generate: false, model: None },
        shutdown: CancellationToken::new(),
    })
}

impl World {
    async fn create(&self) {
        let store = &self.app.inner.store;
        let beginning = store.beginning::<Error>(self.user, DEFAULT_ORGANIZATION, None).await;
        let beginning = beginning.expect("the database answers");
        let (now, turn_settings) = (beginning.now, beginning.turn_settings);
        let unborn = CreateChat {
            id: self.chat,
            organization: DEFAULT_ORGANIZATION,
            owner: self.user,
            model: "test".to_owned(),
            effort: Effort::default(),
            workspace: None,
            deployment_prompt: None,
            system_prompt: None,
            client_tools: Vec::new(),
            action_timeout: ACTION_TIMEOUT_DEFAULT,
            message: self.message(),
        };
        let decision = create(unborn, Context { now, queue_max: 5, lease_offer: None });
        let metadata = MetadataView { metadata_version: 1, title: String::new(), labels: BTreeMap::new() };
        let (ask, files) = (&Ask::default(), Vec::new());
        let new = NewChat { count_running: None, ask, metadata, workspace: None, turn_settings, files, now };
        let created = store.create::<Error>(new, |_| decision, || unreachable!("it refers to no file"));
        created.await.expect("the chat is created");
    }

    fn message(&self) -> UserMessage {
        UserMessage {
            created_by: self.user,
            parts: vec![UserPart::Text("Go on.".to_owned())],
            model: None,
            requested_model: None,
            effort: None,
            queued_message_id: None,
        }
    }

    /// Commits a command, whose effects have yet to follow.
    async fn commits(&self, command: Command, lease_offer: Option<SessionId>) -> Box<Applied> {
        let decide = |snapshot: &crate::store::Snapshot| {
            decide(&snapshot.chat, command.clone(), Context { now: snapshot.now, queue_max: 5, lease_offer })
        };
        let committed = self.app.inner.store.transact(self.chat, &Ask::default(), |_| Ok(()), decide).await;
        match committed {
            Ok(Transacted::Applied(applied)) => applied,
            other => panic!("it is not applied: {other:?}"),
        }
    }

    /// What is committed from a session's lease to its end.
    async fn first_lease(&self) -> Vec<Box<Applied>> {
        let configure = ConfigureChat { effort: Some(Effort::High), ..ConfigureChat::default() };
        let expire = ExpireLease { fence: Fence(1), cause: ExpireCause::SessionEnded };
        let commands = [
            Command::Lease(FORMER),
            Command::ConfigureChat(configure),
            Command::InterruptChat,
            Command::ExpireLease(expire),
        ];
        let mut commits = Vec::new();
        for command in commands {
            commits.push(self.commits(command, None).await);
        }
        commits
    }

    /// The chat's next turn, which a session has at once.
    async fn next_lease(&self, session: SessionId) -> Box<Applied> {
        let (id, busy) = (QueuedMessageId(Uuid::now_v7()), BusyBehavior::Queue);
        let send = SendMessage { id, message: self.message(), busy };
        self.commits(Command::SendMessage(send), Some(session)).await
    }

    fn key(&self, fence: i64) -> LeaseKey {
        LeaseKey { chat: self.chat, fence: Fence(fence) }
    }

    /// What a session's connection has to do.
    fn takes(&self, session: SessionId) -> Vec<Action> {
        self.app.inner.scheduler.take_actions(session, 1).expect("it is connected")
    }

    /// Writes an answer under a lease.
    fn writes(&self, fence: i64, text: &str) {
        let (relay, id) = (&self.app.inner.relay, stream(fence));
        let header = StreamHeader { id, fence: Fence(fence), kind: StreamKind::Answer };
        let part = PartHeader { kind: PartKind::Text, tool_name: String::new() };
        relay.begin_part(self.chat, header, 0, part).expect("it begins");
        let at = PartOffset { part: 0, offset: 0 };
        relay.append(self.chat, Fence(fence), id, at, text.as_bytes()).expect("it grows");
    }
}

fn stream(fence: i64) -> StreamId {
    StreamId { base_version: 10 * fence, index: 0 }
}

#[tokio::test]
async fn late_effects_do_nothing_to_the_lease_that_another_worker_or_the_same_has_by_then() {
    for holder in [FORMER, OTHER] {
        let world = world().await;
        let watched = world.app.inner.relay.watch(world.chat).expect("it can be watched");
        let late = world.first_lease().await;
        world.writes(1, "never committed");
        let next = world.next_lease(holder).await;
        world.app.after_commit(&next, None).await;
        assert_eq!(world.takes(holder), [Action::Deliver(world.key(2))]);
        world.writes(2, "alive");

        for applied in &late {
            assert!(!applied.decision.effects.is_empty(), "each tells the holder something");
            world.app.after_commit(applied, None).await;
        }

        let done: Vec<Action> =
            [FORMER, OTHER].into_iter().flat_map(|session| world.takes(session)).collect();
        // The first lease was heard of and ended before it was read: its streams go, the next one's stay.
        assert_eq!(done, [Action::DropStreams(world.key(1))]);
        world.app.inner.relay.end_lease(world.chat, Fence(1));
        let text = watched.read(|live| live.get(stream(2)).map(|live| live.parts()[0].bytes().to_vec()));
        assert_eq!(text.as_deref(), Some(&b"alive"[..]));
    }
}
