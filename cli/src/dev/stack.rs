//! Everything that runs: started in order, watched, and stopped in the opposite order.

use std::{
    future::pending,
    net::{SocketAddr, TcpListener},
    os::fd::AsRawFd as _,
    time::Duration,
};

use chatplane_control_plane::admin;
use tokio::{
    join, select,
    time::{interval, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tonic::{Code, transport::Channel};

use crate::{
    client::{
        ClientError,
        connection::{Bearer, ChatClient, chat_client},
    },
    dev::{
        DevError, Options, client,
        data_dir::DataDir,
        database::Database,
        environment,
        identity::{self, Identity},
        journals,
        model::{Model, Provider, RunningModel},
        places::Places,
        role_process::{Launch, RoleProcess},
    },
};

/// How long the control plane may take to serve. It migrates the database first.
const SERVE_TIME_MAX: Duration = Duration::from_secs(15);
/// How long the workspace agent may take to register.
const AGENT_TIME_MAX: Duration = Duration::from_secs(10);
/// How often readiness is asked for: short against any start, long against a request.
const LOOK_EVERY: Duration = Duration::from_millis(25);
const LOOK_AT_LOGS_EVERY: Duration = Duration::from_secs(10);

/// What to start.
pub(crate) struct Plan<'a> {
    pub(crate) options: &'a Options,
    pub(crate) places: &'a Places,
    pub(crate) data: &'a DataDir,
    pub(crate) model: Model,
    /// The address of the control plane, already listening.
    pub(crate) listener: TcpListener,
    /// What the roles log.
    pub(crate) log: &'a str,
}

/// What a client needs to know once everything runs.
pub(crate) struct Ready {
    pub(crate) address: SocketAddr,
    pub(crate) identity: Identity,
    pub(crate) user_token: String,
    pub(crate) provider: Provider,
    pub(crate) client: ChatClient,
}

/// What runs. Stop it, however its start has ended.
#[derive(Default)]
pub(crate) struct Stack {
    database: Option<Database>,
    model: Option<RunningModel>,
    serve: Option<RoleProcess>,
    worker: Option<RoleProcess>,
    workspace_agent: Option<RoleProcess>,
}

impl Stack {
    /// Starts everything, and returns when all of it is ready.
    pub(crate) async fn start(
        &mut self,
        plan: Plan<'_>,
        shutdown: &CancellationToken,
    ) -> Result<Ready, DevError> {
        self.database = Some(match &plan.options.database_url {
            Some(url) => Database::external(url.clone()),
            None => {
                let bin_dir = plan.options.postgres_bin_dir.clone();
                Database::start(plan.data.postgres(), bin_dir, shutdown).await?
            }
        });
        select! {
            ready = self.start_roles(plan) => ready,
            () = shutdown.cancelled() => Err(DevError::Interrupted),
        }
    }

    async fn start_roles(&mut self, plan: Plan<'_>) -> Result<Ready, DevError> {
        let Plan { options, places, data, model, listener, log } = plan;
        let database_url = self.database.as_ref().map(Database::url).unwrap_or_default();
        let admin = admin::connect(database_url).await?;
        let identity_dir = data.identity();
        let identity = identity::ensure(&identity_dir, &admin, &places.workspace).await?;

        let address = listener.local_addr().map_err(|source| DevError::PortUnusable { port: 0, source })?;
        let model = self.model.insert(model.start().await?);
        let provider = model.endpoint.provider;
        let logs = data.logs();
        let data_path = data.path();
        let serve = self.serve.insert(RoleProcess::spawn(Launch {
            role: "serve",
            environment: environment::serve(log, database_url, model, listener.as_raw_fd()),
            directory: &logs,
            logs: &logs,
            data: data_path,
            inherited: Some(listener.as_raw_fd()),
        })?);
        // From here on the socket is the control plane's alone, and is gone with it.
        drop(listener);
        let channel = client::channel(address);
        wait_until_serving(serve, &channel).await?;

        let identity = if is_known(&channel, &identity).await? {
            identity
        } else {
            tracing::warn!("the database does not know the kept tokens: new ones are made");
            identity::forget(&identity_dir)?;
            identity::ensure(&identity_dir, &admin, &places.workspace).await?
        };
        self.worker = Some(RoleProcess::spawn(Launch {
            role: "worker",
            environment: environment::worker(log, address, &identity),
            directory: &logs,
            logs: &logs,
            data: data_path,
            inherited: None,
        })?);
        let state_dir = data.agent(identity.workspace_id)?;
        journals::let_go(std::slice::from_ref(&state_dir)).await?;
        let workspace_agent = self.workspace_agent.insert(RoleProcess::spawn(Launch {
            role: "workspace-agent",
            environment: environment::workspace_agent(log, address, &identity, &state_dir, options),
            directory: &places.workspace,
            logs: &logs,
            data: data_path,
            inherited: None,
        })?);
        let user_token = identity.user_token()?;
        let mut client = user_client(channel, &user_token)?;
        wait_until_online(workspace_agent, &mut client, &identity).await?;
        Ok(Ready { address, identity, user_token, provider, client })
    }

    /// Returns when a part has ended although nobody has asked it to; keeps logs within their bounds until
    /// then. Dropping the wait loses nothing.
    pub(crate) async fn failed(&mut self) -> DevError {
        let mut look_at_logs = interval(LOOK_AT_LOGS_EVERY);
        loop {
            select! {
                error = ended(&mut self.serve) => return error,
                error = ended(&mut self.worker) => return error,
                error = ended(&mut self.workspace_agent) => return error,
                error = database_ended(&mut self.database) => return error,
                _ = look_at_logs.tick() => {}
            }
            for role in [&self.serve, &self.worker, &self.workspace_agent].into_iter().flatten() {
                role.bound_log();
            }
        }
    }

    /// Stops everything: first who asks, then who answers.
    pub(crate) async fn stop(self) {
        join!(stop(self.worker), stop(self.workspace_agent));
        stop(self.serve).await;
        drop(self.model);
        if let Some(database) = self.database {
            database.stop().await;
        }
    }
}

/// The kept identity may belong to a database that was thrown away, or to another one.
async fn is_known(channel: &Channel, identity: &Identity) -> Result<bool, DevError> {
    let mut client = user_client(channel.clone(), &identity.user_token()?)?;
    match client::find_workspace(&mut client, identity.workspace_id).await {
        Ok(found) => Ok(found.is_some()),
        Err(status) if status.code() == Code::Unauthenticated => Ok(false),
        Err(status) => Err(ClientError::refused("list workspaces", status).into()),
    }
}

fn user_client(channel: Channel, user_token: &str) -> Result<ChatClient, DevError> {
    let bearer = Bearer::new(user_token, "the data directory").map_err(|_| DevError::TokenDamaged)?;
    Ok(chat_client(channel, bearer))
}

async fn wait_until_serving(serve: &mut RoleProcess, channel: &Channel) -> Result<(), DevError> {
    let serving = async {
        while !client::is_serving(channel.clone()).await {
            sleep(LOOK_EVERY).await;
        }
    };
    select! {
        error = serve.ended() => Err(error),
        serving = timeout(SERVE_TIME_MAX, serving) => serving.map_err(|_| serve.not_ready(SERVE_TIME_MAX)),
    }
}

/// The model learns of the agent's tools when its turn begins, so the agent must have registered before.
async fn wait_until_online(
    workspace_agent: &mut RoleProcess,
    client: &mut ChatClient,
    identity: &Identity,
) -> Result<(), DevError> {
    let online = async {
        loop {
            match client::find_workspace(client, identity.workspace_id).await {
                Ok(Some(workspace)) if workspace.online => return,
                // An error that lasts ends in the deadline.
                Ok(_) | Err(_) => sleep(LOOK_EVERY).await,
            }
        }
    };
    select! {
        error = workspace_agent.ended() => Err(error),
        online = timeout(AGENT_TIME_MAX, online) => online.map_err(|_| workspace_agent.not_ready(AGENT_TIME_MAX)),
    }
}

async fn ended(role: &mut Option<RoleProcess>) -> DevError {
    match role {
        Some(role) => role.ended().await,
        None => pending().await,
    }
}

async fn database_ended(database: &mut Option<Database>) -> DevError {
    match database {
        Some(database) => database.ended().await,
        None => pending().await,
    }
}

async fn stop(role: Option<RoleProcess>) {
    if let Some(role) = role {
        role.stop().await;
    }
}
