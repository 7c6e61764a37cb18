//! One chat in every state, for tables of what is possible where.

use std::{collections::BTreeMap, fmt::Write as _};

use chatplane_proto::chat::v1 as proto;
use chatplane_tests::{Client, Cluster, Options, text};
use tonic::Status;

use crate::{holder::Holder, reason};

/// The states of a chat, by their short names. Those that no worker may take come last:
/// by then every worker has had its one chat.
const STATES: [&str; 14] =
    ["L0", "L1", "I0", "I1", "S0", "S1", "W", "E0", "E1", "XW", "XE0", "XE1", "R0", "R1"];
/// The tool of the client that suspended chats wait for.
pub(crate) const TOOL: &str = "ask";

/// A chat in each state.
pub(crate) struct Stage {
    pub(crate) client: Client,
    chats: Vec<(&'static str, String)>,
    // They keep their chats leased.
    _holders: Vec<Holder>,
    _cluster: Cluster,
}

impl Stage {
    pub(crate) async fn set() -> Self {
        let cluster = Cluster::start(Options::default()).await;
        let mut client = cluster.client();
        let (mut chats, mut holders) = (Vec::new(), Vec::new());
        for state in STATES {
            let chat = client.create_chat("first").await.chat_id;
            if !state.starts_with('R') {
                holders.push(Holder::open(&cluster).await);
                assert_eq!(holders.last().expect("it was just added").chat, chat);
            }
            if state.ends_with('1') {
                client.send(&chat, "queued").await.expect("it is queued");
            }
            bring(&mut client, state, &chat, holders.last_mut()).await;
            chats.push((state, chat));
        }
        Self { client, chats, _holders: holders, _cluster: cluster }
    }

    /// Does the same to the chat of every state, and tells what came of each: the state that
    /// follows with the length of its queue, or the reason why not.
    pub(crate) async fn table(
        &self,
        mut act: impl AsyncFnMut(Client, String) -> Result<Option<proto::Chat>, Status>,
    ) -> BTreeMap<&'static str, String> {
        let mut table = BTreeMap::new();
        for (state, chat) in &self.chats {
            let outcome = match act(self.client.clone(), chat.clone()).await {
                Ok(chat) => shown(&chat.expect("every reply has its chat")),
                Err(refused) => reason(&refused),
            };
            table.insert(*state, outcome);
        }
        table
    }
}

/// Brings a chat that has just been created, and leased if it needs that, into its state.
async fn bring(client: &mut Client, state: &str, chat: &str, holder: Option<&mut Holder>) {
    let holder = holder.filter(|holder| holder.chat == chat);
    match (state.trim_end_matches(['0', '1']), holder) {
        ("L", Some(_)) | ("R", None) => {}
        ("I", Some(_)) => interrupt(client, chat).await,
        ("S", Some(holder)) => drop(holder.suspend(&[TOOL]).await),
        ("W", Some(holder)) => drop(holder.finish("Done.").await),
        ("E", Some(holder)) => drop(holder.fail().await),
        ("XW", Some(holder)) => {
            holder.finish("Done.").await;
            archive(client, chat).await;
        }
        ("XE", Some(holder)) => {
            holder.fail().await;
            archive(client, chat).await;
        }
        (other, _) => panic!("{other} is no state"),
    }
}

async fn interrupt(client: &mut Client, chat: &str) {
    let request = proto::InterruptChatRequest { chat_id: chat.to_owned(), ..Default::default() };
    client.chats.interrupt_chat(request).await.expect("it is interrupted");
}

async fn archive(client: &mut Client, chat: &str) {
    let request = proto::ArchiveChatRequest { chat_id: chat.to_owned(), ..Default::default() };
    client.chats.archive_chat(request).await.expect("it is archived");
}

/// The state of a chat, and how many messages wait.
pub(crate) fn shown(chat: &proto::Chat) -> String {
    let mut shown = chat.state().as_str_name().trim_start_matches("CHAT_STATE_").to_owned();
    if chat.archived {
        shown.push_str(" archived");
    }
    write!(shown, " {}", chat.queue_length).expect("a String takes it");
    shown
}

/// What is expected, as lines of `states: outcome`.
pub(crate) fn expected(lines: &str) -> BTreeMap<&str, String> {
    let mut table = BTreeMap::new();
    for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (states, outcome) = line.split_once(": ").expect("a line is `states: outcome`");
        for state in states.split(' ') {
            assert!(table.insert(state, outcome.to_owned()).is_none(), "{state} is there twice");
        }
    }
    table
}

/// A message for a chat.
pub(crate) fn message(chat: &str, busy: proto::BusyBehavior) -> proto::SendMessageRequest {
    proto::SendMessageRequest {
        chat_id: chat.to_owned(),
        parts: vec![text("next")],
        busy_behavior: busy.into(),
        ..Default::default()
    }
}
