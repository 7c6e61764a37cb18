//! A model that answers, asks its user, is overloaded, and refuses.

use std::time::Duration;

use chatplane_tests::model_server::{Action, Purpose, Request, call_tools};
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::json;

use crate::CLIENT_TOOL;

/// Between two pieces of an answer: long enough that users meet turns under way.
const PACE: Duration = Duration::from_millis(2);

/// What a model server does; everything comes from the seed and the call's number.
pub(crate) fn script(seed: u64) -> impl Fn(&Request) -> Vec<Action> + Send + Sync {
    move |request| {
        let number = u64::try_from(request.number).expect("calls are few");
        let mut random = StdRng::seed_from_u64(seed.wrapping_add(number.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        match request.purpose() {
            Purpose::Title => vec![Action::text(&format!("Title {number}")), Action::stop()],
            Purpose::Summary => vec![Action::text("They talked."), Action::stop()],
            Purpose::Turn => turn(request, &mut random),
        }
    }
}

fn turn(request: &Request, random: &mut StdRng) -> Vec<Action> {
    let refusal =
        |code, kind, message| vec![Action::error_status(code, kind, message).with_header("retry-after", "0")];
    match random.random_range(0..20) {
        0 => return refusal(529, "overloaded_error", "busy"),
        1 => return refusal(400, "invalid_request_error", "this is not a request"),
        _ => {}
    }
    let words = format!("Answer {}. ", request.number).repeat(random.random_range(1..6));
    let mut actions = vec![Action::DeltaBytes(9), Action::Pace(PACE), Action::text(&words)];
    if request.new_tool_results().is_empty() && request.has_tool(CLIENT_TOOL) && random.random_bool(0.5) {
        actions.extend(call_tools(&[(CLIENT_TOOL, json!({})), (CLIENT_TOOL, json!({"again": true}))]));
    } else {
        actions.push(Action::stop());
    }
    actions
}
