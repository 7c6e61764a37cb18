//! What can be typed. Every flag is also an environment variable; a flag wins over its variable.

use std::os::fd::RawFd;

use chatplane_domain::{UserId, WorkspaceId};
use clap::{Args, Parser, Subcommand};
use uuid::Uuid;

use crate::{dev::Options, logging};

/// A self-hosted control plane for AI-agent chats.
///
/// To try it, run `chatplane dev`. To run it for others, start `chatplane serve` with a PostgreSQL database,
/// any number of `chatplane worker`, and a `chatplane workspace-agent` in every workspace.
#[derive(Parser)]
#[command(version, max_term_width = 100)]
pub(crate) struct Arguments {
    /// Which log lines go to standard error: a level (error, warn, info, debug, trace), or directives like
    /// `warn,chatplane_worker=debug`. By default `info`, and `warn` in `dev` and `admin`.
    #[arg(long, global = true, env = "CHATPLANE_LOG", value_name = "FILTER", value_parser = logging::filter)]
    pub(crate) log: Option<String>,

    /// End when standard input ends: how `dev` keeps its processes from outliving it.
    #[arg(long, global = true, hide = true, env = "CHATPLANE_LIFELINE",
          value_parser = clap::builder::FalseyValueParser::new(), action = clap::ArgAction::SetTrue)]
    pub(crate) lifeline: bool,

    #[command(subcommand)]
    pub(crate) role: Role,
}

/// The roles. Each is a process of its own.
#[derive(Subcommand)]
pub(crate) enum Role {
    /// Run one replica of the control plane.
    ///
    /// It keeps everything in PostgreSQL, which it migrates at its start. Any number of equal replicas may
    /// share one database. It ends in order on SIGTERM.
    Serve(Box<Serve>),

    /// Run a worker: it calls the models and runs the turns of chats.
    ///
    /// It dials the control plane, needs no port and keeps no data. Adding workers adds capacity; killing one
    /// costs at most the unfinished step. Its token comes from `chatplane admin create-token --worker`.
    Worker(chatplane_worker::Config),

    /// Run the agent of one workspace: it runs the file tools that chats ask for in its directory.
    ///
    /// It dials the control plane, needs no port and holds no model keys. Its token comes from
    /// `chatplane admin create-token --workspace`.
    WorkspaceAgent(chatplane_workspace_agent::Config),

    /// Try it on this machine: everything, with a private database, on the current directory.
    ///
    /// Starts a private PostgreSQL, one control plane, one worker and a workspace agent, each a process of
    /// its own, and stops them at its end. The data is kept for the next time. With `--prompt` it runs that
    /// prompt, writes the answer to standard output and tool calls to standard error, and ends: with 0, with
    /// 1 when the chat ended in an error, 2 for wrong usage, 3 when something could not start, 130 when
    /// interrupted. Without, it serves until it is stopped.
    ///
    /// The agent reads files of the directory, and what it reads goes to the model's provider. With
    /// `ANTHROPIC_API_KEY` set, that is Anthropic; without a key a built-in demo model answers, and nothing
    /// leaves this machine.
    Dev(Box<Options>),

    /// Create users, workspaces and tokens, straight in the database.
    ///
    /// What was created is printed alone on standard output, words about it on standard error.
    #[command(subcommand)]
    Admin(AdminCommand),
}

/// Settings of a control-plane replica.
#[derive(Args)]
pub(crate) struct Serve {
    #[command(flatten)]
    pub(crate) config: chatplane_control_plane::Config,

    /// Number of an inherited socket that listens already, used instead of `--listen`: how `dev` hands down
    /// the port it has found free.
    #[arg(long, hide = true, env = "CHATPLANE_LISTEN_FD", value_name = "NUMBER")]
    pub(crate) listen_fd: Option<RawFd>,
}

/// What `admin` can do.
#[derive(Subcommand)]
#[expect(clippy::enum_variant_names, reason = "named as the commands are; others will not create")]
pub(crate) enum AdminCommand {
    /// Create a user, and print the user's id.
    CreateUser {
        #[command(flatten)]
        database: Database,

        /// Name of the user.
        #[arg(long, env = "CHATPLANE_ADMIN_NAME")]
        name: String,

        /// Make the user an owner of the deployment.
        #[arg(long, env = "CHATPLANE_ADMIN_OWNER", value_parser = clap::builder::FalseyValueParser::new(),
              action = clap::ArgAction::SetTrue)]
        owner: bool,
    },

    /// Create a workspace of a user, and print its id.
    CreateWorkspace {
        #[command(flatten)]
        database: Database,

        /// Id of the user whose workspace it is, as `create-user` printed it.
        #[arg(long, env = "CHATPLANE_ADMIN_USER", value_name = "ID", value_parser = user_id)]
        user: UserId,

        /// Name of the workspace.
        #[arg(long, env = "CHATPLANE_ADMIN_NAME")]
        name: String,
    },

    /// Create a token, and print it. It is shown this once: the database keeps only its hash.
    CreateToken {
        #[command(flatten)]
        database: Database,

        #[command(flatten)]
        bearer: Bearer,
    },
}

/// Which database.
#[derive(Args)]
pub(crate) struct Database {
    /// The control plane's database, `postgres://user:password@host/name`. Other users of the machine may
    /// see the flag in the process list: prefer the variable.
    #[arg(long = "database-url", env = "CHATPLANE_DATABASE_URL", value_name = "URL", hide_env_values = true)]
    pub(crate) url: String,
}

/// Who shall carry a token.
#[derive(Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Bearer {
    /// For the user with this id.
    #[arg(long, env = "CHATPLANE_ADMIN_USER", value_name = "ID", value_parser = user_id)]
    pub(crate) user: Option<UserId>,

    /// For workers. Any number of them may share it.
    #[arg(long, env = "CHATPLANE_ADMIN_WORKER", value_parser = clap::builder::FalseyValueParser::new(),
          action = clap::ArgAction::SetTrue)]
    pub(crate) worker: bool,

    /// For the agent of the workspace with this id.
    #[arg(long, env = "CHATPLANE_ADMIN_WORKSPACE", value_name = "ID", value_parser = workspace_id)]
    pub(crate) workspace: Option<WorkspaceId>,
}

fn user_id(text: &str) -> Result<UserId, uuid::Error> {
    Uuid::try_parse(text).map(UserId)
}

fn workspace_id(text: &str) -> Result<WorkspaceId, uuid::Error> {
    Uuid::try_parse(text).map(WorkspaceId)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_flag_is_also_an_environment_variable() {
        fn check(command: &clap::Command) {
            for argument in command.get_arguments().filter(|argument| argument.get_long().is_some()) {
                let is_builtin = matches!(argument.get_id().as_str(), "help" | "version");
                let path = command.get_name();
                assert!(is_builtin || argument.get_env().is_some(), "{path} {argument}");
            }
            command.get_subcommands().for_each(check);
        }

        check(&Arguments::command());
    }

    #[test]
    fn a_token_is_for_exactly_one_bearer() {
        let parse = |flags: &[&str]| {
            let command = ["chatplane", "admin", "create-token", "--database-url", "postgres://x/y"];
            Arguments::try_parse_from([&command, flags].concat()).is_ok()
        };
        let id = "0197f7a0-0000-7000-8000-000000000000";

        assert!(parse(&["--worker"]));
        assert!(parse(&["--user", id]));
        assert!(parse(&["--workspace", id]));
        assert!(!parse(&[]));
        assert!(!parse(&["--worker", "--user", id]));
        assert!(!parse(&["--user", "me"]));
    }
}
