//! Which versions a lease holder has been told of, and what that makes of a late message.

use crate::session::Control;

/// What a lease holder has been told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Versions {
    /// Version of the history it works from; goes into its writes.
    pub(super) history: i64,
    /// Version in which the chat was last known not to be interrupting, or to be so by
    /// its own word. Stops up to this one are over.
    interrupt_horizon: i64,
    /// Version in which the settings were last read.
    settings: i64,
}

impl Versions {
    /// After a read, which tells everything.
    pub(super) fn read(snapshot: i64, history: i64) -> Self {
        Versions { history, interrupt_horizon: snapshot, settings: snapshot }
    }

    /// After a write that leaves the chat not interrupting. It tells nothing of the
    /// settings: they may have changed just before, and the reply does not carry them.
    pub(super) fn wrote(&mut self, snapshot: i64, history: i64) {
        self.history = history;
        self.interrupt_horizon = snapshot;
    }

    /// After a write of tool results, which is accepted from an interrupting chat too and
    /// leaves it so: a stop that came just before it, and has a lower version, still holds.
    pub(super) fn wrote_results(&mut self, history: i64) {
        self.history = history;
    }

    /// Whether a stop is in force.
    pub(super) fn interrupted_by(&self, control: Control) -> bool {
        control.interrupt > self.interrupt_horizon
    }

    /// Whether settings or history have changed since they were read. A change by a write
    /// whose reply has already told it is read once more: rare, and harmless.
    pub(super) fn outdated_by(&self, control: Control) -> bool {
        control.reload > self.settings
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn interrupt(version: i64) -> Control {
        Control { interrupt: version, ..Control::default() }
    }

    fn reload(version: i64) -> Control {
        Control { reload: version, ..Control::default() }
    }

    #[test]
    fn a_late_interrupt_does_not_stop_the_next_answer() {
        let mut versions = Versions::read(5, 3);

        versions.wrote(9, 9);

        assert!(!versions.interrupted_by(interrupt(8)));
        assert!(!versions.interrupted_by(interrupt(9)));
        assert!(versions.interrupted_by(interrupt(10)));
    }

    #[test]
    fn an_interrupt_just_before_a_write_of_results_still_stops() {
        let mut versions = Versions::read(5, 3);

        versions.wrote_results(7);

        assert!(versions.interrupted_by(interrupt(6)));
        assert!(!versions.interrupted_by(interrupt(5)));
    }

    #[test]
    fn a_change_of_settings_just_before_a_commit_is_still_read() {
        let mut versions = Versions::read(5, 3);

        versions.wrote(7, 7);

        assert!(versions.outdated_by(reload(6)));
        assert!(!Versions::read(7, 7).outdated_by(reload(6)));
    }

    /// What happens to a chat, in the order of its versions.
    #[derive(Clone, Copy, Debug)]
    enum Happening {
        Interrupt,
        Results,
        EndOfStep,
        Read,
    }

    proptest! {
        /// Messages arrive late, replies do not: whenever the holder looks, a stop is in
        /// force for it exactly if the chat is interrupting.
        #[test]
        fn a_holder_that_has_all_messages_is_interrupted_exactly_when_its_chat_is(
            happenings in vec(
                prop_oneof![
                    Just(Happening::Interrupt),
                    Just(Happening::Results),
                    Just(Happening::EndOfStep),
                    Just(Happening::Read),
                ],
                1..40,
            )
        ) {
            let mut versions = Versions::read(1, 1);
            let mut control = Control::default();
            let (mut snapshot, mut interrupting, mut read_interrupting) = (1, false, false);
            for happening in happenings {
                match happening {
                    Happening::Interrupt => {
                        if !interrupting {
                            snapshot += 1;
                            interrupting = true;
                            control.interrupt = snapshot;
                        }
                    }
                    Happening::Results => {
                        snapshot += 1;
                        versions.wrote_results(snapshot);
                    }
                    Happening::EndOfStep => {
                        snapshot += 1;
                        (interrupting, read_interrupting) = (false, false);
                        versions.wrote(snapshot, snapshot);
                    }
                    Happening::Read => {
                        read_interrupting = interrupting;
                        versions = Versions::read(snapshot, snapshot);
                    }
                }
                prop_assert_eq!(read_interrupting || versions.interrupted_by(control), interrupting);
            }
        }
    }
}
