//! The messages of the release before, as this one reads them; and what a later one may send.

use std::{collections::BTreeMap, env, fs};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use chatplane_proto::{
    FILE_DESCRIPTOR_SET, chat::v1 as chat, worker::v1 as worker, workspace::v1 as workspace,
};
use prost::Message;
use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, ReflectMessage as _,
    Value,
};
use serde_json::{Value as Json, json};

use super::UPDATE;

const CONTRACT: &[u8] = include_bytes!("../../../released/contract.binpb");
const MESSAGES: &str = include_str!("../../../released/messages.json");
const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../released/messages.json");

/// Messages within messages are filled so deep.
const DEPTH_MAX: usize = 3;

/// A message in which every field has a value; of alternatives the one with this place, where there are so many.
fn filled(descriptor: &MessageDescriptor, alternative: usize, depth: usize) -> DynamicMessage {
    let mut message = DynamicMessage::new(descriptor.clone());
    let chosen = descriptor.oneofs().filter_map(|oneof| {
        let fields: Vec<FieldDescriptor> = oneof.fields().collect();
        fields.get(alternative % fields.len().max(1)).cloned()
    });
    let single = descriptor.fields().filter(|field| field.containing_oneof().is_none());
    for field in single.chain(chosen).collect::<Vec<_>>() {
        if let Some(value) = of_field(&field, alternative, depth) {
            message.set_field(&field, value);
        }
    }
    message
}

fn of_field(field: &FieldDescriptor, alternative: usize, depth: usize) -> Option<Value> {
    if field.is_map() {
        let Kind::Message(entry) = field.kind() else { return None };
        let value = of_kind(&entry.map_entry_value_field().kind(), field.number(), alternative, depth)?;
        return Some(Value::Map([(MapKey::String("key".to_owned()), value)].into()));
    }
    let value = of_kind(&field.kind(), field.number(), alternative, depth)?;
    Some(if field.is_list() { Value::List(vec![value]) } else { value })
}

fn of_kind(kind: &Kind, number: u32, alternative: usize, depth: usize) -> Option<Value> {
    let small = i32::try_from(number).ok()?;
    Some(match kind {
        Kind::Message(_) if depth == 0 => return None,
        Kind::Message(of) => Value::Message(filled(of, alternative, depth - 1)),
        Kind::Enum(of) => Value::EnumNumber(of.values().last()?.number()),
        Kind::String => Value::String(format!("text {number} ü")),
        Kind::Bytes => Value::Bytes(vec![0, 255, u8::try_from(number).ok()?].into()),
        Kind::Bool => Value::Bool(true),
        Kind::Double => Value::F64(f64::from(number) + 0.5),
        Kind::Float => Value::F32(0.5),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Value::I32(small),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Value::I64((1 << 33) + i64::from(small)),
        Kind::Uint32 | Kind::Fixed32 => Value::U32(number),
        Kind::Uint64 | Kind::Fixed64 => Value::U64(u64::from(number)),
    })
}

/// Every message of a contract, once for each alternative that it has.
fn every_message(pool: &DescriptorPool) -> Vec<DynamicMessage> {
    let ours = pool
        .all_messages()
        .filter(|message| message.package_name().starts_with("chatplane.") && !message.is_map_entry());
    let each = ours.flat_map(|descriptor| {
        let alternatives = descriptor.oneofs().map(|oneof| oneof.fields().count()).max().unwrap_or(1);
        (0..alternatives)
            .map(move |alternative| filled(&descriptor, alternative, DEPTH_MAX))
            .collect::<Vec<_>>()
    });
    each.collect()
}

fn in_json(message: &DynamicMessage) -> Json {
    serde_json::to_value(message).expect("every message has a JSON form")
}

#[test]
fn every_message_of_the_release_before_says_the_same_in_this_contract() {
    if env::var_os(UPDATE).is_some() {
        return update();
    }
    let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).expect("the contract is well formed");
    let released: Vec<Json> = serde_json::from_str(MESSAGES).expect("the file is well formed");

    for fixture in &released {
        let name = fixture["message"].as_str().expect("it has a name");
        let bytes = fixture["bytes"].as_str().expect("it has bytes");
        let bytes = BASE64_STANDARD.decode(bytes).expect("they are Base64");
        let descriptor = pool.get_message_by_name(name).unwrap_or_else(|| panic!("{name} is still there"));
        let read = DynamicMessage::decode(descriptor, bytes.as_slice()).expect("it is read");
        assert_eq!(in_json(&read), fixture["json"], "{name}");
    }

    let contract = DescriptorPool::decode(CONTRACT).expect("the released contract is well formed");
    assert_eq!(released.len(), every_message(&contract).len(), "none is missing: {UPDATE}=1 writes the file");
    assert!(released.len() > 200);
}

fn update() {
    let contract = DescriptorPool::decode(CONTRACT).expect("the released contract is well formed");
    let lines = every_message(&contract).into_iter().map(|message| {
        let fixture = json!({
            "message": message.descriptor().full_name(),
            "bytes": BASE64_STANDARD.encode(message.encode_to_vec()),
            "json": in_json(&message),
        });
        fixture.to_string()
    });
    let lines = lines.collect::<Vec<_>>().join(",\n");
    fs::write(FILE, format!("[\n{lines}\n]\n")).expect("the file is written");
}

/// Reads the released messages of a type with the program's own types, with what a later release may add: a field
/// and a value of an enumeration that this one does not know.
fn read_with_additions<M: Message + Default + PartialEq>(name: &str) {
    let released: Vec<BTreeMap<String, Json>> =
        serde_json::from_str(MESSAGES).expect("the file is well formed");
    let mut count = 0;
    for fixture in released.iter().filter(|fixture| fixture["message"] == name) {
        let bytes = fixture["bytes"].as_str().expect("it has bytes");
        let bytes = BASE64_STANDARD.decode(bytes).expect("they are Base64");
        let plain = M::decode(bytes.as_slice()).expect("it is read");
        // Field 19,000,000, a number.
        let mut later = bytes.clone();
        prost::encoding::encode_varint(19_000_000 << 3, &mut later);
        prost::encoding::encode_varint(7, &mut later);
        let later = M::decode(later.as_slice()).expect("what is unknown is passed over");

        assert!(later == plain, "{name}");
        let again = M::decode(plain.encode_to_vec().as_slice()).expect("it is read");
        assert!(again == plain, "{name}");
        count += 1;
    }
    assert!(count > 0, "{name} was released");
}

#[test]
fn what_clients_workers_and_agents_send_is_read_whatever_a_later_release_adds() {
    read_with_additions::<chat::WatchChatResponse>("chatplane.chat.v1.WatchChatResponse");
    read_with_additions::<chat::WatchChatsResponse>("chatplane.chat.v1.WatchChatsResponse");
    read_with_additions::<chat::SendMessageRequest>("chatplane.chat.v1.SendMessageRequest");
    read_with_additions::<chat::Message>("chatplane.chat.v1.Message");
    read_with_additions::<chat::Chat>("chatplane.chat.v1.Chat");
    read_with_additions::<worker::SessionRequest>("chatplane.worker.v1.SessionRequest");
    read_with_additions::<worker::SessionResponse>("chatplane.worker.v1.SessionResponse");
    read_with_additions::<worker::CommitStepRequest>("chatplane.worker.v1.CommitStepRequest");
    read_with_additions::<workspace::AttachRequest>("chatplane.workspace.v1.AttachRequest");
    read_with_additions::<workspace::AttachResponse>("chatplane.workspace.v1.AttachResponse");
}

#[test]
fn a_value_of_an_enumeration_that_is_not_known_is_kept_as_its_number() {
    let sent = chat::Chat { state: 77, ..Default::default() };

    let read = chat::Chat::decode(sent.encode_to_vec().as_slice()).expect("it is read");

    assert_eq!((read.state, read.state()), (77, chat::ChatState::Unspecified));
}
