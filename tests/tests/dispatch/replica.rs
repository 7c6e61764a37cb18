//! A replica in this process, so that its limits can be shortened and its end is the test's.

use std::{net::SocketAddr, time::Duration};

use chatplane_control_plane::{
    Config, Limits, RunError, SchedulerLimits,
    admin::{self, TokenKind},
    run_with,
};
use chatplane_domain::UserId;
use chatplane_tests::{Client, Database, eventually};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use tonic::transport::Endpoint;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

/// A database with users and a worker's token. Chats begin without a deployment prompt.
pub(crate) struct World {
    pub(crate) database: Database,
    pub(crate) user_token: String,
    pub(crate) stranger_token: String,
    pub(crate) owner_token: String,
    pub(crate) worker_token: String,
}

impl World {
    pub(crate) async fn new() -> Self {
        let database = Database::create().await;
        let admin = admin::connect(database.url()).await.expect("the database answers");
        let user = admin.create_user("user", false).await.expect("the user is new");
        let stranger = admin.create_user("stranger", false).await.expect("the user is new");
        let owner = admin.create_user("owner", true).await.expect("the user is new");
        let token = async |user| admin.create_token(TokenKind::User(user)).await.expect("the user exists");
        let (user_token, stranger_token, owner_token) =
            (token(user).await, token(stranger).await, token(owner).await);
        let worker_token = admin.create_token(TokenKind::Worker).await.expect("a token is made");
        admin.close().await;
        without_prompt(&database, owner).await;
        Self { database, user_token, stranger_token, owner_token, worker_token }
    }

    pub(crate) async fn replica(&self, limits: SchedulerLimits) -> Replica {
        self.replica_within(Limits::default(), limits).await
    }

    /// The same with other limits of calls.
    pub(crate) async fn replica_within(&self, calls: Limits, limits: SchedulerLimits) -> Replica {
        self.replica_with(calls, limits, |_| {}).await
    }

    /// The same with other settings.
    pub(crate) async fn replica_with(
        &self,
        calls: Limits,
        limits: SchedulerLimits,
        change: impl FnOnce(&mut Config),
    ) -> Replica {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        self.replica_on(listener, calls, limits, change).await
    }

    /// The same at an address that the test knows before.
    pub(crate) async fn replica_on(
        &self,
        listener: TcpListener,
        calls: Limits,
        limits: SchedulerLimits,
        change: impl FnOnce(&mut Config),
    ) -> Replica {
        let address = listener.local_addr().expect("it is bound");
        let stop = CancellationToken::new();
        let limits_of_calls = Limits { drain: Duration::from_secs(2), ..calls };
        let mut config = self.config(address);
        change(&mut config);
        let running = run_with(config, limits_of_calls, limits, listener, stop.clone());
        let task = tokio::spawn(async move {
            // A test that waits for a replica that did not start would say nothing of why.
            running.await.inspect_err(|error| eprintln!("the replica ended: {error:?}"))
        });
        let replica = Replica { address, stop, task };
        replica.ready().await;
        replica
    }

    pub(crate) fn client(&self, replica: &Replica) -> Client {
        Client::new(&replica.url(), &self.user_token)
    }

    fn config(&self, address: SocketAddr) -> Config {
        Config {
            listen: address,
            database_url: self.database.url().to_owned(),
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
            drain_timeout: 1,
            session_grace_ms: 0,
        }
    }
}

/// Switches the built-in prompt off, so that a chat's first row is what its user wrote.
async fn without_prompt(database: &Database, owner: UserId) {
    let statement = format!(
        "insert into deployment_prompts (organization_id, version, text, default_enabled, updated_by) \
         select organization_id, 1, '', false, '{owner}' from organizations"
    );
    crate::execute(&mut database.connection().await, statement).await;
}

/// A running replica.
pub(crate) struct Replica {
    address: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<Result<(), RunError>>,
}

impl Replica {
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    async fn ready(&self) {
        let endpoint = Endpoint::from_shared(self.url()).expect("the URL is one");
        eventually("the replica takes calls", async || {
            assert!(!self.task.is_finished(), "the replica has ended");
            let mut health = HealthClient::new(endpoint.connect().await.ok()?);
            let checked = health.check(HealthCheckRequest::default()).await.ok()?.into_inner();
            (checked.status() == ServingStatus::Serving).then_some(())
        })
        .await;
    }

    /// Stops it as SIGTERM would.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.task.await.expect("it does not panic").expect("it ends well");
    }
}

/// The same with a worker that is not taken for silent when the machine is busy: whoever has a free slot is
/// offered what is written.
pub(crate) fn calm() -> SchedulerLimits {
    SchedulerLimits { ping_every: Duration::from_secs(10), ..quick() }
}

/// Times that let a test see in moments what takes seconds. The TTL is long: a busy
/// machine must not end a session that a test does not want to end.
pub(crate) fn quick() -> SchedulerLimits {
    SchedulerLimits {
        ping_every: Duration::from_millis(200),
        close_grace: Duration::from_millis(100),
        session_ttl: Duration::from_secs(30),
        renew_every: Duration::from_millis(200),
        sweep_every: Duration::from_millis(100),
        statement_timeout: Duration::from_secs(10),
    }
}
