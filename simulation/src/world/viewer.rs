//! Somebody who watches: the core at the replica, the fold at the client.

use std::time::Duration;

use chatplane_domain::ChatId;

use super::{
    World,
    message::{Answer, Down, Node, Statement, StreamEnd, Timer, Up},
    replica::Task,
    sessions::no_streams,
};
use crate::{
    bug::Bug,
    fold::Fold,
    watch::{Action, Event as Told, LiveEvent, Timing, Watcher},
};

/// A client that watches a chat.
#[derive(Debug, Default)]
pub(crate) struct Viewer {
    pub(super) chat: Option<ChatId>,
    pub(super) fold: Fold,
    stream: Option<u64>,
}

/// A watcher at its replica, by the number of its stream.
#[derive(Debug)]
pub(crate) struct Watch {
    pub(super) chat: ChatId,
    pub(super) watcher: Watcher,
    wakes_at: Option<Duration>,
}

impl World {
    /// The client connects, with its cursor if it has one.
    pub(super) fn viewer_connects(&mut self, no: usize) {
        let node = Node::Viewer(no);
        if self.viewers[no].stream.is_some() {
            return;
        }
        if self.viewers[no].chat.is_none() {
            let chats: Vec<ChatId> = self.database.tables.keys().copied().collect();
            if chats.is_empty() {
                return self.timer(node, Duration::from_millis(500), Timer::Reconnect);
            }
            self.viewers[no].chat = Some(chats[self.random.index(chats.len())]);
        }
        let Some(chat) = self.viewers[no].chat else { return };
        let starts_anew = self.viewers[no].fold.cursor.is_empty() || self.random.happens(100);
        let limit = [None, Some(50), Some(2)][self.random.index(3)];
        let viewer = &mut self.viewers[no];
        let cursor = if starts_anew {
            viewer.fold = Fold::default();
            None
        } else {
            viewer.fold.reconnected();
            Some(viewer.fold.cursor.clone())
        };
        let to = self.random.index(self.replicas.len());
        let stream = self.open_stream(node, to, Up::Watch { chat, cursor, limit });
        self.viewers[no].stream = Some(stream);
    }

    pub(super) fn viewer_hears(&mut self, no: usize, stream: u64, down: Down) {
        let Down::Event(emitted) = down else { return };
        let Some(chat) = self.viewers[no].chat.filter(|_| self.viewers[no].stream == Some(stream)) else {
            return;
        };
        let is_durable = matches!(emitted.event, Told::Durable(_));
        match &emitted.event {
            Told::Live(LiveEvent::PartAppend { .. }) => self.database.saw("a live part that is shown"),
            Told::Live(LiveEvent::PreviewReset(_)) => self.database.saw("a preview that is taken back"),
            Told::Live(_) | Told::Durable(_) => {}
        }
        let applied = self.viewers[no].fold.apply(*emitted);
        let compared = match applied {
            Ok(()) if is_durable => self.pictures.compare(chat, &self.viewers[no].fold),
            other => other,
        };
        let checked = compared.and_then(|()| self.is_gapless(no, chat));
        if let Err(violation) = checked {
            self.database.violate(|| format!("watcher {no}: {violation}"));
        }
    }

    /// What is shown is the beginning of what was said.
    fn is_gapless(&self, no: usize, chat: ChatId) -> Result<(), String> {
        for (stream, preview) in &self.viewers[no].fold.previews {
            let said = self.said.get(&(chat, *stream)).map(Vec::as_slice).unwrap_or_default();
            // Workers write one part a stream here.
            let is_said = preview.parts.iter().all(|(_, shown)| said.starts_with(shown));
            if preview.parts.len() > 1 || !is_said {
                return Err(format!("{stream:?} shows {:?}, said was {said:?}", preview.parts));
            }
        }
        Ok(())
    }

    pub(super) fn viewer_stream_ended(&mut self, no: usize, stream: u64) {
        if self.viewers[no].stream == Some(stream) {
            self.viewers[no].stream = None;
            let after = self.random.between(Duration::from_millis(1), Duration::from_millis(800));
            self.timer(Node::Viewer(no), after, Timer::Reconnect);
        }
    }

    // At the replica.

    pub(super) fn watch_begins(
        &mut self,
        no: usize,
        stream: u64,
        from: Node,
        chat: ChatId,
        cursor: Option<String>,
        limit: Option<u32>,
    ) {
        debug_assert!(matches!(from, Node::Viewer(_)));
        let (timing, now) = (Timing::default(), self.now);
        let watcher = match cursor {
            None => Watcher::start(chat, limit, timing, now),
            Some(cursor) => match Watcher::resume(chat, &cursor, timing, now) {
                Ok(watcher) => watcher,
                Err(error) => return self.database.violate(|| format!("a cursor that was sent: {error}")),
            },
        };
        self.replicas[no].watches.insert(stream, Watch { chat, watcher, wakes_at: None });
        self.watch_advances(no, stream);
    }

    /// Does what the core says until it waits.
    pub(super) fn watch_advances(&mut self, no: usize, stream: u64) {
        let now = self.now;
        loop {
            let replica = &mut self.replicas[no];
            let Some(watch) = replica.watches.get_mut(&stream) else { return };
            let chat = watch.chat;
            let live = replica.relay.entry(chat).or_insert_with(no_streams);
            match watch.watcher.poll(live, now) {
                Action::Emit(emitted) => self.send_down(stream, Down::Event(Box::new(emitted))),
                Action::RunSync(from) => self.begin(no, Task::Syncing(stream), Statement::Sync(chat, from)),
                Action::Wait(until) => {
                    if watch.wakes_at.is_none_or(|wakes_at| wakes_at > until || wakes_at <= now) {
                        watch.wakes_at = Some(until);
                        let after = until.saturating_sub(now).max(Duration::from_nanos(1));
                        self.timer(Node::Replica(no), after, Timer::Watch(stream));
                    }
                    return;
                }
                Action::End(end) => {
                    self.replicas[no].watches.remove(&stream);
                    return self.database.violate(|| format!("a watch ends: {end:?}"));
                }
            }
        }
    }

    pub(super) fn synced(&mut self, no: usize, stream: u64, answer: Answer) {
        let now = self.now;
        let Some(watch) = self.replicas[no].watches.get_mut(&stream) else { return };
        let failed = match answer {
            Answer::Page(page) => {
                watch.watcher.on_page(Some(*page));
                Ok(())
            }
            _ => watch.watcher.on_sync_failed(now),
        };
        if failed.is_err() {
            self.replicas[no].watches.remove(&stream);
            return self.hang_up(stream, Node::Replica(no), StreamEnd::Broken);
        }
        self.watch_advances(no, stream);
    }

    /// The net for lost hints.
    pub(super) fn poll_watched(&mut self, no: usize) {
        let mut chats: Vec<ChatId> = self.replicas[no].watches.values().map(|watch| watch.chat).collect();
        chats.sort_unstable();
        chats.dedup();
        if !chats.is_empty() && self.bug != Some(Bug::NoPoll) {
            self.begin(no, Task::Polling, Statement::Versions(chats));
        }
    }

    pub(super) fn polled(&mut self, no: usize, versions: Vec<(ChatId, i64)>) {
        let found = versions.iter().copied().collect();
        let known = std::mem::replace(&mut self.replicas[no].known_versions, found);
        for (chat, version) in versions {
            if known.get(&chat) != Some(&version) {
                self.chat_changed(no, chat);
            }
        }
    }
}
