use serde_json::{Value, json};

use super::super::super::state::text_field;
use super::*;
use crate::llm::{Answer, AnswerPart, PartContent};

/// What the parts say after each step.
fn run(steps: impl IntoIterator<Item = Value>) -> Result<(Vec<ModelEvent>, Answer), Fault> {
    let mut parts = Parts::new("model".to_owned(), 10_000);
    let mut events = Vec::new();
    for step in steps {
        if let Some(text) = step.as_str() {
            parts.text(text)?;
        } else if let Some(thought) = step["thought"].as_str() {
            parts.thinking(Some("reasoning_content"), thought)?;
        } else if !step["detail"].is_null() {
            parts.thinking_detail(fields(&step["detail"]))?;
        } else {
            parts.call(Fragment::read(fields(&step))?)?;
        }
        events.extend(parts.tell()?);
    }
    events.extend(parts.finish()?);
    let mut answer = Answer::default();
    events.iter().for_each(|event| answer.apply(event));
    Ok((events, answer))
}

fn fields(value: &Value) -> Fields {
    serde_json::from_str(&value.to_string()).unwrap()
}

fn first(index: i64, id: &str, name: &str, arguments: &str) -> Value {
    json!({"index": index, "id": id, "type": "function", "function": {"name": name, "arguments": arguments}})
}

fn more(index: i64, arguments: &str) -> Value {
    json!({"index": index, "function": {"arguments": arguments}})
}

fn calls(answer: &Answer) -> Vec<(&str, &str)> {
    let calls = answer.parts.iter().filter_map(|part| match &part.content {
        PartContent::ToolCall { tool_name, arguments_json } => {
            Some((tool_name.as_str(), arguments_json.as_str()))
        }
        PartContent::Text(_) | PartContent::Reasoning(_) => None,
    });
    calls.collect()
}

fn block(part: &AnswerPart) -> Fields {
    State::decode(FORMAT, &part.provider_state).expect("the part has a state").block
}

#[test]
fn calls_of_any_interleaving_come_one_after_the_other() {
    let (events, answer) = run([
        first(0, "a", "f", ""),
        first(1, "b", "g", "{\"x\""),
        more(0, "{\"y\":"),
        more(1, ":1}"),
        more(0, "2}"),
        more(1, ""),
    ])
    .unwrap();

    assert_eq!(calls(&answer), [("f", "{\"y\":2}"), ("g", "{\"x\":1}")]);
    let told: Vec<String> = events
        .iter()
        .map(|event| match event {
            ModelEvent::PartStarted(PartKind::ToolCall { tool_name }) => format!("+{tool_name}"),
            ModelEvent::Delta(text) => text.clone(),
            ModelEvent::PartFinished { .. } => ".".to_owned(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(told, ["+f", "{\"y\":", "2}", ".", "+g", "{\"x\":1}", "."]);
}

#[test]
fn a_call_is_told_as_soon_as_the_one_before_is_whole() {
    let mut parts = Parts::new("model".to_owned(), 10_000);
    let mut step = |value: &Value| {
        parts.call(Fragment::read(fields(value)).unwrap()).unwrap();
        parts.tell().unwrap().len()
    };
    assert_eq!(step(&first(0, "a", "f", "{}")), 2, "the first is told at once");
    assert_eq!(step(&first(1, "b", "g", "")), 2, "it ends when another begins");
    assert_eq!(step(&more(1, "{")), 1, "and that one grows live");
}

#[test]
fn words_between_calls_keep_their_place() {
    let (_, answer) = run([
        json!("Let me see. "),
        first(0, "a", "f", "{\"x\":"),
        json!("And "),
        more(0, "1}"),
        json!("then."),
    ])
    .unwrap();

    let contents: Vec<&PartContent> = answer.parts.iter().map(|part| &part.content).collect();
    let call = PartContent::ToolCall { tool_name: "f".into(), arguments_json: "{\"x\":1}".into() };
    let text = |text: &str| PartContent::Text(text.to_owned());
    assert_eq!(contents, [&text("Let me see. "), &call, &text("And then.")]);
}

#[test]
fn servers_with_ways_of_their_own_are_understood() {
    let whole = |id: Value, index: Value, arguments: &str| json!({"id": id, "index": index, "function": {"name": "f", "arguments": arguments}});
    let two = vec![("f", "{\"n\":1}"), ("f", "{\"n\":2}")];
    let one = vec![("f", "{\"n\":1}")];
    let (n1, n2) = ("{\"n\":1}", "{\"n\":2}");
    for (what, steps, expected) in [
        (
            "whole calls, all with the same index",
            vec![whole(json!("a"), json!(0), n1), whole(json!("b"), json!(0), n2)],
            &two,
        ),
        (
            "whole calls without index",
            vec![whole(json!("a"), Value::Null, n1), whole(json!("b"), Value::Null, n2)],
            &two,
        ),
        (
            "whole calls with neither id nor index",
            vec![whole(Value::Null, Value::Null, n1), whole(json!(""), Value::Null, n2)],
            &two,
        ),
        (
            "different calls with the same id",
            vec![whole(json!("a"), json!(0), n1), whole(json!("a"), json!(1), n2)],
            &two,
        ),
        (
            "id and name repeated",
            vec![first(0, "a", "f", "{\"n\""), first(0, "a", "f", ":1}"), first(0, "a", "f", "")],
            &one,
        ),
        (
            "name repeated without id",
            vec![first(0, "", "f", "{\"n\""), first(0, "", "f", ":1}"), first(0, "", "f", "")],
            &one,
        ),
        (
            "a new id with every fragment",
            vec![first(0, "a", "f", "{\"n\""), first(0, "b", "", ":1}"), first(0, "c", "", "")],
            &one,
        ),
        ("indexes that do not start at 0", vec![first(5, "a", "f", n1), first(7, "b", "f", n2)], &two),
        ("the name after the id", vec![json!({"index": 0, "id": "a"}), first(0, "", "f", n1)], &one),
        (
            "arguments as an object",
            vec![json!({"index": 0, "function": {"name": "f", "arguments": {"n": 1}}})],
            &one,
        ),
        (
            "empty fragments after a call's end",
            vec![first(0, "a", "f", n1), first(1, "b", "f", n2), more(0, "")],
            &two,
        ),
        (
            "a call repeated after its end",
            vec![first(0, "a", "f", n1), first(1, "b", "f", n2), first(0, "a", "f", "")],
            &two,
        ),
    ] {
        let (_, answer) = run(steps).unwrap();
        assert_eq!(&calls(&answer), expected, "{what}");
    }
}

#[test]
fn interleaved_calls_are_told_apart_by_id_where_there_is_no_index() {
    let fragment = |id: &str, name: &str, arguments: &str| json!({"id": id, "function": {"name": name, "arguments": arguments}});
    let (_, answer) = run([
        fragment("a", "f", "{\"n\""),
        fragment("b", "g", "{\"n\""),
        fragment("a", "", ":1}"),
        fragment("b", "", ":2}"),
    ])
    .unwrap();
    assert_eq!(calls(&answer), [("f", "{\"n\":1}"), ("g", "{\"n\":2}")]);
}

#[test]
fn a_call_without_arguments_has_none() {
    let (_, answer) =
        run([first(0, "a", "f", ""), json!({"index": 1, "id": "b", "function": {"name": "g"}})]).unwrap();
    assert_eq!(calls(&answer), [("f", "{}"), ("g", "{}")]);
}

#[test]
fn what_cannot_be_told_is_malformed() {
    for steps in [
        vec![json!({"index": 0, "id": "a", "function": {"arguments": "{}"}})],
        vec![more(0, "{}")],
        vec![json!({"function": {"arguments": "{}"}})],
        vec![first(0, "a", "f", "{}"), first(1, "b", "g", "{}"), more(0, "{}")],
    ] {
        assert!(matches!(run(steps.clone()), Err(Fault::Malformed(_))), "{steps:?}");
    }
}

#[test]
fn what_must_go_back_is_kept_with_its_part() {
    let (_, answer) = run([
        json!({"thought": "hm"}),
        json!({"index": 0, "id": "a", "type": "function", "extra_content": {"signature": "c2ln"}, "odd": null,
            "function": {"name": "f", "arguments": "{}"}}),
    ])
    .unwrap();

    assert_eq!(text_field(&block(&answer.parts[0]), THINKING_FIELD).as_deref(), Some("reasoning_content"));
    let call = block(&answer.parts[1]);
    let kept: Vec<(&str, &str)> = call.iter().map(|(name, value)| (name.as_str(), value.get())).collect();
    assert_eq!(kept, [("extra_content", "{\"signature\":\"c2ln\"}"), ("id", "\"a\"")]);
    assert!(run([json!("words")]).unwrap().1.parts[0].provider_state.is_empty());
}

#[test]
fn details_of_thinking_are_kept_with_the_thinking_they_come_with() {
    let detail = |text: &str| json!({"detail": {"type": "reasoning.text", "text": text}});
    let (_, answer) = run([
        detail("Let "),
        json!({"thought": "Let "}),
        detail("me."),
        json!({"thought": "me."}),
        json!("words"),
        json!({"detail": {"type": "reasoning.encrypted", "data": "ZW5j"}}),
    ])
    .unwrap();

    let of = |part: &AnswerPart| block(part)[DETAILS].get().to_owned();
    let [thought, words, hidden] = &answer.parts[..] else { panic!("three parts: {answer:?}") };
    assert_eq!(thought.content, PartContent::Reasoning("Let me.".into()));
    assert_eq!(of(thought), "[{\"text\":\"Let me.\",\"type\":\"reasoning.text\"}]");
    assert_eq!(words.content, PartContent::Text("words".into()));
    assert_eq!(hidden.content, PartContent::Reasoning(String::new()));
    assert_eq!(of(hidden), "[{\"data\":\"ZW5j\",\"type\":\"reasoning.encrypted\"}]");
}

#[test]
fn nothing_grows_past_its_bound() {
    let long = "x".repeat(4_000);
    let floods: [Vec<Value>; 6] = [
        vec![json!(long); 3],
        vec![json!({"thought": long}); 3],
        vec![first(0, "a", "f", &long), more(0, &long), more(0, &long)],
        (0..200).map(|index| first(index, "", "f", "")).collect(),
        vec![json!({"detail": {"data": long}}); 3],
        (0..3).map(|n| json!({"index": 0, "id": "a", (format!("field{n}")): long})).collect(),
    ];
    for flood in floods {
        assert_eq!(run(flood.clone()).map(|_| ()), Err(Fault::TooLarge), "{:.80}", flood[0]);
    }
}
