//! `dev` with a provider's key: which model answers, and what is told when none can.

use std::net::TcpListener;

use rustix::process::Signal;
use serde_json::json;

use crate::{
    fixture::{Places, Running, finish},
    provider::{Answer, Provider},
};

#[test]
fn a_wrong_key_is_told_by_the_name_of_its_variable_after_one_call() {
    for (name, key, address) in [
        ("Anthropic", "ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL"),
        ("OpenAI", "OPENAI_API_KEY", "OPENAI_BASE_URL"),
    ] {
        let places = Places::new();
        let provider = Provider::start(|_, _| Answer::Refuse);
        let mut dev = places.dev();
        dev.args(["--prompt", "Hello?", "--model", "some-model"]).env(key, "sk-wrong");

        let run = finish(dev.env(address, provider.url()));

        assert_eq!(run.code, Some(1), "{run:?}");
        let first_line = run.stderr.lines().next().unwrap_or_default();
        assert!(first_line.contains(&format!("{name}'s some-model at")), "{run:?}");
        let last_line = run.stderr.lines().last().unwrap_or_default();
        assert!(last_line.contains(&format!("check {key}")), "{run:?}");
        assert!(!run.stderr.contains("sk-wrong"), "{run:?}");
        assert_eq!(run.stdout, "");
        assert_eq!(provider.calls(), 1, "{run:?}");
        places.wait_until_nothing_runs();
    }
}

#[test]
fn of_two_keys_anthropics_is_used_and_the_first_line_says_so() {
    let places = Places::new();
    let provider = Provider::start(|_, _| Answer::Say("Hello, you."));
    let mut dev = places.dev();
    dev.args(["--prompt", "Hello?"]).env("ANTHROPIC_API_KEY", "sk-first").env("OPENAI_API_KEY", "sk-second");

    let run = finish(dev.env("ANTHROPIC_BASE_URL", provider.url()));

    assert_eq!(run.code, Some(0), "{run:?}");
    assert_eq!(run.stdout, "Hello, you.\n");
    let first_line = run.stderr.lines().next().unwrap_or_default();
    assert!(first_line.ends_with("(ANTHROPIC_API_KEY is set; OPENAI_API_KEY is not used)."), "{run:?}");
}

#[test]
fn a_provider_out_of_reach_is_told_while_it_is_tried_again_and_ctrl_c_ends_it() {
    for (key, address) in [("ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL"), ("OPENAI_API_KEY", "OPENAI_BASE_URL")]
    {
        let places = Places::new();
        let nobody = TcpListener::bind("127.0.0.1:0").map(|listener| listener.local_addr());
        let url = nobody.and_then(|address| address).map(|address| format!("http://{address}"));
        let mut dev = places.dev();
        dev.args(["--prompt", "Hello?"]).env(key, "sk-any-key").env(address, url.expect("a free port"));
        let mut dev = Running::start(&mut dev);

        // Which attempts are told is chance: a wait between two may be a few milliseconds, and a watcher sees the latest.
        dev.wait_for_note("PROVIDER_UNAVAILABLE");
        dev.wait_for_note("; attempt ");
        dev.wait_for_note(&format!("check {address}"));
        dev.wait_for_notes(2, "; attempt ");
        dev.signal(Signal::INT);
        let dev = dev.finish();

        assert_eq!(dev.code, Some(130), "{dev:?}");
        places.wait_until_nothing_runs();
    }
}

#[test]
fn a_provider_that_never_answers_is_told_and_its_time_can_be_set() {
    let places = Places::new();
    let provider = Provider::start(|_, _| Answer::Nothing);
    let mut dev = places.dev();
    dev.args(["--prompt", "Hello?"])
        .env("OPENAI_API_KEY", "sk-any-key")
        .env("OPENAI_BASE_URL", provider.url());
    dev.env("CHATPLANE_MODEL_FIRST_TOKEN_TIMEOUT", "7").env("CHATPLANE_MODEL_SILENCE_TIMEOUT", "7");
    let mut dev = Running::start(&mut dev);

    dev.wait_for_note("Waiting for the model … (if that goes on, check OPENAI_BASE_URL and the network)");
    dev.wait_for_note("attempt 2 in");
    dev.signal(Signal::INT);
    let dev = dev.finish();

    assert_eq!(dev.code, Some(130), "{dev:?}");
    places.wait_until_nothing_runs();
}

#[test]
fn the_models_limits_are_taken_from_the_environment() {
    let places = Places::new();
    let provider = Provider::start(|_, request| match request["max_tokens"].as_i64() {
        Some(1234) => Answer::Say("as told"),
        _ => Answer::Say("not as told"),
    });
    let mut dev = places.dev();
    dev.args(["--prompt", "Hello?"]).env("ANTHROPIC_API_KEY", "sk-any-key");
    dev.env("ANTHROPIC_BASE_URL", provider.url()).env("CHATPLANE_MODEL_OUTPUT_TOKENS", "1234");

    let run = finish(&mut dev);

    assert_eq!(run.stdout, "as told\n", "{run:?}");
}

#[test]
fn ctrl_c_interrupts_the_turn_of_a_prompt_and_nobody_goes_on_with_it() {
    let places = Places::new();
    let provider = Provider::start(|_, request| match request["messages"].to_string().contains("story") {
        true => Answer::BeginToSay("Once upon a time"),
        false => Answer::Say("Hello, you."),
    });
    let dev = |prompt: &str| {
        let mut dev = places.dev();
        dev.args(["--prompt", prompt]).env("ANTHROPIC_API_KEY", "sk-any-key");
        dev.env("ANTHROPIC_BASE_URL", provider.url());
        dev
    };
    let mut first = Running::start(&mut dev("Tell me a story."));
    first.wait_for_line("Once upon a time");

    first.signal(Signal::INT);
    let first = first.finish();
    let second = finish(&mut dev("Hello?"));

    assert_eq!(first.code, Some(130), "{first:?}");
    assert_eq!(first.stdout, "Once upon a time\n");
    assert_eq!(second.code, Some(0), "{second:?}");
    assert_eq!(provider.calls(), 2, "the interrupted turn went on");
    places.wait_until_nothing_runs();
}

#[test]
fn the_answers_bytes_reach_a_file_as_they_are_and_a_tools_lines_only_a_person() {
    let places = Places::new();
    let provider = Provider::start(|call, _| match call {
        0 => Answer::Call("execute", json!({"command": "printf 'from the tool\\n'"})),
        _ => Answer::Say("\u{1b}[1mbold\u{1b}[0m"),
    });
    let mut dev = places.dev();
    dev.args(["--prompt", "Run it."]).env("ANTHROPIC_API_KEY", "sk-any-key");

    let run = finish(dev.env("ANTHROPIC_BASE_URL", provider.url()));

    assert_eq!(run.code, Some(0), "{run:?}");
    assert_eq!(run.stdout, "\u{1b}[1mbold\u{1b}[0m\n");
    assert!(run.stderr.contains("→ execute {"), "{run:?}");
    assert!(run.stderr.contains("← execute: "), "{run:?}");
}
