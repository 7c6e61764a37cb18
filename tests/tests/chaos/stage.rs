//! Everything that a run consists of: three replicas, four workers, the workspace agents, the
//! database, and a line between any two of them that can be severed.

mod lines;
mod processes;

use std::path::{Path, PathBuf};

use chatplane_control_plane::admin::{self, TokenKind};
use chatplane_domain::WorkspaceId;
use chatplane_proto::chat::v1::ListWorkspacesRequest;
use chatplane_tests::{Client, Database, eventually, tcp_proxy::Mode};
use tempfile::TempDir;
use tokio_util::task::TaskTracker;

pub(crate) use self::processes::Ended;
use self::{lines::Lines, processes::Processes};
use crate::{AGENTS, REPLICAS, WORKERS, plan::Line, settings::Settings};

/// The system.
pub(crate) struct Stage {
    pub(crate) database: Database,
    pub(crate) workspaces: Vec<Workspace>,
    pub(crate) processes: Processes,
    /// Who follows what becomes of a fault.
    pub(crate) followers: TaskTracker,
    lines: Lines,
    user_token: String,
    /// The release before tells nobody which agents are attached to it.
    tells_agents: bool,
    /// Where logs go that nobody wants to keep.
    _logs: TempDir,
}

/// A workspace with its agent's two directories.
pub(crate) struct Workspace {
    pub(crate) id: WorkspaceId,
    directory: TempDir,
    state: TempDir,
}

/// What the roles are told.
struct Names {
    model_url: String,
    logs: PathBuf,
    release_before: Option<PathBuf>,
    worker_token: String,
    agent_tokens: Vec<String>,
}

impl Workspace {
    /// The directory that the agent serves.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Where the agent keeps its journal.
    pub(crate) fn state(&self) -> &Path {
        self.state.path()
    }
}

impl Stage {
    /// Starts everything, and waits until it works.
    pub(crate) async fn start(settings: &Settings, model_url: String) -> Self {
        let database = Database::create().await;
        let admin = admin::connect(database.url()).await.expect("the database answers");
        let user = admin.create_user("user", false).await.expect("the user is new");
        let user_token = admin.create_token(TokenKind::User(user)).await.expect("the user exists");
        let worker_token = admin.create_token(TokenKind::Worker).await.expect("workers can be named");
        let (mut workspaces, mut agent_tokens) = (Vec::new(), Vec::new());
        for number in 0..AGENTS {
            let name = format!("workspace-{number}");
            let id = admin.create_workspace(user, &name).await.expect("the user exists");
            let token = admin.create_token(TokenKind::WorkspaceAgent(id)).await;
            agent_tokens.push(token.expect("the workspace exists"));
            let directory = || TempDir::new().expect("a directory");
            workspaces.push(Workspace { id, directory: directory(), state: directory() });
        }
        admin.close().await;
        let logs = TempDir::new().expect("a directory for logs");
        let kept = settings.logs.clone();
        if let Some(kept) = &kept {
            std::fs::create_dir_all(kept).expect("the directory for logs can be made");
        }
        let names = Names {
            model_url,
            logs: kept.unwrap_or_else(|| logs.path().to_owned()),
            release_before: settings.release_before.clone(),
            worker_token,
            agent_tokens,
        };
        let lines = Lines::start(&database).await;
        let processes = Processes::start(&database, &workspaces, &lines, &names);
        let stage = Self {
            database,
            workspaces,
            processes,
            followers: TaskTracker::new(),
            lines,
            user_token,
            tells_agents: settings.release_before.is_none(),
            _logs: logs,
        };
        stage.works().await;
        stage
    }

    /// A client of the user at a replica, with a connection of its own.
    pub(crate) fn client(&self, replica: usize) -> Client {
        Client::over(self.lines.channel(Line::Clients(replica)), &self.user_token)
    }

    /// A client at each replica.
    pub(crate) fn clients(&self) -> Vec<Client> {
        (0..REPLICAS).map(|replica| self.client(replica)).collect()
    }

    /// A line behaves so from now on.
    pub(crate) fn sever(&self, line: Line, mode: Mode) {
        self.lines.set(line, mode);
    }

    /// Every line works, and every process runs.
    pub(crate) fn heal(&self) {
        self.lines.heal();
        self.processes.resume_all();
    }

    async fn works(&self) {
        for replica in 0..REPLICAS {
            let mut client = self.client(replica);
            eventually("every replica answers, and every workspace has its agent", async || {
                let listed = client.chats.list_workspaces(ListWorkspacesRequest::default()).await.ok()?;
                let workspaces = listed.into_inner().workspaces;
                let are_online = workspaces.iter().all(|workspace| workspace.online) || !self.tells_agents;
                (workspaces.len() == AGENTS && are_online).then_some(())
            })
            .await;
        }
        let mut connection = self.database.connection().await;
        eventually("every worker has a session", async || {
            let count = "select count(*) from sessions where close_time is null";
            let sessions: i64 = sqlx::query_scalar(count).fetch_one(&mut connection).await.ok()?;
            (usize::try_from(sessions) == Ok(WORKERS)).then_some(())
        })
        .await;
    }
}
