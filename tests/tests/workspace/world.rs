//! A replica in this process, so that its limits can be shortened and its end is the test's.

use std::{net::SocketAddr, time::Duration};

use chatplane_control_plane::{
    Config, Limits, RunError, SchedulerLimits,
    admin::{self, TokenKind},
    run_with,
};
use chatplane_domain::{UserId, WorkspaceId};
use chatplane_proto::chat::v1 as chat;
use chatplane_tests::{
    Client, Database,
    tcp_proxy::{TcpProxy, Upstream},
    text,
};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use tonic::{
    Request,
    transport::{Channel, Endpoint},
};

/// Long enough for an agent of a test to come back on a busy machine.
pub(crate) const PATIENT: Duration = Duration::from_secs(60);
/// For tests in which no agent comes back.
pub(crate) const HASTY: Duration = Duration::from_millis(20);

/// A replica with a user, the user's workspace, and tokens.
pub(crate) struct World {
    pub(crate) database: Database,
    pub(crate) workspace: WorkspaceId,
    pub(crate) stranger: UserId,
    pub(crate) worker_token: String,
    pub(crate) agent_token: String,
    /// Over which other replicas reach this one.
    pub(crate) line: TcpProxy,
    user_token: String,
    replica: Replica,
}

struct Replica {
    address: SocketAddr,
    stop: CancellationToken,
    running: JoinHandle<Result<(), RunError>>,
}

impl World {
    pub(crate) async fn start(workspace_return: Duration) -> Self {
        let database = Database::create().await;
        let admin = admin::connect(database.url()).await.expect("the database answers");
        let user = admin.create_user("user", false).await.expect("the user is new");
        let stranger = admin.create_user("stranger", false).await.expect("the user is new");
        let workspace = admin.create_workspace(user, "laptop").await.expect("the user exists");
        let token = async |kind| admin.create_token(kind).await.expect("the subject exists");
        let user_token = token(TokenKind::User(user)).await;
        let worker_token = token(TokenKind::Worker).await;
        let agent_token = token(TokenKind::WorkspaceAgent(workspace)).await;
        admin.close().await;
        let (replica, line) = replica(&database, workspace_return).await;
        Self { database, workspace, stranger, worker_token, agent_token, line, user_token, replica }
    }

    /// The same with another replica on the same database, which is spoken with from then on.
    pub(crate) async fn beside(&self, workspace_return: Duration) -> Self {
        let (replica, line) = replica(&self.database, workspace_return).await;
        Self {
            database: self.database.clone(),
            workspace: self.workspace,
            stranger: self.stranger,
            worker_token: self.worker_token.clone(),
            agent_token: self.agent_token.clone(),
            line,
            user_token: self.user_token.clone(),
            replica,
        }
    }

    pub(crate) fn channel(&self) -> Channel {
        Endpoint::from_shared(format!("http://{}", self.replica.address))
            .expect("the URL is one")
            .connect_lazy()
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(&format!("http://{}", self.replica.address), &self.user_token)
    }

    /// Creates a chat that uses the workspace, if it has one, and answers its id.
    pub(crate) async fn create_chat(&self, workspace: Option<WorkspaceId>) -> String {
        let request = chat::CreateChatRequest {
            parts: vec![text("What is here?")],
            workspace_id: workspace.map_or_else(String::new, |workspace| workspace.to_string()),
            ..Default::default()
        };
        let created = self.client().chats.create_chat(request).await.expect("the chat is created");
        created.into_inner().chat.expect("a chat").chat_id
    }

    /// Tells the replica to stop, as SIGTERM does.
    pub(crate) fn shut_down(&self) {
        self.replica.stop.cancel();
    }

    pub(crate) async fn stopped(self) {
        self.replica.running.await.expect("it does not panic").expect("it ends well");
    }
}

async fn replica(database: &Database, workspace_return: Duration) -> (Replica, TcpProxy) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    let line = TcpProxy::start(Upstream::Tcp(vec![address])).await;
    let config = Config { advertise: Some(line.url()), ..config(address, database) };
    let stop = CancellationToken::new();
    let limits = Limits { workspace_return, ..Limits::default() };
    let running = run_with(config, limits, SchedulerLimits::default(), listener, stop.clone());
    (Replica { address, stop, running: tokio::spawn(running) }, line)
}

/// A request with a token.
pub(crate) fn with_token<M>(message: M, token: &str) -> Request<M> {
    let mut request = Request::new(message);
    let value = format!("Bearer {token}").parse().expect("tokens are ASCII");
    request.metadata_mut().insert("authorization", value);
    request
}

fn config(address: SocketAddr, database: &Database) -> Config {
    Config {
        listen: address,
        database_url: database.url().to_owned(),
        listener_database_url: None,
        read_database_url: None,
        no_statement_cache: false,
        database_connections: 6,
        anthropic_api_key: Some("test-key".to_owned()),
        anthropic_base_url: "http://127.0.0.1:9".to_owned(),
        openai_api_key: None,
        openai_base_url: String::new(),
        provider: None,
        model: Some("test".to_owned()),
        model_context_tokens: 1000,
        model_output_tokens: 100,
        model_first_token_timeout: 1,
        model_silence_timeout: 2,
        queue_max: 50,
        owner_running_max: 0,
        organization_running_max: 0,
        file_bytes_max: 10_485_760,
        files_per_chat_max: 100,
        generate_titles: false,
        title_model: None,
        allow_plaintext: false,
        tls_cert: None,
        tls_key: None,
        advertise: None,
        peer_ca_cert: None,
        metrics_listen: None,
        drain_timeout: 2,
        session_grace_ms: 500,
    }
}
