//! Live parts between replicas: written where the worker is, watched anywhere.

use std::time::Duration;

use chatplane_control_plane::{Limits, SchedulerLimits};
use chatplane_proto::{
    chat::v1::{self as chat, watch_chat_response::Event},
    peer::v1::{
        CallToolRequest, CallToolResponse, Hello, LinkRequest, LinkResponse, Welcome,
        link_request::Message as Said,
        link_response::Message as Answered,
        peer_service_client::PeerServiceClient,
        peer_service_server::{PeerService, PeerServiceServer},
    },
    worker::v1::{self as proto, session_request::Message as Up},
};
use chatplane_tests::DEADLINE;
use futures::{
    StreamExt as _,
    stream::{self, BoxStream},
};
use tokio::{net::TcpListener, sync::mpsc, time::timeout};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{
    Code, Request, Response, Status, Streaming,
    transport::{Endpoint, Server},
};
use tonic_types::StatusExt;
use uuid::Uuid;

use crate::{
    comes_to, execute,
    replica::{Replica, World, quick},
    worker::{Held, Worker},
};

/// A replica that has peers.
async fn replica(world: &World) -> Replica {
    replica_within(world, quick()).await
}

async fn replica_within(world: &World, limits: SchedulerLimits) -> Replica {
    world
        .replica_with(Limits::default(), limits, |config| {
            config.advertise = Some(format!("http://{}", config.listen));
        })
        .await
}

fn stream_of(held: &Held) -> Option<chat::StreamId> {
    Some(chat::StreamId { base_version: held.header.snapshot_version, index: 0 })
}

async fn begin(worker: &Worker, held: &Held) {
    let kind = chat::PartKind::Text.into();
    let part_started = Some(chat::PartStarted { stream: stream_of(held), kind, ..Default::default() });
    let lease = Some(held.lease_key());
    worker.send(Up::LivePartStarted(proto::LivePartStarted { lease, part_started })).await;
}

pub(crate) async fn write(worker: &Worker, held: &Held, offset: i64, words: &str) {
    begin(worker, held).await;
    let data = words.as_bytes().to_vec().into();
    let part_append = Some(chat::PartAppend { stream: stream_of(held), part: 0, offset, data });
    let lease = Some(held.lease_key());
    worker.send(Up::LivePartAppend(proto::LivePartAppend { lease, part_append })).await;
}

/// A watcher that keeps the bytes of the one preview there is.
pub(crate) struct Watcher {
    events: Streaming<chat::WatchChatResponse>,
    preview: Vec<u8>,
}

impl Watcher {
    pub(crate) async fn open(world: &World, replica: &Replica, chat_id: &str) -> Self {
        let events = world.client(replica).watch(chat_id, "").await.expect("the chat can be watched");
        Self { events, preview: Vec::new() }
    }

    async fn next(&mut self) -> Event {
        let next = timeout(DEADLINE, self.events.message()).await.expect("something comes in time");
        next.expect("the stream goes on").expect("the stream goes on").event.expect("a known event")
    }

    /// Reads until the preview has these words, which come without a gap and without a double.
    pub(crate) async fn shows(&mut self, words: &str) {
        while self.preview != words.as_bytes() {
            match self.next().await {
                Event::PartAppend(append) => {
                    assert_eq!(append.offset, i64::try_from(self.preview.len()).expect("it is small"));
                    self.preview.extend_from_slice(&append.data);
                }
                Event::PreviewReset(_) => self.preview.clear(),
                _ => {}
            }
        }
    }

    pub(crate) async fn sees(&mut self, state: chat::ChatState) {
        loop {
            if let Event::State(change) = self.next().await
                && change.state() == state
            {
                return;
            }
        }
    }
}

#[tokio::test]
async fn a_turn_on_one_replica_is_watched_live_on_another_also_by_who_comes_late() {
    let world = World::new().await;
    let (first, second) = (replica(&world).await, replica(&world).await);
    let mut worker = Worker::open(&first, &world.worker_token, 1).await;
    let created = world.client(&first).create_chat("Hello").await;
    let held = worker.lease().await;
    let mut early = Watcher::open(&world, &second, &created.chat_id).await;

    write(&worker, &held, 0, "Once upon").await;
    early.shows("Once upon").await;
    let mut late = Watcher::open(&world, &second, &created.chat_id).await;
    late.shows("Once upon").await;
    write(&worker, &held, 9, " a time").await;

    early.shows("Once upon a time").await;
    late.shows("Once upon a time").await;
}

#[tokio::test]
async fn the_older_replica_watches_the_newer_one_over_the_same_link() {
    let world = World::new().await;
    let (first, second) = (replica(&world).await, replica(&world).await);
    let mut worker = Worker::open(&second, &world.worker_token, 1).await;
    let created = world.client(&second).create_chat("Hello").await;
    let held = worker.lease().await;
    let mut watcher = Watcher::open(&world, &first, &created.chat_id).await;

    write(&worker, &held, 0, "Once upon a time").await;

    watcher.shows("Once upon a time").await;
}

#[tokio::test]
async fn a_worker_that_takes_its_session_to_another_replica_is_watched_there_without_a_break() {
    let world = World::new().await;
    let (first, second, third) = (replica(&world).await, replica(&world).await, replica(&world).await);
    let mut before = Worker::open(&first, &world.worker_token, 1).await;
    let created = world.client(&first).create_chat("Hello").await;
    let held = before.lease().await;
    let mut watchers = Vec::new();
    for replica in [&second, &third] {
        watchers.push(Watcher::open(&world, replica, &created.chat_id).await);
    }
    write(&before, &held, 0, "Once upon").await;
    for watcher in &mut watchers {
        watcher.shows("Once upon").await;
    }

    let session = before.session.clone();
    let after = Worker::try_open(&second, &world.worker_token, 1, &session, &[held.key()]).await;
    let after = after.expect("the session is resumed");
    drop(before);
    // It sends from where the replica is, as any worker does.
    let has = after.resumed[0].positions.first().map_or(0, |position| position.offset);
    let words = "Once upon a time";
    write(&after, &held, has, &words[usize::try_from(has).expect("it is small")..]).await;

    assert_eq!(has, 9, "the watched bytes are there already");
    for watcher in &mut watchers {
        watcher.shows(words).await;
    }
}

#[tokio::test]
async fn a_turn_that_another_worker_takes_on_another_replica_is_watched_there() {
    let world = World::new().await;
    let (first, second) = (replica(&world).await, replica(&world).await);
    let mut dying = Worker::open(&first, &world.worker_token, 1).await;
    let created = world.client(&first).create_chat("Hello").await;
    let held = dying.lease().await;
    let mut at_first = Watcher::open(&world, &first, &created.chat_id).await;
    let mut at_second = Watcher::open(&world, &second, &created.chat_id).await;
    write(&dying, &held, 0, "Once upon").await;
    at_first.shows("Once upon").await;
    at_second.shows("Once upon").await;

    let mut other = Worker::open(&second, &world.worker_token, 1).await;
    drop(dying);
    let again = other.lease().await;
    write(&other, &again, 0, "In the beginning").await;

    assert_eq!(again.fence, held.fence + 1);
    at_first.shows("In the beginning").await;
    at_second.shows("In the beginning").await;
}

#[tokio::test]
async fn a_replica_that_leaves_is_left_and_what_it_had_goes_on_elsewhere() {
    let world = World::new().await;
    let patient = SchedulerLimits { close_grace: Duration::from_secs(3600), ..quick() };
    let (first, second) = (replica_within(&world, patient).await, replica_within(&world, patient).await);
    let third = replica_within(&world, patient).await;
    let mut before = Worker::open(&first, &world.worker_token, 1).await;
    let created = world.client(&first).create_chat("Hello").await;
    let held = before.lease().await;
    let mut watcher = Watcher::open(&world, &third, &created.chat_id).await;
    write(&before, &held, 0, "Once upon").await;
    watcher.shows("Once upon").await;

    first.stop().await;
    let session = before.session.clone();
    drop(before);
    let after = Worker::try_open(&second, &world.worker_token, 1, &session, &[held.key()]).await;
    let after = after.expect("the session is resumed");
    assert_eq!(after.resumed[0].positions, Vec::new());
    write(&after, &held, 0, "Once upon a time").await;

    watcher.shows("Once upon a time").await;
}

#[tokio::test]
async fn a_replica_that_swallows_everything_holds_no_durable_event_up() {
    let world = World::new().await;
    let replica = replica(&world).await;
    let mut worker = Worker::open(&replica, &world.worker_token, 1).await;
    let mut client = world.client(&replica);
    let created = client.create_chat("Hello").await;
    worker.lease().await;
    // It takes connections, and never says a word; the turn is said to be there.
    let swallowing = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let address = swallowing.local_addr().expect("it is bound");
    let silent = Uuid::from_u128(1);
    let mut database = world.database.connection().await;
    let row = format!(
        "insert into replicas (replica_id, address, secret, heartbeat_time) \
         values ('{silent}', 'http://{address}', decode(repeat('00', 32), 'hex'), now() + interval '1 hour')"
    );
    execute(&mut database, row).await;
    execute(&mut database, format!("update sessions set replica_id = '{silent}'")).await;
    timeout(DEADLINE, swallowing.accept()).await.expect("it is called").expect("it is called");

    let mut watcher = Watcher::open(&world, &replica, &created.chat_id).await;
    watcher.sees(chat::ChatState::Running).await;
    let request = chat::InterruptChatRequest { chat_id: created.chat_id.clone(), ..Default::default() };
    client.chats.interrupt_chat(request).await.expect("it is interrupted");

    watcher.sees(chat::ChatState::Interrupting).await;
    comes_to(&mut client, &created.chat_id, chat::ChatState::Interrupting).await;
}

#[tokio::test]
async fn only_who_knows_the_replicas_secret_is_let_in() {
    let world = World::new().await;
    let replica = replica(&world).await;
    let endpoint = Endpoint::from_shared(replica.url()).expect("the URL is one");
    let channel = endpoint.connect().await.expect("it answers");
    let forged = format!("chatplane_peer_{}_{}", Uuid::now_v7(), "00".repeat(32));
    let tokens = [
        world.user_token.clone(),
        world.owner_token.clone(),
        world.worker_token.clone(),
        forged,
        "chatplane_peer_".to_owned(),
    ];

    for token in tokens {
        let mut peers = PeerServiceClient::new(channel.clone());
        let hello = LinkRequest { message: Some(Said::Hello(Hello { nonce: vec![0; 32].into() })) };
        let linked = peers.link(with_token(stream::iter([hello]), &token)).await;
        refused(&linked.expect_err("it is no replica's"));
        let called = peers.call_tool(with_token(CallToolRequest::default(), &token)).await;
        refused(&called.expect_err("it is no replica's"));
    }
}

/// A server at a replica's address that does not know its secret.
struct Impostor {
    hung_up: mpsc::Sender<()>,
}

#[tonic::async_trait]
impl PeerService for Impostor {
    type LinkStream = BoxStream<'static, Result<LinkResponse, Status>>;
    type CallToolStream = BoxStream<'static, Result<CallToolResponse, Status>>;

    async fn link(
        &self,
        request: Request<Streaming<LinkRequest>>,
    ) -> Result<Response<Self::LinkStream>, Status> {
        let mut requests = request.into_inner();
        let hello = requests.message().await?.and_then(|request| request.message);
        assert!(matches!(hello, Some(Said::Hello(_))), "{hello:?}");
        let hung_up = self.hung_up.clone();
        tokio::spawn(async move {
            let next = requests.message().await;
            assert!(!matches!(next, Ok(Some(_))), "it says more: {next:?}");
            hung_up.send(()).await.expect("the test listens");
        });
        let welcome = Answered::Welcome(Welcome { proof: vec![0; 32].into() });
        let first = stream::iter([Ok(LinkResponse { message: Some(welcome) })]);
        Ok(Response::new(first.chain(stream::pending()).boxed()))
    }

    async fn call_tool(
        &self,
        _request: Request<CallToolRequest>,
    ) -> Result<Response<Self::CallToolStream>, Status> {
        panic!("nothing is asked of a replica that has not proved itself")
    }
}

#[tokio::test]
async fn a_server_that_cannot_prove_that_it_is_the_replica_is_told_nothing() {
    let world = World::new().await;
    let (hung_up, mut hangs_up) = mpsc::channel(16);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    let server = Server::builder().add_service(PeerServiceServer::new(Impostor { hung_up }));
    let serving = tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    let row = format!(
        "insert into replicas (replica_id, address, secret, heartbeat_time) \
         values ('{}', 'http://{address}', decode(repeat('01', 32), 'hex'), now() + interval '1 hour')",
        Uuid::from_u128(1)
    );
    execute(&mut world.database.connection().await, row).await;

    let _replica = replica(&world).await;

    timeout(DEADLINE, hangs_up.recv()).await.expect("it hangs up").expect("it hangs up");
    serving.abort();
}

fn with_token<M>(message: M, token: &str) -> Request<M> {
    let mut request = Request::new(message);
    let value = format!("Bearer {token}").parse().expect("tokens are ASCII");
    request.metadata_mut().insert("authorization", value);
    request
}

fn refused(status: &Status) {
    let reason = status.get_details_error_info().expect("every refusal has a reason").reason;
    assert_eq!((status.code(), reason.as_str()), (Code::Unauthenticated, "CREDENTIALS_INVALID"));
}
