//! What a Ctrl-C means: pure, so that every order of presses can be tested.

/// What stood on the line when Ctrl-C was pressed at the prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Typed {
    Nothing,
    Something,
}

/// What to do about a Ctrl-C at the prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PromptAction {
    /// The line was thrown away, which says it all.
    Discard,
    /// Say how to leave.
    Hint,
    Leave,
}

/// Presses at the prompt: the second in a row on an empty line leaves.
#[derive(Debug, Default)]
pub(super) struct AtPrompt {
    was_hinted: bool,
}

impl AtPrompt {
    pub(super) fn press(&mut self, typed: Typed) -> PromptAction {
        match (typed, self.was_hinted) {
            (Typed::Something, _) => {
                self.was_hinted = false;
                PromptAction::Discard
            }
            (Typed::Nothing, false) => {
                self.was_hinted = true;
                PromptAction::Hint
            }
            (Typed::Nothing, true) => PromptAction::Leave,
        }
    }

    pub(super) fn line_entered(&mut self) {
        self.was_hinted = false;
    }
}

/// What to do about a Ctrl-C while a turn runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TurnAction {
    Interrupt,
    Leave,
}

/// Presses during one turn: the first interrupts it, the second leaves.
#[derive(Debug, Default)]
pub(super) struct InTurn {
    is_interrupted: bool,
}

impl InTurn {
    pub(super) fn press(&mut self) -> TurnAction {
        match self.is_interrupted {
            false => {
                self.is_interrupted = true;
                TurnAction::Interrupt
            }
            true => TurnAction::Leave,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_an_empty_prompt_the_first_press_hints_and_the_second_leaves() {
        let mut presses = AtPrompt::default();

        assert_eq!(presses.press(Typed::Nothing), PromptAction::Hint);
        assert_eq!(presses.press(Typed::Nothing), PromptAction::Leave);
    }

    #[test]
    fn a_press_that_throws_away_a_line_never_leaves() {
        let mut presses = AtPrompt::default();

        assert_eq!(presses.press(Typed::Something), PromptAction::Discard);
        assert_eq!(presses.press(Typed::Something), PromptAction::Discard);
        assert_eq!(presses.press(Typed::Nothing), PromptAction::Hint);
        assert_eq!(presses.press(Typed::Something), PromptAction::Discard);
        assert_eq!(presses.press(Typed::Nothing), PromptAction::Hint);
    }

    #[test]
    fn a_line_between_two_presses_makes_the_second_a_first() {
        let mut presses = AtPrompt::default();

        presses.press(Typed::Nothing);
        presses.line_entered();

        assert_eq!(presses.press(Typed::Nothing), PromptAction::Hint);
    }

    #[test]
    fn during_a_turn_the_first_press_interrupts_and_the_second_leaves() {
        let mut presses = InTurn::default();

        assert_eq!(presses.press(), TurnAction::Interrupt);
        assert_eq!(presses.press(), TurnAction::Leave);
    }
}
