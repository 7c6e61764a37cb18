//! Random actions, small enough that a failing sequence shrinks to a few lines.

use chatplane_domain::{BusyBehavior, CallKind};
use proptest::{collection::vec, option, prelude::*, sample::select};

/// Something that somebody does. Numbers choose among what is there, modulo; one
/// more than there is stands for something unknown.
#[derive(Clone, Debug)]
pub(crate) enum Action {
    Client {
        ask: Ask,
        offer: Option<u8>,
    },
    Lease {
        session: u8,
    },
    Write {
        holder: u8,
        header: Header,
        what: Write,
        reply_lost: bool,
    },
    Repeat {
        holder: u8,
    },
    GetTurn {
        holder: u8,
    },
    SessionEnds {
        stale: bool,
    },
    InterruptionOverdue,
    ExpireCalls,
    FailRunnable,
    Crashes {
        times: u8,
    },
    /// The chat is copied up to a row; whether everybody goes on with the copy.
    Fork {
        row: u8,
        go_on: bool,
    },
    /// The model of a queued message cannot be used any more.
    ModelGoes {
        nth: u8,
    },
    Pass {
        seconds: u8,
    },
}

/// What a client asks for.
#[derive(Clone, Debug)]
pub(crate) enum Ask {
    Send { busy: BusyBehavior, model: bool },
    Edit { row: u8 },
    EditQueued { nth: u8 },
    DeleteQueued { nth: u8 },
    MoveQueued { nth: u8, to: u8 },
    Promote { nth: u8 },
    Interrupt,
    Submit { count: u8 },
    Configure { model: bool, prompt: Prompt, tools: Option<u8>, timeout: bool },
    Compact,
    Clear,
    Archive,
    Unarchive,
}

/// What becomes of the chat's prompt.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Prompt {
    Stays,
    Changes,
    Goes,
}

/// How the header of a write differs from what an honest holder sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Header {
    Honest,
    WrongNumber(i8),
    OtherSession,
    OtherHistory,
}

/// What a holder writes.
#[derive(Clone, Debug)]
pub(crate) enum Write {
    Step { calls: Option<Vec<CallKind>>, next: Next, summary: Option<Covers> },
    Results { count: u8 },
    Retry,
    Finish { partial: Option<Vec<CallKind>>, results: u8 },
    Fail,
    Release,
}

/// What a summary covers.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Covers {
    /// As much as it may.
    Honest,
    /// This row, of a history that is so many versions old.
    Row(u8, u8),
    /// A step without its results.
    Cut,
    /// What the newest boundary covers already.
    Again,
    /// A row that does not exist yet.
    Beyond,
    /// As much as it may, without a word.
    Wordless,
}

/// How a step goes on.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Next {
    Continue,
    Finish,
    Suspend,
    /// What fits the calls.
    Fitting,
}

fn calls() -> impl Strategy<Value = Vec<CallKind>> {
    let kind = prop_oneof![
        3 => Just(CallKind::Worker),
        3 => Just(CallKind::Client),
        1 => Just(CallKind::Approval),
    ];
    vec(kind, 0..3)
}

fn busy() -> impl Strategy<Value = BusyBehavior> {
    select(vec![BusyBehavior::Queue, BusyBehavior::Steer, BusyBehavior::Interrupt])
}

fn ask() -> impl Strategy<Value = Ask> {
    prop_oneof![
        8 => (busy(), any::<bool>()).prop_map(|(busy, model)| Ask::Send { busy, model }),
        1 => (0..8_u8).prop_map(|row| Ask::Edit { row }),
        1 => (0..4_u8).prop_map(|nth| Ask::EditQueued { nth }),
        1 => (0..4_u8).prop_map(|nth| Ask::DeleteQueued { nth }),
        1 => (0..4_u8, 0..4_u8).prop_map(|(nth, to)| Ask::MoveQueued { nth, to }),
        1 => (0..4_u8).prop_map(|nth| Ask::Promote { nth }),
        2 => Just(Ask::Interrupt),
        3 => (0..4_u8).prop_map(|count| Ask::Submit { count }),
        1 => configure(),
        2 => Just(Ask::Compact),
        1 => Just(Ask::Clear),
        1 => Just(Ask::Archive),
        1 => Just(Ask::Unarchive),
    ]
}

fn configure() -> impl Strategy<Value = Ask> {
    let prompt = select(vec![Prompt::Stays, Prompt::Stays, Prompt::Changes, Prompt::Goes]);
    (any::<bool>(), prompt, option::of(0..3_u8), any::<bool>())
        .prop_map(|(model, prompt, tools, timeout)| Ask::Configure { model, prompt, tools, timeout })
}

fn header() -> impl Strategy<Value = Header> {
    prop_oneof![
        20 => Just(Header::Honest),
        1 => (-2..3_i8).prop_map(Header::WrongNumber),
        1 => Just(Header::OtherSession),
        1 => Just(Header::OtherHistory),
    ]
}

fn next() -> impl Strategy<Value = Next> {
    prop_oneof![
        4 => Just(Next::Fitting),
        1 => Just(Next::Continue),
        1 => Just(Next::Finish),
        1 => Just(Next::Suspend),
    ]
}

fn covers() -> impl Strategy<Value = Covers> {
    prop_oneof![
        6 => Just(Covers::Honest),
        3 => (0..16_u8, 0..4_u8).prop_map(|(row, age)| Covers::Row(row, age)),
        1 => Just(Covers::Cut),
        1 => Just(Covers::Again),
        1 => Just(Covers::Beyond),
        1 => Just(Covers::Wordless),
    ]
}

fn what() -> impl Strategy<Value = Write> {
    prop_oneof![
        7 => (option::weighted(0.75, calls()), next(), option::weighted(0.3, covers()))
            .prop_map(|(calls, next, summary)| Write::Step { calls, next, summary }),
        4 => (0..4_u8).prop_map(|count| Write::Results { count }),
        1 => Just(Write::Retry),
        3 => (option::of(calls()), 0..3_u8).prop_map(|(partial, results)| Write::Finish { partial, results }),
        1 => Just(Write::Fail),
        1 => Just(Write::Release),
    ]
}

/// The newest holder mostly, sometimes one that does not know it was replaced.
fn holder() -> impl Strategy<Value = u8> {
    prop_oneof![8 => Just(0), 1 => 1..4_u8]
}

fn written() -> impl Strategy<Value = Action> {
    (holder(), header(), what(), prop::bool::weighted(0.15))
        .prop_map(|(holder, header, what, reply_lost)| Action::Write { holder, header, what, reply_lost })
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        12 => (ask(), option::weighted(0.3, 0..3_u8)).prop_map(|(ask, offer)| Action::Client { ask, offer }),
        5 => (0..3_u8).prop_map(|session| Action::Lease { session }),
        14 => written(),
        1 => holder().prop_map(|holder| Action::Repeat { holder }),
        3 => holder().prop_map(|holder| Action::GetTurn { holder }),
        1 => any::<bool>().prop_map(|stale| Action::SessionEnds { stale }),
        1 => Just(Action::InterruptionOverdue),
        1 => Just(Action::ExpireCalls),
        1 => Just(Action::FailRunnable),
        1 => (1..30_u8).prop_map(|times| Action::Crashes { times }),
        1 => (0..16_u8, prop::bool::weighted(0.5)).prop_map(|(row, go_on)| Action::Fork { row, go_on }),
        1 => (0..3_u8).prop_map(|nth| Action::ModelGoes { nth }),
        2 => (0..90_u8).prop_map(|seconds| Action::Pass { seconds }),
    ]
}

/// What happens to one chat.
pub(crate) fn actions() -> impl Strategy<Value = Vec<Action>> {
    vec(action(), 1..40)
}
