//! Which channels a replica listens to. Pure; time is an argument.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::channels::Channel;

/// A channel is listened to for this long after anybody was interested: turns come and go,
/// and each LISTEN is a round trip and a lock.
const LINGER: Duration = Duration::from_secs(60);

/// The channels that are wanted or were a moment ago, through all connections.
#[derive(Debug, Default)]
pub(super) struct Listening(BTreeMap<Channel, Wanted>);

#[derive(Clone, Copy, Debug)]
struct Wanted {
    last: Duration,
    /// Whether the connection listens to it.
    is_heard: bool,
}

/// What is to be changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) listen: Vec<Channel>,
    pub(super) unlisten: Vec<Channel>,
}

impl Listening {
    /// A connection has begun, which listens to nothing yet.
    pub(super) fn begin(&mut self) {
        for wanted in self.0.values_mut() {
            wanted.is_heard = false;
        }
    }

    /// These are wanted now.
    pub(super) fn want(&mut self, now: Duration, channels: &BTreeSet<Channel>) {
        for channel in channels {
            self.0.entry(*channel).or_insert(Wanted { last: now, is_heard: false }).last = now;
        }
    }

    /// What is to be changed so that what is wanted is listened to.
    pub(super) fn plan(&mut self, now: Duration) -> Plan {
        let is_over = |wanted: &Wanted| now.saturating_sub(wanted.last) >= LINGER;
        self.0.retain(|_, wanted| wanted.is_heard || !is_over(wanted));
        let those = |is_meant: &dyn Fn(&Wanted) -> bool| {
            self.0.iter().filter(|(_, wanted)| is_meant(wanted)).map(|(channel, _)| *channel).collect()
        };
        Plan { listen: those(&|wanted| !wanted.is_heard), unlisten: those(&is_over) }
    }

    /// The connection does as planned.
    pub(super) fn done(&mut self, plan: &Plan) {
        for channel in &plan.listen {
            if let Some(wanted) = self.0.get_mut(channel) {
                wanted.is_heard = true;
            }
        }
        for channel in &plan.unlisten {
            self.0.remove(channel);
        }
    }
}

impl Plan {
    /// Whether everything is as it should be.
    pub(super) fn is_empty(&self) -> bool {
        self.listen.is_empty() && self.unlisten.is_empty()
    }

    /// The statements that carry it out, all at once.
    pub(super) fn statements(&self) -> String {
        let of = |verb, channels: &[Channel]| -> String {
            channels.iter().map(|channel| format!("{verb} {};", channel.name())).collect()
        };
        of("listen", &self.listen) + &of("unlisten", &self.unlisten)
    }
}

#[cfg(test)]
mod tests {
    use super::{BTreeSet, Channel, Duration, LINGER, Listening, Plan};

    const START: Duration = Duration::from_secs(5);

    fn plan(listening: &mut Listening, now: Duration, wanted: &[Channel]) -> Plan {
        listening.want(now, &wanted.iter().copied().collect::<BTreeSet<_>>());
        listening.plan(now)
    }

    fn settled(channels: &[Channel]) -> Listening {
        let mut listening = Listening::default();
        let plan = plan(&mut listening, START, channels);
        listening.done(&plan);
        listening
    }

    #[test]
    fn what_is_wanted_is_listened_to_once() {
        let mut listening = Listening::default();

        let first = plan(&mut listening, START, &[Channel::Peers, Channel::Runnable]);
        assert_eq!(first.statements(), "listen chatplane_runnable;listen chatplane_peers;");
        assert_eq!(plan(&mut listening, START, &[]), first, "it is not done yet");
        listening.done(&first);

        assert!(plan(&mut listening, START, &[Channel::Peers]).is_empty());
    }

    #[test]
    fn what_nobody_wants_any_more_is_listened_to_a_while_longer() {
        let mut listening = settled(&[Channel::Peers, Channel::Runnable]);
        let later = START + Duration::from_secs(1);
        assert!(plan(&mut listening, later, &[Channel::Runnable]).is_empty());

        let almost = plan(&mut listening, later + LINGER - Duration::from_millis(1), &[Channel::Peers]);
        let over = plan(&mut listening, later + LINGER, &[Channel::Peers]);

        assert!(almost.is_empty());
        assert_eq!(over, Plan { listen: Vec::new(), unlisten: vec![Channel::Runnable] });
        assert_eq!(over.statements(), "unlisten chatplane_runnable;");
        listening.done(&over);
        assert_eq!(plan(&mut listening, later + LINGER, &[Channel::Runnable]).listen, [Channel::Runnable]);
    }

    #[test]
    fn what_is_wanted_again_in_time_is_not_given_up() {
        let mut listening = settled(&[Channel::Runnable]);

        assert!(plan(&mut listening, START + LINGER, &[Channel::Runnable]).is_empty());
    }

    #[test]
    fn the_next_connection_listens_to_what_was_wanted_a_moment_ago() {
        let mut listening = settled(&[Channel::Peers, Channel::Runnable]);

        listening.begin();
        let soon = plan(&mut listening, START + Duration::from_secs(1), &[Channel::Peers]);
        let late = plan(&mut listening, START + LINGER, &[Channel::Peers]);

        assert_eq!(soon, Plan { listen: vec![Channel::Runnable, Channel::Peers], unlisten: Vec::new() });
        assert_eq!(late, Plan { listen: vec![Channel::Peers], unlisten: Vec::new() });
    }
}
