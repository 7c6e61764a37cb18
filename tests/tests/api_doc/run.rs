//! Runs the commands of the page in a shell, as a reader does.

use std::{
    collections::BTreeMap,
    env,
    ffi::OsString,
    os::unix::fs::symlink,
    path::Path,
    process::{Output, Stdio},
};

use base64::{Engine as _, prelude::BASE64_STANDARD_NO_PAD};
use chatplane_tests::{DEADLINE, eventually};
use prost::Message;
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::AsyncReadExt as _,
    process::{Child, ChildStdout, Command},
    time::timeout,
};
use tonic_types::pb::{BadRequest, ErrorInfo};

use crate::{
    print::print,
    reply::{StandIns, pruned, text_at},
    step::{Call, Event, Hook, Shown},
    world::World,
};

/// Runs commands, and remembers what they have told.
pub(crate) struct Runner<'a> {
    world: &'a World,
    /// Holds `buf`, whatever it is called and wherever it lies.
    programs: TempDir,
    /// Variables of the shell.
    variables: BTreeMap<&'static str, String>,
    stand_ins: StandIns,
}

impl<'a> Runner<'a> {
    pub(crate) fn new(world: &'a World, buf: &Path) -> Self {
        let programs = TempDir::new().expect("a directory for programs");
        let buf = buf.canonicalize().expect("the program is there");
        symlink(buf, programs.path().join("buf")).expect("the directory is empty");
        Self { world, programs, variables: world.variables(), stand_ins: StandIns::default() }
    }

    /// Does what the reader does not see.
    pub(crate) async fn happen(&self, hook: &Hook) {
        match hook {
            Hook::Reached(gate) => self.world.gate(gate).reached().await,
            Hook::Open(gate) => self.world.gate(gate).open(),
            Hook::FillQueue(chat) => self.world.fill_queue(&self.variables[chat]).await,
        }
    }

    /// Runs a command, and answers what is to be shown of its reply.
    pub(crate) async fn run(&mut self, call: &Call, command: &str) -> String {
        match &call.shown {
            Shown::Reply(paths) => {
                let reply = self.reply(call, command).await;
                for (variable, path) in &call.keeps {
                    self.keep(variable, path, &reply);
                }
                self.show(pruned(&reply, paths), paths)
            }
            Shown::Refusal => {
                let output = self.output(command).await;
                assert!(!output.status.success(), "it was to be refused:\n{command}\n{output:?}");
                self.show(refusal(&output.stderr), &["code", "message", "reason", "metadata", "fields"])
            }
            Shown::Events(events) => self.events(events, command).await,
        }
    }

    async fn reply(&self, call: &Call, command: &str) -> Value {
        eventually(&format!("the reply to\n{command}\nhas {:?}", call.until), async || {
            let output = self.output(command).await;
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "it was refused:\n{command}\n{said}");
            let reply: Value = serde_json::from_slice(&output.stdout).expect("buf prints JSON");
            let has_come =
                call.until.is_none_or(|(path, text)| text_at(&reply, path).as_deref() == Some(text));
            has_come.then_some(reply)
        })
        .await
    }

    async fn events(&mut self, events: &[Event], command: &str) -> String {
        let mut stream = EventStream::start(self.shell(command));
        let mut shown = Vec::new();
        for wanted in events {
            let event = loop {
                let event = stream.next(wanted.kind).await;
                if is_wanted(wanted, &event) {
                    break event;
                }
            };
            if let Some((variable, path)) = wanted.keep {
                self.keep(variable, path, &event);
            }
            if let Some(gate) = wanted.opens {
                self.world.gate(gate).open();
            }
            shown.push(self.show(pruned(&event, wanted.paths), wanted.paths));
        }
        shown.join("\n")
    }

    fn keep(&mut self, variable: &'static str, path: &str, reply: &Value) {
        let text = text_at(reply, path);
        let text = text.unwrap_or_else(|| panic!("there is no text at {path} in {reply:#}"));
        self.variables.insert(variable, text);
    }

    fn show(&mut self, value: Value, paths: &[&str]) -> String {
        print(&self.stand_ins.stand_in(value), paths)
    }

    async fn output(&self, command: &str) -> Output {
        let output = timeout(DEADLINE, self.shell(command).output()).await;
        output.unwrap_or_else(|_| panic!("no end of\n{command}")).expect("there is a shell")
    }

    fn shell(&self, command: &str) -> Command {
        let path = env::var_os("PATH").unwrap_or_default();
        let directories = [self.programs.path().to_owned()].into_iter().chain(env::split_paths(&path));
        let path: OsString = env::join_paths(directories).expect("directories of a path have no separators");
        let mut shell = Command::new("sh");
        shell
            .args(["-euc", command])
            .env("PATH", path)
            .envs(&self.variables)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        shell
    }
}

fn is_wanted(wanted: &Event, event: &Value) -> bool {
    let has_text = |(path, text)| text_at(event, path).as_deref() == Some(text);
    event.get(wanted.kind).is_some() && wanted.with.is_none_or(has_text)
}

/// A refusal as `buf` prints it, with the details decoded that it does not know.
fn refusal(printed: &[u8]) -> Value {
    let said = String::from_utf8_lossy(printed);
    let error: Value =
        serde_json::from_str(&said).unwrap_or_else(|_| panic!("buf prints errors as JSON: {said}"));
    let info = detail::<ErrorInfo>(&error, "google.rpc.ErrorInfo").expect("an error has a reason");
    assert_eq!(info.domain, "chatplane");
    let metadata: BTreeMap<String, String> = info.metadata.into_iter().collect();
    let mut shown = json!({"code": error["code"], "message": error["message"], "reason": info.reason});
    if !metadata.is_empty() {
        shown["metadata"] = json!(metadata);
    }
    if let Some(wrong) = detail::<BadRequest>(&error, "google.rpc.BadRequest") {
        let fields = wrong.field_violations.into_iter().map(|violation| violation.field);
        shown["fields"] = fields.collect();
    }
    shown
}

fn detail<M: Message + Default>(error: &Value, name: &str) -> Option<M> {
    let detail = error["details"].as_array()?.iter().find(|detail| detail["type"] == name)?;
    let bytes = BASE64_STANDARD_NO_PAD.decode(detail["value"].as_str()?.trim_end_matches('='));
    Some(M::decode(bytes.expect("bytes are base64 in JSON").as_slice()).expect("a detail is what it says"))
}

/// A command that streams. It ends, with all that it has started, when this is dropped.
struct EventStream {
    child: Child,
    output: ChildStdout,
    /// What has come and was not whole.
    read: Vec<u8>,
}

impl EventStream {
    fn start(mut shell: Command) -> Self {
        // The shell, buf and what buf is made of are one group.
        shell.stdout(Stdio::piped()).process_group(0);
        let mut child = shell.spawn().expect("there is a shell");
        let output = child.stdout.take().expect("it is piped");
        Self { child, output, read: Vec::new() }
    }

    /// The next event; `wanted` is what the page waits for.
    async fn next(&mut self, wanted: &str) -> Value {
        loop {
            let mut documents = serde_json::Deserializer::from_slice(&self.read).into_iter::<Value>();
            match documents.next() {
                Some(Ok(event)) => {
                    let end = documents.byte_offset();
                    self.read.drain(..end);
                    return event;
                }
                Some(Err(error)) => assert!(error.is_eof(), "buf prints JSON: {error}"),
                None => {}
            }
            let reading = timeout(DEADLINE, self.output.read_buf(&mut self.read)).await;
            let bytes = reading.unwrap_or_else(|_| panic!("no {wanted} has come")).expect("it is a pipe");
            assert!(bytes > 0, "the stream has ended before a {wanted}");
        }
    }
}

impl Drop for EventStream {
    fn drop(&mut self) {
        let group = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(group) = group {
            // It may have ended by itself.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}
