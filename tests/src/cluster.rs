//! A control plane with workers and workspace agents, as child processes.

use std::{collections::BTreeMap, iter, net::SocketAddr, path::Path};

use chatplane_control_plane::admin::{self, TokenKind};
use chatplane_domain::{UserId, WorkspaceId};
use tempfile::TempDir;
use tonic::transport::Endpoint;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use crate::{
    client::Client,
    database::Database,
    process::{Role, free_port},
    wait::eventually,
};

/// What a cluster begins with.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Where the model server is; the model is called `test`.
    pub model_url: String,
    /// How many workers.
    pub workers: usize,
    /// Whether the user has a workspace with an agent.
    pub workspace: bool,
    /// More variables for `serve`.
    pub serve: BTreeMap<&'static str, String>,
    /// More variables for the workspace agent.
    pub agent: BTreeMap<&'static str, String>,
}

/// Tokens of every kind.
#[derive(Clone, Debug)]
pub struct Tokens {
    /// The user's.
    pub user: String,
    /// Another user's.
    pub stranger: String,
    /// An owner's of the deployment.
    pub owner: String,
    /// A worker's.
    pub worker: String,
    /// The workspace agent's.
    pub workspace_agent: String,
}

/// Everything of one test.
#[derive(Debug)]
pub struct Cluster {
    /// Its database.
    pub database: Database,
    /// Where the control plane listens.
    pub address: SocketAddr,
    /// Tokens of every kind.
    pub tokens: Tokens,
    /// The user.
    pub user: UserId,
    /// The user's workspace.
    pub workspace: WorkspaceId,
    /// The control plane.
    pub control_plane: Role,
    /// More replicas of it, with where each listens.
    pub others: Vec<(SocketAddr, Role)>,
    /// The workers.
    pub workers: Vec<Role>,
    /// The workspace agent, if there is one.
    pub agent: Option<Role>,
    /// The workspace's directory.
    pub directory: TempDir,
    /// Where the workspace agent keeps its journal.
    pub journal: TempDir,
    logs: TempDir,
    options: Options,
}

impl Cluster {
    /// Starts everything and waits until the control plane takes calls.
    ///
    /// # Panics
    ///
    /// When something cannot start.
    pub async fn start(options: Options) -> Self {
        Self::start_on(Database::create().await, options).await
    }

    /// The same on a database that a test has made, so that its options may name it.
    ///
    /// # Panics
    ///
    /// When something cannot start.
    pub async fn start_on(database: Database, options: Options) -> Self {
        let (user, workspace, tokens) = people(&database).await;
        let logs = TempDir::new().expect("a directory for logs");
        let directory = TempDir::new().expect("a directory for the workspace");
        let journal = TempDir::new().expect("a directory for the journal");
        let address = free_port();
        let control_plane = serve("serve", &database, address, &options, logs.path());
        let mut cluster = Self {
            database,
            address,
            tokens,
            user,
            workspace,
            directory,
            journal,
            control_plane,
            others: Vec::new(),
            workers: Vec::new(),
            agent: None,
            logs,
            options,
        };
        ready(&mut cluster.control_plane, address).await;
        for _ in 0..cluster.options.workers {
            cluster.add_worker();
        }
        if cluster.options.workspace {
            cluster.start_agent().await;
        }
        cluster
    }

    /// Where clients dial.
    #[must_use]
    pub fn url(&self) -> String {
        url_of(self.address)
    }

    /// A client of the user.
    #[must_use]
    pub fn client(&self) -> Client {
        Client::new(&self.url(), &self.tokens.user)
    }

    /// Starts another replica, waits until it takes calls, and answers where clients dial.
    /// Workers that are started later know of it, and begin with the first.
    pub async fn add_replica(&mut self) -> String {
        let address = free_port();
        let name = format!("serve-{}", self.others.len() + 1);
        let mut replica = serve(&name, &self.database, address, &self.options, self.logs.path());
        ready(&mut replica, address).await;
        self.others.push((address, replica));
        url_of(address)
    }

    /// Starts another worker.
    pub fn add_worker(&mut self) -> &mut Role {
        let others = self.others.iter().map(|(address, _)| *address);
        let addresses: Vec<_> = iter::once(self.address).chain(others).map(url_of).collect();
        let variables = BTreeMap::from([
            ("CHATPLANE_CONTROL_PLANE", addresses.join(",")),
            ("CHATPLANE_WORKER_TOKEN", self.tokens.worker.clone()),
        ]);
        let name = format!("worker-{}", self.workers.len());
        self.workers.push(Role::start(&name, &["worker"], &variables, self.logs.path()));
        self.workers.last_mut().expect("a worker was just added")
    }

    /// Starts the workspace agent and waits until its workspace is online.
    ///
    /// # Panics
    ///
    /// When it never is.
    pub async fn start_agent(&mut self) {
        let path =
            |directory: &TempDir| directory.path().to_str().expect("temporary paths are UTF-8").to_owned();
        let mut variables = BTreeMap::from([
            ("CHATPLANE_CONTROL_PLANE", self.url()),
            ("CHATPLANE_WORKSPACE_TOKEN", self.tokens.workspace_agent.clone()),
            ("CHATPLANE_WORKSPACE_DIR", path(&self.directory)),
            ("CHATPLANE_WORKSPACE_STATE_DIR", path(&self.journal)),
        ]);
        variables.extend(self.options.agent.clone());
        self.agent = Some(Role::start("agent", &["workspace-agent"], &variables, self.logs.path()));
        let mut client = self.client();
        eventually("the workspace is online", async || {
            let listed =
                client.chats.list_workspaces(chatplane_proto::chat::v1::ListWorkspacesRequest::default());
            let listed = listed.await.ok()?.into_inner();
            listed.workspaces.first().filter(|workspace| workspace.online).map(|_| ())
        })
        .await;
    }

    /// Kills the control plane and starts it again on the same address.
    pub async fn restart_control_plane(&mut self) {
        self.control_plane.kill();
        self.start_control_plane().await;
    }

    /// Starts the control plane again after it has ended.
    pub async fn start_control_plane(&mut self) {
        self.control_plane = serve("serve", &self.database, self.address, &self.options, self.logs.path());
        ready(&mut self.control_plane, self.address).await;
    }
}

fn url_of(address: SocketAddr) -> String {
    format!("http://{address}")
}

/// Waits until a replica takes calls.
async fn ready(replica: &mut Role, address: SocketAddr) {
    let endpoint = Endpoint::from_shared(url_of(address)).expect("the URL is one");
    eventually("the control plane takes calls", async || {
        if let Some(code) = replica.exit_code() {
            panic!("the control plane ended with {code}:\n{}", replica.log());
        }
        let channel = endpoint.connect().await.ok()?;
        let request = HealthCheckRequest { service: String::new() };
        let checked = HealthClient::new(channel).check(request).await.ok()?.into_inner();
        (checked.status() == tonic_health::pb::health_check_response::ServingStatus::Serving).then_some(())
    })
    .await;
}

async fn people(database: &Database) -> (UserId, WorkspaceId, Tokens) {
    let admin = admin::connect(database.url()).await.expect("the database answers");
    let user = admin.create_user("user", false).await.expect("the user is new");
    let stranger = admin.create_user("stranger", false).await.expect("the user is new");
    let owner = admin.create_user("owner", true).await.expect("the user is new");
    let workspace = admin.create_workspace(user, "workspace").await.expect("the user exists");
    let token = async |kind| admin.create_token(kind).await.expect("the subject exists");
    let tokens = Tokens {
        user: token(TokenKind::User(user)).await,
        stranger: token(TokenKind::User(stranger)).await,
        owner: token(TokenKind::User(owner)).await,
        worker: token(TokenKind::Worker).await,
        workspace_agent: token(TokenKind::WorkspaceAgent(workspace)).await,
    };
    admin.close().await;
    (user, workspace, tokens)
}

fn serve(name: &str, database: &Database, address: SocketAddr, options: &Options, logs: &Path) -> Role {
    let mut variables = BTreeMap::from([
        ("CHATPLANE_LISTEN", address.to_string()),
        ("CHATPLANE_DATABASE_URL", database.url().to_owned()),
        ("CHATPLANE_DATABASE_CONNECTIONS", "8".to_owned()),
        ("CHATPLANE_MODEL", "test".to_owned()),
        ("ANTHROPIC_API_KEY", "test-key".to_owned()),
        // A model call beside each new chat would confuse every test that is not about titles.
        ("CHATPLANE_GENERATE_TITLES", "false".to_owned()),
    ]);
    if !options.model_url.is_empty() {
        variables.insert("ANTHROPIC_BASE_URL", options.model_url.clone());
    }
    variables.extend(options.serve.clone());
    Role::start(name, &["serve"], &variables, logs)
}
