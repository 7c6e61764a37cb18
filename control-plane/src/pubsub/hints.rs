//! Hints on their way: a bounded set, and the payloads that carry it. Pure.
//!
//! A payload names its sender and then what has changed, separated by spaces, or `*` for
//! everything of its channel. What a later release may add to it counts as everything, so
//! that it is looked at rather than missed.

use std::collections::{BTreeMap, BTreeSet, btree_map};

use chatplane_domain::ReplicaId;
use uuid::Uuid;

use super::channels::Channel;

/// Ids that wait in one channel; when there are more, everything of the channel is looked
/// at. All channels together hold 1 MiB so, which is what an outage may cost.
const IDS_MAX: usize = 512;
/// Bytes of a payload. PostgreSQL takes less than 8,000.
const PAYLOAD_BYTES_MAX: usize = 7_900;
/// Stands for everything of the channel.
const EVERYTHING: &str = "*";

/// What of a channel is hinted at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Subjects {
    /// These; none where the channel itself says it all.
    Ids(BTreeSet<Uuid>),
    /// Whatever belongs to the channel.
    Everything,
}

/// Hints that wait, each counted once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Hints(BTreeMap<Channel, Subjects>);

/// A notification as PostgreSQL carries it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) channel: String,
    pub(super) payload: String,
}

/// A notification that no release has sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

impl Hints {
    /// Hints at one of a channel.
    pub(super) fn add(&mut self, channel: Channel, id: Uuid) {
        self.add_all(channel, [id]);
    }

    /// Hints at what the channel itself stands for.
    pub(super) fn add_signal(&mut self, channel: Channel) {
        self.add_all(channel, []);
    }

    /// Hints at everything of a channel.
    pub(super) fn add_everything(&mut self, channel: Channel) {
        self.0.insert(channel, Subjects::Everything);
    }

    /// Takes in what could not be sent.
    pub(super) fn merge(&mut self, other: Self) {
        for (channel, subjects) in other {
            match subjects {
                Subjects::Ids(ids) => self.add_all(channel, ids),
                Subjects::Everything => self.add_everything(channel),
            }
        }
    }

    fn add_all(&mut self, channel: Channel, more: impl IntoIterator<Item = Uuid>) {
        let subjects = self.0.entry(channel).or_insert_with(|| Subjects::Ids(BTreeSet::new()));
        if let Subjects::Ids(ids) = subjects {
            ids.extend(more);
            if ids.len() > IDS_MAX {
                *subjects = Subjects::Everything;
            }
        }
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The notifications that carry them.
    pub(super) fn messages(&self, sender: ReplicaId) -> Vec<Message> {
        let of_channel = |(channel, subjects): (&Channel, &Subjects)| {
            let channel = channel.name();
            let payloads = match subjects {
                Subjects::Ids(ids) => payloads(sender, ids),
                Subjects::Everything => vec![format!("{} {EVERYTHING}", sender.0)],
            };
            payloads.into_iter().map(move |payload| Message { channel: channel.clone(), payload })
        };
        self.0.iter().flat_map(of_channel).collect()
    }

    /// Takes in a notification, unless it is this replica's own.
    pub(super) fn hear(&mut self, own: ReplicaId, channel: &str, payload: &str) -> Result<(), Malformed> {
        let channel = Channel::named(channel).ok_or(Malformed)?;
        let mut words = payload.split(' ');
        let sender: Uuid = words.next().unwrap_or_default().parse().map_err(|_| Malformed)?;
        if sender == own.0 {
            return Ok(());
        }
        match words.map(str::parse).collect::<Result<BTreeSet<Uuid>, _>>() {
            Ok(ids) => self.add_all(channel, ids),
            Err(_) => self.add_everything(channel),
        }
        Ok(())
    }
}

impl IntoIterator for Hints {
    type Item = (Channel, Subjects);
    type IntoIter = btree_map::IntoIter<Channel, Subjects>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// At least one, which names nobody but its sender.
fn payloads(sender: ReplicaId, ids: &BTreeSet<Uuid>) -> Vec<String> {
    let mut payloads = vec![sender.0.to_string()];
    for id in ids {
        let word = format!(" {id}");
        match payloads.last_mut() {
            Some(last) if last.len() + word.len() <= PAYLOAD_BYTES_MAX => last.push_str(&word),
            Some(_) | None => payloads.push(format!("{}{word}", sender.0)),
        }
    }
    payloads
}

#[cfg(test)]
mod tests {
    use chatplane_domain::ChatId;
    use proptest::prelude::*;

    use super::{BTreeSet, Channel, Hints, IDS_MAX, Malformed, PAYLOAD_BYTES_MAX, ReplicaId, Subjects, Uuid};

    const OWN: ReplicaId = ReplicaId(Uuid::from_u128(1));
    const OTHER: ReplicaId = ReplicaId(Uuid::from_u128(2));

    #[derive(Clone, Debug)]
    enum Step {
        Chat(u128),
        Signal(Channel),
        Everything(u128),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            20 => any::<u128>().prop_map(Step::Chat),
            1 => prop_oneof![Just(Channel::Runnable), Just(Channel::Peers)].prop_map(Step::Signal),
            1 => any::<u128>().prop_map(Step::Everything),
        ]
    }

    fn hints(steps: &[Step]) -> Hints {
        let mut hints = Hints::default();
        for step in steps {
            match step {
                Step::Chat(id) => {
                    let chat = ChatId(Uuid::from_u128(*id));
                    hints.add(Channel::of_chat(chat), chat.0);
                }
                Step::Signal(channel) => hints.add_signal(*channel),
                Step::Everything(id) => {
                    hints.add_everything(Channel::of_chat(ChatId(Uuid::from_u128(*id))));
                }
            }
        }
        hints
    }

    fn heard(by: ReplicaId, hints: &Hints) -> Hints {
        let mut heard = Hints::default();
        for message in hints.messages(OWN) {
            heard.hear(by, &message.channel, &message.payload).expect("it was just written");
        }
        heard
    }

    proptest! {
        #[test]
        fn what_one_replica_says_another_hears(steps in prop::collection::vec(step(), 0..2_000)) {
            let hints = hints(&steps);

            prop_assert_eq!(&heard(OTHER, &hints), &hints);
            prop_assert!(heard(OWN, &hints).is_empty(), "nobody hears what he said himself");
        }

        #[test]
        fn no_payload_is_longer_than_the_database_takes(count in 0..IDS_MAX) {
            let mut hints = Hints::default();
            for no in 0..count {
                hints.add(Channel::Runnable, Uuid::from_u128(no as u128));
            }

            let messages = hints.messages(OWN);

            prop_assert!(messages.iter().all(|message| message.payload.len() <= PAYLOAD_BYTES_MAX));
        }

        #[test]
        fn no_payload_makes_a_replica_stumble(channel in "(chatplane_)?[a-z_0-9]{0,12}", payload in ".{0,80}") {
            // Whatever it is: heard, or refused.
            let _ = Hints::default().hear(OWN, &channel, &payload);
        }
    }

    #[test]
    fn a_set_that_is_full_becomes_everything_and_stays_so() {
        let mut hints = Hints::default();
        let ids = |count| (0..count).map(|no| Uuid::from_u128(no as u128));
        ids(IDS_MAX).for_each(|id| hints.add(Channel::Runnable, id));
        assert_eq!(hints.0[&Channel::Runnable], Subjects::Ids(ids(IDS_MAX).collect()));

        ids(IDS_MAX + 1).for_each(|id| hints.add(Channel::Runnable, id));
        hints.add(Channel::Runnable, Uuid::max());

        assert_eq!(hints.0[&Channel::Runnable], Subjects::Everything);
        assert_eq!(hints.messages(OWN).len(), 1);
        assert_eq!(hints.messages(OWN)[0].payload, format!("{} *", OWN.0));
    }

    #[test]
    fn what_could_not_be_sent_is_kept_with_what_came_since() {
        let chat = |no| ChatId(Uuid::from_u128(no));
        let unsent = hints(&[Step::Chat(1), Step::Everything(2)]);
        let mut since = hints(&[Step::Chat(3), Step::Chat(2)]);

        since.merge(unsent);

        assert_eq!(since, hints(&[Step::Chat(1), Step::Chat(3), Step::Everything(chat(2).0.as_u128())]));
    }

    #[test]
    fn what_a_later_release_adds_is_looked_at_as_everything() {
        let mut hints = Hints::default();

        let added = format!("{} {} deleted:7", OTHER.0, Uuid::max());
        assert_eq!(hints.hear(OWN, "chatplane_chats_07", &added), Ok(()));

        let everything = hints.0.values().all(|subjects| *subjects == Subjects::Everything);
        assert!(everything && !hints.is_empty());
        assert_eq!(hints.hear(OWN, "chatplane_chats_07", "nobody"), Err(Malformed));
        assert_eq!(hints.hear(OWN, "elsewhere", &OTHER.0.to_string()), Err(Malformed));
    }

    #[test]
    fn a_signal_is_heard_by_its_channel() {
        let mut signal = Hints::default();
        signal.add_signal(Channel::Runnable);

        let heard = heard(OTHER, &signal);

        let all: Vec<_> = heard.into_iter().collect();
        assert_eq!(all, [(Channel::Runnable, Subjects::Ids(BTreeSet::new()))]);
    }
}
