//! A model that talks, thinks, calls tools, is overloaded and breaks off; and what its tools do.
//!
//! Every answer begins with its number, so that whatever is found anywhere can be held against
//! what the model server says it sent. Each tool call has a marker that no other has.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use chatplane_tests::model_server::{Action, Request};
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};

use crate::CLIENT_TOOL;

/// Between two pieces of an answer: long enough that faults meet turns under way.
const PACE: Duration = Duration::from_millis(25);
/// The same of a model that takes its time.
const SLOW_PACE: Duration = Duration::from_millis(120);
/// A delta of an answer.
const DELTA_BYTES: usize = 24;
/// The file of a workspace to which each call of `execute` appends its marker.
pub(crate) const EFFECTS: &str = "effects";

/// Whether the model is to come to an end: users have gone, and what is measured from then on
/// is how the system recovers, not how long a model can talk.
#[derive(Clone, Debug, Default)]
pub(crate) struct Calm(Arc<AtomicBool>);

impl Calm {
    pub(crate) fn begin(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn has_begun(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// What a model server does; everything comes from the seed and the call's number.
pub(crate) fn script(seed: u64, calm: Calm) -> impl Fn(&Request) -> Vec<Action> + Send + Sync {
    move |request| {
        let number = u64::try_from(request.number).expect("calls are few");
        let mut random = StdRng::seed_from_u64(seed.wrapping_add(number.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        let actions = answer(request, &calm, &mut random);
        if let [Action::Status { .. }, ..] = &actions[..] {
            return actions;
        }
        // The tokens of an account tell which call it is of.
        let usage = Action::Usage { input_tokens: number + 1, output_tokens: 5 };
        [usage].into_iter().chain(actions).collect()
    }
}

fn answer(request: &Request, calm: &Calm, random: &mut StdRng) -> Vec<Action> {
    let number = request.number;
    let is_slow = random.random_ratio(1, 4) && !calm.has_begun();
    let pace = if is_slow { SLOW_PACE } else { PACE };
    let mut actions = vec![Action::DeltaBytes(DELTA_BYTES), Action::Pace(pace)];
    match random.random_range(0..100) {
        0..3 => return refusal(529, "overloaded_error", "busy"),
        3..4 => return refusal(400, "invalid_request_error", "this is not a request"),
        4..7 => {
            actions.extend([Action::Text(format!("#{number} It breaks ")), Action::Cut]);
            return actions;
        }
        _ => {}
    }
    if random.random_ratio(1, 4) {
        actions.push(Action::Thinking {
            text: format!("#{number} Let me think."),
            signature: "c2ln".to_owned(),
        });
    }
    let words = "naïve café, 漢字 and 𝄞, as people say. ".repeat(random.random_range(1..9));
    actions.push(Action::Text(format!("#{number} {words}")));
    let calls = calls(request, calm, random);
    let is_done = calls.is_empty();
    actions.extend(calls.into_iter().enumerate().map(|(index, (name, arguments))| {
        Action::tool_use(&format!("toolu_{number}_{index}"), name, &arguments)
    }));
    actions.push(if is_done { Action::stop() } else { Action::stop_for_tools() });
    actions
}

fn calls(request: &Request, calm: &Calm, random: &mut StdRng) -> Vec<(&'static str, Value)> {
    let number = request.number;
    let mut calls = Vec::new();
    // After results the model is mostly content, or no turn would end.
    let has_results = !request.new_tool_results().is_empty();
    let is_content = has_results && (random.random_ratio(3, 4) || calm.has_begun());
    if is_content {
        return calls;
    }
    if request.has_tool("execute") && random.random_ratio(1, 2) {
        for index in 0..random.random_range(1..4) {
            let command = command(&format!("m{number}.{index}"), random.random_range(0..8));
            calls.push(("execute", json!({"command": command})));
        }
    }
    if request.has_tool(CLIENT_TOOL) && random.random_ratio(1, 6) {
        calls.push((CLIENT_TOOL, json!({"number": number})));
    }
    calls
}

/// A command that leaves its marker, and takes so many tenths of a second.
fn command(marker: &str, tenths: u32) -> String {
    let (seconds, tenths) = (tenths / 10, tenths % 10);
    format!(
        "echo {marker} >> {EFFECTS}; echo working on {marker}; sleep {seconds}.{tenths}; echo finished {marker}"
    )
}

/// The marker that a command leaves, given the arguments of its call.
pub(crate) fn marker_of(arguments_json: &str) -> Option<String> {
    let arguments: Value = serde_json::from_str(arguments_json).ok()?;
    let command = arguments["command"].as_str()?;
    let marker = command.strip_prefix("echo ")?.split(' ').next()?;
    Some(marker.to_owned())
}

/// All that a command writes.
pub(crate) fn output_of(marker: &str) -> String {
    format!("working on {marker}\nfinished {marker}\n")
}

/// Which call of the model an answer is of, once enough of it has been said.
pub(crate) fn number_of(said: &str) -> Option<usize> {
    said.strip_prefix('#')?.split_once(' ')?.0.parse().ok()
}

/// The same for the tokens of an account.
pub(crate) fn number_of_account(input_tokens: i64) -> Option<usize> {
    usize::try_from(input_tokens - 1).ok()
}

/// A status, and no wait before the next try.
fn refusal(code: u16, kind: &str, message: &str) -> Vec<Action> {
    vec![Action::error_status(code, kind, message).with_header("retry-after", "0")]
}
