//! What registers, and what does not.

use super::*;

fn definition(name: &str) -> ProtoToolDefinition {
    ProtoToolDefinition {
        name: name.to_owned(),
        description: "Reads.".to_owned(),
        input_schema_json: r#"{"type": "object"}"#.to_owned(),
    }
}

fn register(tools: Vec<ProtoToolDefinition>) -> proto::Register {
    proto::Register { agent_version: "0.1.0".to_owned(), tools, journal_id: String::new() }
}

fn fields(register: proto::Register) -> Vec<String> {
    match register_agent(register) {
        Err(Error::FieldInvalid(violations)) => {
            violations.into_iter().map(|violation| violation.field).collect()
        }
        other => panic!("not refused for its fields: {other:?}"),
    }
}

#[test]
fn a_registration_is_taken_as_it_is() {
    let journal = Uuid::now_v7();
    let register =
        proto::Register { journal_id: journal.to_string(), ..register(vec![definition("read_file")]) };

    let registered = register_agent(register).unwrap();

    let tool = ToolDefinition {
        name: "read_file".to_owned(),
        description: "Reads.".to_owned(),
        input_schema_json: r#"{"type": "object"}"#.to_owned(),
    };
    let agent = RegisterAgent {
        agent_version: "0.1.0".to_owned(),
        tools: vec![tool],
        journal: Some(JournalId(journal)),
    };
    assert_eq!(registered, agent);
}

#[test]
fn an_agent_may_have_no_tools_and_no_journal() {
    let registered = register_agent(register(vec![])).unwrap();

    assert_eq!((registered.tools, registered.journal), (vec![], None));
}

#[test]
fn every_wrong_field_is_named() {
    let too_long = "x".repeat(TOOL_NAME_BYTES_MAX + 1);
    for name in ["", "two words", "umläut", "nul\0", &too_long] {
        assert_eq!(fields(register(vec![definition(name)])), ["register.tools[0].name"], "{name:?}");
    }
    for schema in ["", "[]", "null", "{", "{} {}", "{\"a\": \"\0\"}"] {
        let tool = ProtoToolDefinition { input_schema_json: schema.to_owned(), ..definition("tool") };
        assert_eq!(fields(register(vec![tool])), ["register.tools[0].input_schema_json"], "{schema:?}");
    }
    let nul = ProtoToolDefinition { description: "a\0".to_owned(), ..definition("tool") };
    assert_eq!(fields(register(vec![nul])), ["register.tools[0].description"]);
    let journal = proto::Register { journal_id: "7".to_owned(), ..register(vec![]) };
    assert_eq!(fields(journal), ["register.journal_id"]);
    let version = proto::Register { agent_version: "\0".to_owned(), ..register(vec![]) };
    assert_eq!(fields(version), ["register.agent_version"]);
}

#[test]
fn two_tools_of_one_name_are_refused() {
    let tools = vec![definition("a"), definition("b"), definition("a")];

    assert_eq!(fields(register(tools)), ["register.tools[2].name"]);
}

#[test]
fn tools_are_bounded_in_number_and_bytes() {
    let many = (0..=TOOLS_MAX).map(|index| definition(&format!("tool-{index}"))).collect();
    assert_eq!(fields(register(many)), ["register.tools"]);

    let of = |name: String, bytes: usize| {
        let empty = definition(&name);
        let description = "x".repeat(bytes - name.len() - empty.input_schema_json.len());
        ProtoToolDefinition { description, ..empty }
    };
    let largest = |index| of(format!("tool-{index:02}"), TOOL_BYTES_MAX);
    assert_eq!(fields(register(vec![of("tool".to_owned(), TOOL_BYTES_MAX + 1)])), ["register.tools[0]"]);
    let most = TOOLS_BYTES_MAX / TOOL_BYTES_MAX;
    assert!(register_agent(register((0..most).map(largest).collect())).is_ok());
    assert_eq!(fields(register((0..=most).map(largest).collect())), ["register.tools"]);
}

#[test]
fn a_second_registration_is_refused_and_what_is_unknown_is_ignored() {
    let again = AttachRequest { message: Some(Incoming::Register(register(vec![]))) };
    assert!(matches!(from_agent(again), Err(Error::FieldInvalid(_))));

    let nameless = proto::ToolEnded { call_id: None, output: String::new(), is_error: false };
    for message in [None, Some(Incoming::ToolEnded(nameless))] {
        assert!(matches!(from_agent(AttachRequest { message }), Ok(None)));
    }
}

#[test]
fn a_call_id_survives_the_way_there_and_back() {
    let call = CallId { message: MessageId(7), index: 2 };
    let key = CallKey { chat: ChatId(Uuid::now_v7()), call };

    assert_eq!(super::key(Some(call_id(key))), Some(key));
}
