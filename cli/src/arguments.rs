//! What can be typed. Every flag is also an environment variable; a flag wins over its variable.

use std::os::fd::RawFd;

use chatplane_domain::{UserId, WorkspaceId};
use clap::{Arg, Args, Command, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use uuid::Uuid;

use crate::{dev::Options, logging};

pub(crate) mod client;
pub(crate) mod library;

/// A self-hosted control plane for AI-agent chats.
///
/// To try it, run `chatplane dev`. To run it for others, start `chatplane serve` with a PostgreSQL database,
/// any number of `chatplane worker`, and a `chatplane workspace-agent` in every workspace. To use one that
/// runs, `chatplane login`, and then `chatplane chat`.
#[derive(Parser)]
#[command(version, max_term_width = 100)]
pub(crate) struct Arguments {
    /// Which log lines go to standard error: a level (error, warn, info, debug, trace), or directives like
    /// `warn,chatplane_worker=debug`. By default `info` in `serve`, `worker` and `workspace-agent`, and else `warn`.
    #[arg(long, global = true, env = "CHATPLANE_LOG", value_name = "FILTER", value_parser = logging::filter)]
    pub(crate) log: Option<String>,

    /// End when standard input ends: how `dev` keeps its processes from outliving it.
    #[arg(long, global = true, hide = true, env = "CHATPLANE_LIFELINE",
          value_parser = clap::builder::FalseyValueParser::new(), action = clap::ArgAction::SetTrue)]
    pub(crate) lifeline: bool,

    #[command(subcommand)]
    pub(crate) role: Role,
}

/// The command line as a shell completes it.
pub(crate) fn command() -> Command {
    without_empty_variables(Arguments::command())
}

/// Reads the command line and the environment; what cannot be understood ends the process.
pub(crate) fn read() -> Arguments {
    let matches = command().get_matches();
    Arguments::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
}

/// An empty variable counts as none, as compose files set them.
fn without_empty_variables(command: Command) -> Command {
    let is_empty =
        |argument: &Arg| argument.get_env().and_then(std::env::var_os).is_some_and(|value| value.is_empty());
    command
        .mut_args(|argument| match is_empty(&argument) {
            true => argument.env(None::<&'static str>),
            false => argument,
        })
        .mut_subcommands(without_empty_variables)
}

/// The roles. Each is a process of its own.
#[derive(Subcommand)]
pub(crate) enum Role {
    /// Run one replica of the control plane.
    ///
    /// It serves the API to clients, workers and workspace agents on one port, and keeps all state in
    /// PostgreSQL (14 or newer, encoding UTF8), whose schema it brings up to date at its start. Any number of
    /// equal replicas may share one database. Users, workspaces and tokens are made with `chatplane admin`.
    ///
    /// Health: the gRPC health service says SERVING when the replica is ready. SIGTERM and SIGINT end it in
    /// order: health says NOT_SERVING, open streams get `--drain-timeout`, then it ends; a second signal ends
    /// it at once.
    ///
    /// Exit codes: 0 after a stop in order, 2 for wrong usage, 3 when it could not start or had to end (the
    /// last line on standard error says why), 130 when a second signal came.
    ///
    /// Security: whoever can connect needs a token for every call but health and reflection. Without
    /// `--tls-cert` tokens, chats and provider keys cross the network readable, so it then listens on
    /// loopback only, unless `--allow-plaintext` says that something else protects the network. Provider
    /// keys are kept in memory and go to workers with each turn; tokens are stored as hashes; chats are
    /// stored readable, so protect the database and its backups.
    Serve(Box<Serve>),

    /// Run a worker: it calls the models and runs the turns of chats.
    ///
    /// It dials the control plane, needs no open port and keeps no data. It must reach the model providers,
    /// by the proxy of HTTPS_PROXY and NO_PROXY if there is one. Adding workers adds capacity; killing one
    /// costs at most the unfinished step. Its token comes from `chatplane admin create-token --worker`.
    ///
    /// SIGTERM and SIGINT end it in order: it takes no new chats, steps under way get `--drain-timeout`, then
    /// it gives its chats back; a second signal ends it at once. It waits for a control plane that is away.
    ///
    /// Exit codes: 0 after a stop in order, 2 for wrong usage, 3 when it could not start or its token was
    /// refused, 130 when a second signal came.
    ///
    /// Security: it receives provider keys and the text of the chats it runs, keeps both in memory only, and
    /// logs neither. It cannot reach the database. Without TLS it talks to a control plane on this machine
    /// only, unless `--allow-plaintext` is given.
    Worker(chatplane_worker::Config),

    /// Run the agent of one workspace: it runs the tools that chats ask for, next to the code.
    ///
    /// It dials the control plane, needs no open port and holds no model keys. One agent serves one
    /// directory; a second one for the same workspace takes the first one's place, which then ends. Its token
    /// comes from `chatplane admin create-token --workspace`. It remembers in `--state-dir` which calls it has
    /// run, so that none runs twice; that directory must survive restarts.
    ///
    /// SIGTERM and SIGINT end it in order, and every command it runs with it; a second signal ends it at
    /// once. It waits for a control plane that is away.
    ///
    /// Exit codes: 0 after a stop in order, 2 for wrong usage, 3 when it could not start, its token was
    /// refused or another agent took its place, 130 when a second signal came.
    ///
    /// Security: chats of the workspace's owner may read and write files in the directory and run any
    /// command with the rights of the user that the agent runs as, network included; what tools return goes
    /// to the control plane, to workers and to the model's provider. Run it in a container or as a user of
    /// its own to bound that, or with `--read-only`. Commands get a cleaned environment without keys and
    /// tokens. As root they can read the memory of every process: do not run it as root beside secrets.
    WorkspaceAgent(chatplane_workspace_agent::Config),

    /// Hold one command of a workspace agent, and end with everything that it has started.
    #[command(hide = true)]
    ToolGuard,

    /// Try it on this machine: everything, with a private database, on the current directory.
    ///
    /// Starts a private PostgreSQL, one control plane, one worker and a workspace agent, each a process of
    /// its own, and stops them at its end; killed by force, they are gone within seconds. Chats are kept for
    /// the next time. PostgreSQL's server programs must be installed; nothing needs to be set up.
    ///
    /// In a terminal it opens a chat, like that of `chatplane chat`: Enter sends, and queues while a turn runs,
    /// Ctrl-S joins the running turn, Ctrl-C interrupts it, a second one leaves; Ctrl-D leaves. The lines typed
    /// are kept as its history for as long as `dev` runs, in memory only. A turn that runs is stopped when
    /// `dev` is left, and messages that wait are taken back. With `--prompt` it runs that prompt, writes the
    /// answer to standard output and all else to standard error, and ends. Without a terminal and without a
    /// prompt it serves until SIGTERM.
    ///
    /// Exit codes: 0 when all went well, 1 when the prompt's chat ended in an error, 2 for wrong usage, 3
    /// when something could not start or a part failed, 130 when interrupted.
    ///
    /// Model: with ANTHROPIC_API_KEY set Anthropic answers, else with OPENAI_API_KEY OpenAI, else a built-in
    /// demo model that is no language model but calls tools like one, and then nothing leaves this machine.
    /// CHATPLANE_MODEL_OUTPUT_TOKENS, CHATPLANE_MODEL_CONTEXT_TOKENS, CHATPLANE_MODEL_FIRST_TOKEN_TIMEOUT and
    /// CHATPLANE_MODEL_SILENCE_TIMEOUT set the model's limits, as for `chatplane serve`.
    ///
    /// Security: the agent may change files and run commands in the directory, with your rights, network
    /// included, and does so without asking; `--read-only` forbids both. What it reads goes to the model's
    /// provider. Commands get no key and no token handed down, but can read every file that you can, the
    /// data directory's included. As root nothing keeps them from reading the key in the memory of another
    /// process. The control plane listens on 127.0.0.1 only, and every call needs the token,
    /// which is kept in a file that only you may read.
    Dev(Box<Options>),

    /// Log in to a control plane: keep its address and a user's token for the other commands.
    ///
    /// The token is read from standard input, or typed unseen at a terminal; it is never an argument, for other
    /// users of the machine see those. It is checked with a call before it is kept. Whoever runs the control
    /// plane makes tokens with `chatplane admin create-token --user ID`.
    ///
    /// Exit codes: 0 when it is kept, 2 for wrong usage, 3 when it was refused or could not be checked or kept,
    /// 130 when interrupted.
    ///
    /// Security: the token is kept readable in `chatplane/credentials.json` in your configuration
    /// (`$XDG_CONFIG_HOME` or `~/.config`), a file that only you may read; what others could read is closed to
    /// them, and said. It is sent to the address it was kept for, and to no other.
    Login(client::Login),

    /// Chat in the terminal with a control plane that runs elsewhere.
    ///
    /// Begins a new chat, or goes on with one (`--chat`); `--file` goes with the first message. What the agent does is shown while you type: Enter
    /// sends, and queues while a turn runs; Ctrl-S (or Alt-Enter) joins the running turn at its next step;
    /// Ctrl-C interrupts it, and a second one leaves; Ctrl-D leaves. `/help` shows the rest. A turn that runs
    /// goes on when you leave, and `chatplane chat --chat ID` comes back to it. A connection that breaks is
    /// made again, for up to two minutes, and nothing of the answer is lost or shown twice.
    ///
    /// Without a terminal, and with `--json`, each line of standard input is a message, and it ends when all of
    /// them are answered.
    ///
    /// Exit codes: 0 when left or all was answered, 1 when the last line's turn ended in an error, 2 for wrong
    /// usage, 3 when the control plane cannot be used, 130 when interrupted.
    ///
    /// Security: the agent acts as you, with the tools of the chat's workspace. What it writes is freed of
    /// what a terminal would obey.
    Chat(client::Chat),

    /// Send one message, and print its answer.
    ///
    /// To a new chat, or to one that there is (`--chat`), with files if there are (`--file`). The answer goes to standard output as it comes, with
    /// its Markdown rendered on a terminal and as it is elsewhere; everything else goes to standard error. It
    /// ends with the message's turn, also where others use the chat before and after it. A connection that
    /// breaks is made again, for up to two minutes; the message is never sent twice.
    ///
    /// Ctrl-C interrupts the message's turn, or takes it back while it waits; a second one leaves. SIGTERM
    /// leaves at once, and the turn goes on.
    ///
    /// With `--json` the first line without a `cursor` is the reply (`CreateChatResponse` or
    /// `SendMessageResponse`); lines with one are the chat's events (`WatchChatResponse`), those from before
    /// the reply included.
    ///
    /// Exit codes: 0 when it was answered, 1 when its turn ended in an error or was stopped by somebody else,
    /// 2 for wrong usage, 3 when the control plane cannot be used or refuses the message, 130 when interrupted.
    ///
    /// Security: the agent acts as you. Other users of the machine may see the message in the process list:
    /// `-` reads it from standard input instead.
    Send(client::Send),

    /// Watch a chat: its last messages, and then everything that happens, as it happens.
    ///
    /// Answers go to standard output, everything else to standard error. It goes on until it is stopped. A
    /// connection that breaks is made again, for up to two minutes, from the last event on.
    ///
    /// With `--json` every line is an event (`WatchChatResponse`). The `cursor` of the last one resumes after it
    /// with `--cursor`, at any time.
    ///
    /// Exit codes: 2 for wrong usage, 3 when the control plane cannot be used, 130 when stopped by a signal.
    ///
    /// Security: what is printed is freed of what a terminal would obey, when it goes to one.
    Watch(client::Watch),

    /// Interrupt the running turn of a chat. What the model said so far is kept.
    ///
    /// Exit codes: 0 when it was asked for, also where nothing runs, 2 for wrong usage, 3 when the control plane
    /// cannot be used or refuses it, 130 when interrupted itself.
    ///
    /// Security: commands that the turn runs are killed with everything they have started.
    Interrupt(client::OneChat),

    /// Copy a chat up to a message into a new one, and print its id.
    ///
    /// Exit codes: 0 when it was copied, 2 for wrong usage, 3 when the control plane cannot be used or refuses
    /// it, 130 when interrupted.
    ///
    /// Security: the copy belongs to you, and uses the same workspace.
    Fork(client::Fork),

    /// Have a chat summarized: for the model the summary takes the place of what was said.
    ///
    /// Waits for the summary and prints it; everything stays readable. Ctrl-C stops it.
    ///
    /// Exit codes: 0 when it is done, 1 when it ended in an error or was stopped, 2 for wrong usage, 3 when the
    /// control plane cannot be used or refuses it, 130 when interrupted.
    ///
    /// Security: the whole context goes to the model's provider once more.
    Compact(client::Compact),

    /// Clear a chat's context: the model no longer sees what was said, which stays readable.
    ///
    /// Exit codes: 0 when it is clear, 2 for wrong usage, 3 when the control plane cannot be used or refuses it,
    /// 130 when interrupted.
    ///
    /// Security: nothing is deleted.
    Clear(client::OneChat),

    #[command(flatten)]
    Library(library::LibraryCommand),

    /// Create users, workspaces and tokens, straight in the database.
    ///
    /// Run it where the control plane's database can be reached, after `chatplane serve` has made the schema
    /// or before: it brings it up to date too. What was created is printed alone on standard output, words
    /// about it on standard error.
    ///
    /// Exit codes: 0 when it was created, 2 for wrong usage, 3 when nothing was created.
    ///
    /// Security: whoever has the database's password can create tokens for everybody.
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
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_flag_is_also_an_environment_variable() {
        fn check(command: &Command) {
            for argument in command.get_arguments().filter(|argument| argument.get_long().is_some()) {
                let is_builtin = matches!(argument.get_id().as_str(), "help" | "version");
                let path = command.get_name();
                assert!(is_builtin || argument.get_env().is_some(), "{path} {argument}");
            }
            command.get_subcommands().for_each(check);
        }

        check(&Arguments::command());
    }

    /// The flags of one command line, and the command that takes them.
    fn check_flags(place: &str, words: &str) {
        let root = Arguments::command();
        let mut command = &root;
        let mut path = vec![command];
        for word in words.split_whitespace() {
            let word = word.trim_matches(|edge: char| "`[]()\"',.;:".contains(edge));
            if let Some(flag) = word.strip_prefix("--") {
                let flag = flag.split('=').next().unwrap_or_default();
                let is_known =
                    |command: &&Command| command.get_arguments().any(|it| it.get_long() == Some(flag));
                let is_builtin = ["help", "version"].contains(&flag);
                assert!(is_builtin || path.iter().any(is_known), "{place}: no --{flag} for `{words}`");
            } else if let Some(found) = command.get_subcommands().find(|found| found.get_name() == word) {
                command = found;
                path.push(found);
            } else if word.ends_with(|edge: char| "#|)<&".contains(edge)) {
                return;
            }
        }
    }

    #[test]
    fn every_documented_flag_exists() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let mut checked = 0;
        for file in ["README.md", "CONTRIBUTING.md", "ARCHITECTURE.md"] {
            let text = std::fs::read_to_string(root.join(file)).unwrap();
            for line in text.lines() {
                for start in ["chatplane ", "cargo run -- "] {
                    for (position, _) in line.match_indices(start) {
                        let is_a_word = !line[..position]
                            .ends_with(|before: char| before.is_alphanumeric() || before == '-');
                        let words = &line[position + start.len()..];
                        let words = words.split(['`', '#', '|']).next().unwrap_or_default();
                        if is_a_word && !line.contains("cargo test") {
                            check_flags(file, words);
                            checked += 1;
                        }
                    }
                }
            }
        }
        assert!(checked > 10, "the documents name commands: {checked}");
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
