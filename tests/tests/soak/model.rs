//! A model of whims: it talks, thinks, calls tools of workers and of clients, fills its
//! context, is overloaded, breaks off.

use std::time::Duration;

use chatplane_tests::model_server::{Action, Call, Purpose, Request, call_tools};
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::json;

use crate::CLIENT_TOOL;

/// Tokens that fit the model's context. The history is summarized from 30 % of it on, and
/// a turn waits for the summary from 95 % on.
pub(crate) const CONTEXT_TOKENS: u64 = 1_000_000;
/// Tokens that a call reads are a multiple of this, plus the call's number: so that each
/// account of a call tells which call it is.
const TOKENS_STEP: u64 = 200_000;
/// Between two pieces of an answer: long enough that users meet turns under way.
const PACE: Duration = Duration::from_millis(2);
/// The same of a model that takes its time: an interrupt meets it in the middle of a word, even
/// on a busy machine.
const SLOW_PACE: Duration = Duration::from_millis(100);
/// What an answer says that breaks off.
const BREAKS: &str = "It breaks ";

/// What a model server does; everything comes from the seed and the call's number.
pub(crate) fn script(seed: u64) -> impl Fn(&Request) -> Vec<Action> + Send + Sync {
    move |request| {
        let number = u64::try_from(request.number).expect("calls are few");
        let mut random = StdRng::seed_from_u64(seed.wrapping_add(number.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        let fill = match random.random_range(0..20) {
            0..16 => 0,
            16..19 => 2,
            _ => 5,
        };
        let actions = match request.purpose() {
            Purpose::Turn => turn(request, &mut random),
            Purpose::Summary => summary(&mut random),
            Purpose::Title => vec![Action::text("A title"), Action::stop()],
        };
        if let [Action::Status { .. }, ..] = &actions[..] {
            return actions;
        }
        let usage = Action::Usage { input_tokens: fill * TOKENS_STEP + number + 1, output_tokens: 5 };
        [usage].into_iter().chain(actions).collect()
    }
}

fn turn(request: &Request, random: &mut StdRng) -> Vec<Action> {
    let number = request.number;
    match random.random_range(0..100) {
        0..5 => return refusal(529, "overloaded_error", "busy"),
        5..7 => {
            return refusal(
                400,
                "invalid_request_error",
                "prompt is too long: 1000001 tokens > 1000000 maximum",
            );
        }
        7..10 => return vec![Action::text(BREAKS), Action::Cut],
        10..12 => return refusal(400, "invalid_request_error", "this is not a request"),
        _ => {}
    }
    let mut calls = Vec::new();
    if request.new_tool_results().is_empty() {
        if request.has_tool("list_dir") && random.random_ratio(1, 3) {
            calls.push(("list_dir", json!({"path": "."})));
            calls.push(("read_file", json!({"path": "none"})));
        }
        if request.has_tool(CLIENT_TOOL) && random.random_ratio(1, 3) {
            calls.push((CLIENT_TOOL, json!({"number": number})));
        }
    }
    let words = format!("Answer {number}: naïve café, 漢字 and 𝄞. ").repeat(random.random_range(1..4));
    let pace = if random.random_ratio(1, 3) { SLOW_PACE } else { PACE };
    let mut actions = vec![Action::DeltaBytes(9), Action::Pace(pace)];
    if random.random_ratio(1, 4) {
        actions.push(Action::thinking("Let me think.", "signature"));
    }
    actions.push(Action::text(&words));
    if calls.is_empty() {
        actions.push(Action::stop());
    } else {
        actions.extend(call_tools(&calls));
    }
    actions
}

fn summary(random: &mut StdRng) -> Vec<Action> {
    match random.random_range(0..10) {
        0 => vec![Action::text("  "), Action::stop()],
        1 => refusal(529, "overloaded_error", "busy"),
        _ => {
            let words = "They talked about this and that. ".repeat(random.random_range(1..4));
            vec![Action::DeltaBytes(9), Action::Pace(PACE), Action::text(&words), Action::stop()]
        }
    }
}

/// A status, and no wait before the next try.
fn refusal(code: u16, kind: &str, message: &str) -> Vec<Action> {
    vec![Action::error_status(code, kind, message).with_header("retry-after", "0")]
}

/// Which call an account is of.
pub(crate) fn number_of(input_tokens: i64) -> i64 {
    input_tokens % i64::try_from(TOKENS_STEP).expect("it is small") - 1
}

/// Whether the answer breaks off, so that nobody knows its tokens.
pub(crate) fn breaks_off(call: &Call) -> bool {
    call.text().starts_with(BREAKS)
}
