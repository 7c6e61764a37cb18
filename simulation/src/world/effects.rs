//! What follows a write at the replica that made it. Losing any of it costs latency, never work.

use chatplane_domain::{Chat, ChatId, Decision, Effect};

use super::{World, message::Hint};
use crate::scheduler::{Event as Told, LeaseKey};

impl World {
    pub(super) fn after_commit(&mut self, no: usize, before: &Chat, decision: &Decision) {
        let chat = &decision.chat;
        let version = chat.versions.snapshot;
        if decision.change.is_some() {
            self.chat_changed(no, chat.id);
            self.publish(no, Hint::Chat(chat.id));
        }
        if self.poison.is_none() && self.has_poison && before.versions.snapshot <= 1 {
            self.poison = Some(chat.id);
        }
        for effect in &decision.effects {
            match effect {
                Effect::Runnable => {
                    self.claim(no);
                    self.publish(no, Hint::Runnable);
                }
                Effect::Deliver(lease) => {
                    let key = LeaseKey { chat: chat.id, fence: lease.fence };
                    self.tell_session(no, lease.session, Told::Granted(key));
                }
                Effect::Interrupt(session, fence) => {
                    let key = LeaseKey { chat: chat.id, fence: *fence };
                    self.tell_session(no, *session, Told::Interrupt { key, version });
                }
                Effect::Reload(session, fence) => {
                    let key = LeaseKey { chat: chat.id, fence: *fence };
                    self.tell_session(no, *session, Told::Reload { key, version });
                }
                Effect::Lost(session, fence) => {
                    let key = LeaseKey { chat: chat.id, fence: *fence };
                    self.tell_session(no, *session, Told::Lost(key));
                }
                Effect::CancelCalls(_) => {}
            }
        }
    }

    /// Everybody here who watches the chat looks again.
    pub(super) fn chat_changed(&mut self, no: usize, chat: ChatId) {
        let of_chat = self.replicas[no].watches.iter_mut().filter(|(_, watch)| watch.chat == chat);
        let mut woken = Vec::new();
        for (stream, watch) in of_chat {
            watch.watcher.on_hint();
            woken.push(*stream);
        }
        for stream in woken {
            self.watch_advances(no, stream);
        }
    }

    /// Everybody here who watches the chat sees what is live.
    pub(super) fn live_changed(&mut self, no: usize, chat: ChatId) {
        let watches = self.replicas[no].watches.iter().filter(|(_, watch)| watch.chat == chat);
        for stream in watches.map(|(stream, _)| *stream).collect::<Vec<_>>() {
            self.watch_advances(no, stream);
        }
    }
}
