//! A control plane with a worker, run by hand, and the client commands as a person runs them elsewhere.

use std::{
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    process::Command,
};

use chatplane_embedded_postgres::{Postgres, Settings};
use chatplane_proto::chat::v1::{
    GetChatRequest, ListMessagesRequest, Message, chat_service_client::ChatServiceClient,
};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::{
    fixture::{Running, chatplane, finish, wait_until, with_token},
    provider::Provider,
};

/// Everything that runs, until this is dropped.
pub(crate) struct System {
    // Dropped in this order: who asks before who answers.
    worker: Option<Running>,
    serve: Option<Running>,
    postgres: Postgres,
    address: SocketAddr,
    provider_url: String,
    home: TempDir,
    pub(crate) token: String,
}

impl System {
    pub(crate) fn start(provider: &Provider) -> Self {
        let postgres = Postgres::start(Settings::temporary()).unwrap();
        // Free from here on: nobody else in these tests is given the same soon.
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let admin = |words: &[&str]| {
            let mut command = chatplane();
            command.arg("admin").args(words).env("CHATPLANE_DATABASE_URL", postgres.url("postgres"));
            let run = finish(&mut command);
            assert_eq!(run.code, Some(0), "{run:?}");
            run.stdout.trim().to_owned()
        };
        let user = admin(&["create-user", "--name", "ada", "--owner"]);
        let token = admin(&["create-token", "--user", &user]);
        let worker_token = admin(&["create-token", "--worker"]);
        let mut system = Self {
            worker: None,
            serve: None,
            postgres,
            address,
            provider_url: provider.url(),
            home: tempfile::tempdir().unwrap(),
            token,
        };
        system.serve();
        let mut worker = chatplane();
        worker.arg("worker").env("CHATPLANE_WORKER_TOKEN", worker_token);
        worker.env("CHATPLANE_CONTROL_PLANE", system.url());
        system.worker = Some(Running::start(&mut worker));
        system
    }

    /// Starts the control plane, after [`Self::kill_serve`] at the same address.
    pub(crate) fn serve(&mut self) {
        let mut serve = chatplane();
        serve.args(["serve", "--model", "scripted", "--generate-titles", "false"]);
        serve.env("CHATPLANE_DATABASE_URL", self.postgres.url("postgres"));
        serve.env("CHATPLANE_LISTEN", self.address.to_string());
        serve.env("ANTHROPIC_API_KEY", "sk-any-key").env("ANTHROPIC_BASE_URL", &self.provider_url);
        let mut running = Running::start(&mut serve);
        running.wait_for_note("the control plane takes calls");
        self.serve = Some(running);
    }

    /// Ends the control plane in the middle of whatever it does.
    pub(crate) fn kill_serve(&mut self) {
        // What is dropped is killed.
        self.serve = None;
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A home directory for the person.
    pub(crate) fn home(&self) -> PathBuf {
        self.home.path().to_owned()
    }

    /// A client command of somebody who has not logged in.
    pub(crate) fn stranger(&self, words: &[&str]) -> Command {
        let mut command = chatplane();
        command.args(words).env("HOME", self.home.path());
        command
    }

    /// A client command of a user.
    pub(crate) fn client(&self, words: &[&str]) -> Command {
        let mut command = self.stranger(words);
        command.env("CHATPLANE_SERVER", self.url()).env("CHATPLANE_TOKEN", &self.token);
        command
    }

    /// Makes a chat, whose first turn may still run.
    pub(crate) fn chat(&self, text: &str) -> String {
        let run = finish(&mut self.client(&["send", "--no-wait", text]));
        assert_eq!(run.code, Some(0), "{run:?}");
        run.stdout.trim().to_owned()
    }

    /// The texts of the chat's messages, oldest first, once it has come to rest.
    pub(crate) fn texts_at_rest(&self, chat_id: &str) -> Vec<String> {
        use chatplane_proto::chat::v1::{ChatState, part};

        let text = |message: &Message| {
            let text = |part: &chatplane_proto::chat::v1::Part| match &part.kind {
                Some(part::Kind::Text(part)) => Some(part.text.clone()),
                _ => None,
            };
            message.parts.iter().filter_map(text).collect::<String>()
        };
        let runtime = Runtime::new().unwrap();
        let mut client = runtime.block_on(ChatServiceClient::connect(self.url())).unwrap();
        wait_until(|| {
            let request = GetChatRequest { chat_id: chat_id.to_owned() };
            let reply = runtime.block_on(client.get_chat(with_token(request, &self.token))).unwrap();
            let chat = reply.into_inner().chat.unwrap();
            let is_at_rest = matches!(chat.state(), ChatState::Waiting | ChatState::Error);
            is_at_rest.then_some(()).ok_or_else(|| format!("{chat:?}"))
        });
        let request = ListMessagesRequest { chat_id: chat_id.to_owned(), ..Default::default() };
        let reply = runtime.block_on(client.list_messages(with_token(request, &self.token))).unwrap();
        reply.into_inner().messages.iter().rev().map(text).collect()
    }
}
