//! The commands of the README do what it says: they are taken from it and run.

use std::{
    fs,
    net::TcpListener,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::Path,
    process::Command,
};

use chatplane_embedded_postgres::{Postgres, Settings};
use chatplane_proto::chat::v1::{
    CreateChatRequest, ListWorkspacesRequest, Part, TextPart, chat_service_client::ChatServiceClient, part,
};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::{
    fixture::{Places, Running, finish, program, wait_until, with_token},
    provider::{Answer, Provider},
};

/// The indented block of the README that holds this text.
fn block_with(text: &str) -> String {
    block_of("README.md", text)
}

/// The indented block of a page that holds this text, without its indentation.
pub(crate) fn block_of(page: &str, text: &str) -> String {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(page)).unwrap();
    let mut blocks = vec![String::new()];
    for line in page.lines() {
        match line.strip_prefix("    ") {
            Some(code) => *blocks.last_mut().unwrap() += &format!("{code}\n"),
            // A blank line belongs to the block that goes on after it.
            None if line.is_empty() => *blocks.last_mut().unwrap() += "\n",
            None => blocks.push(String::new()),
        }
    }
    blocks.into_iter().find(|block| block.contains(text)).unwrap()
}

fn sorted<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut lines: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
    lines.sort_unstable();
    lines
}

#[test]
fn the_transcript_is_what_dev_says_in_such_a_directory() {
    const QUESTION: &str = "What is in this directory?";
    let places = Places::new();
    let garden = places.workspace();
    fs::create_dir(garden.join("src")).unwrap();
    let text = "# Garden\n\nKeeps track of what grows in which bed, and when it wants water.\n\
                Run `garden today` to see what to do.\n";
    fs::write(garden.join("README.md"), text).unwrap();
    fs::write(garden.join("Cargo.toml"), "[package]\nname = \"garden\"\nversion = \"0.2.0\"\n").unwrap();
    let transcript = block_with("$ chatplane dev\n").replace("/home/ada/garden", garden.to_str().unwrap());
    let (before, turn) = transcript.split_once(&format!("> {QUESTION}\n")).unwrap();
    let turn = turn.trim_end().strip_suffix('>').unwrap();

    let run = finish(places.dev().args(["--prompt", QUESTION]));

    assert_eq!(run.code, Some(0), "{run:?}");
    let (introduction, notes): (Vec<&str>, Vec<&str>) =
        run.stderr.lines().partition(|line| !line.starts_with(['→', '←', ' ']));
    for line in introduction {
        assert!(before.lines().any(|told| told == line), "the README does not have {line:?}");
    }
    // Tools run side by side, so their lines come in any order; those of the answer do not.
    let all = sorted(run.stdout.lines().chain(notes));
    assert_eq!(all, sorted(turn.lines()));
    let mut told = turn.lines();
    assert!(run.stdout.lines().all(|line| told.any(|other| other == line)), "{run:?}");
}

#[test]
fn the_terminals_commands_work_with_a_dev_that_serves() {
    let places = Places::new();
    let mut dev = Running::start(&mut places.dev());
    dev.wait_for_line("chatplane serves on ");
    dev.wait_for_line(", until it is stopped.");
    let said = dev.said();
    let address = said.split("chatplane serves on ").nth(1).and_then(|rest| rest.split(',').next()).unwrap();
    let token_file = places.data().join("identity/user-token");
    let commands = block_with("chatplane login --server")
        .replace("127.0.0.1:7400", address)
        .replace("~/.local/share/chatplane/identity/user-token", token_file.to_str().unwrap());
    let bin_dir = program().parent().unwrap().to_str().unwrap();
    let mut shell = Command::new("/bin/sh");
    shell.arg("-c").arg(format!("set -eu\n{commands}\necho \"$chat $copy\"")).env_clear();
    shell.env("PATH", format!("{bin_dir}:/usr/local/bin:/usr/bin:/bin")).env("HOME", places.workspace());

    let run = finish(&mut shell);

    assert_eq!(run.code, Some(0), "{run:?}");
    assert!(places.workspace().join(".config/chatplane/credentials.json").is_file());
    let last_line = run.stdout.lines().last().unwrap_or_default();
    let ids: Vec<&str> = last_line.split(' ').collect();
    assert!(ids.len() == 2 && ids[0].len() == 36 && ids[1].len() == 36 && ids[0] != ids[1], "{run:?}");
    drop(dev);
    places.wait_until_nothing_runs();
}

/// The roles that a script has started, ended with it.
pub(crate) struct Script {
    pub(crate) running: Running,
}

impl Drop for Script {
    fn drop(&mut self) {
        let group = i32::try_from(self.running.pid()).ok().and_then(Pid::from_raw).unwrap();
        // All of them may have ended already.
        let _ = kill_process_group(group, Signal::TERM);
    }
}

/// The commands with what a person fills in.
fn script(postgres: &Postgres) -> String {
    let commands =
        block_with("chatplane serve --model").replace("ANTHROPIC_API_KEY=…", "ANTHROPIC_API_KEY=sk-any-key");
    let database =
        commands.lines().find_map(|line| line.strip_prefix("export CHATPLANE_DATABASE_URL=")).unwrap();
    let address = database.split_whitespace().next().unwrap();
    let commands = commands.replace(address, &format!("'{}'", postgres.url("postgres")));
    assert!(!commands.contains('…'), "something else is to be filled in: {commands}");
    format!("set -eu\n{commands}\necho \"made $workspace $user_token .\"\nwait\n")
}

#[test]
fn each_role_by_hand_is_a_control_plane_that_answers() {
    let places = Places::new();
    fs::create_dir(places.workspace().join("garden")).unwrap();
    let postgres = Postgres::start(Settings::temporary()).unwrap();
    let provider = Provider::start(|_, _| Answer::Say("Hello, you."));
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let bin_dir = program().parent().unwrap().to_str().unwrap().to_owned();
    let mut shell = Command::new("/bin/sh");
    shell.arg("-c").arg(script(&postgres)).env_clear().process_group(0);
    shell.env("PATH", format!("{bin_dir}:/usr/local/bin:/usr/bin:/bin")).env("HOME", places.workspace());
    shell.env("LOGNAME", places.data()).env("CHATPLANE_WORKSPACE_STATE_DIR", places.data());
    shell
        .env("CHATPLANE_LISTEN", address.to_string())
        .env("CHATPLANE_CONTROL_PLANE", format!("http://{address}"));
    // The provider counts its calls, and none of them shall be for a title.
    shell.env("ANTHROPIC_BASE_URL", provider.url()).env("CHATPLANE_GENERATE_TITLES", "false");

    let mut script = Script { running: Running::start(&mut shell) };
    script.running.wait_for_line(" .\n");
    let said = script.running.said();
    let made = said.lines().find_map(|line| line.strip_prefix("made ")).unwrap();
    let (workspace_id, token) = made.trim_end_matches(" .").split_once(' ').unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let request = |message| with_token(message, token);
    let mut client = None;
    wait_until(|| {
        let connected = runtime.block_on(ChatServiceClient::connect(format!("http://{address}")));
        client = Some(connected.map_err(|error| error.to_string())?);
        Ok(())
    });
    let mut client = client.unwrap();
    wait_until(|| {
        let listed = runtime.block_on(client.list_workspaces(request(ListWorkspacesRequest::default())));
        let workspaces = listed.map_err(|status| status.to_string())?.into_inner().workspaces;
        let is_online = workspaces.iter().any(|found| found.workspace_id == workspace_id && found.online);
        is_online.then_some(()).ok_or_else(|| format!("{workspaces:?}: {}", script.running.complained()))
    });
    let text = TextPart { text: "Hello?".to_owned() };
    let message = CreateChatRequest {
        workspace_id: workspace_id.to_owned(),
        parts: vec![Part { kind: Some(part::Kind::Text(text)) }],
        ..Default::default()
    };
    runtime.block_on(client.create_chat(with_token(message, token))).unwrap();

    wait_until(|| (provider.calls() == 1).then_some(()).ok_or_else(|| script.running.complained()));
    let mode = fs::metadata(places.data()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700, "the journal is the agent's alone");
    drop(script);
    places.wait_until_nothing_runs();
}
