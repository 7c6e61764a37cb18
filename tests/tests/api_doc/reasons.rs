//! The table of errors, from the contract's own sentences.

use std::fmt::Write as _;

use chatplane_proto::FILE_DESCRIPTOR_SET;
use prost::Message as _;
use prost_types::{EnumDescriptorProto, FileDescriptorProto, FileDescriptorSet};

const PREFIX: &str = "ERROR_REASON_";
/// Numbers of the fields that lead to a value of an enum, as `SourceCodeInfo` counts them.
const ENUM_OF_FILE: i32 = 5;
const VALUE_OF_ENUM: i32 = 2;

/// Every reason but the one that is never sent, with its code and its sentence. Those of workers
/// and agents are told as such by the contract.
pub(crate) fn table() -> String {
    let contract = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).expect("the build wrote it");
    let file = contract.file.iter().find(|file| file.name().ends_with("/errors.proto"));
    let file = file.expect("the contract has its errors in a file of their own");
    let (place, reasons) = file
        .enum_type
        .iter()
        .enumerate()
        .find(|(_, found)| found.name() == "ErrorReason")
        .expect("the contract has reasons");
    let mut table = "| reason | code | what it means |\n| --- | --- | --- |\n".to_owned();
    for (number, name) in names(reasons) {
        let comment = comment(file, &[ENUM_OF_FILE, index(place), VALUE_OF_ENUM, index(number)]);
        let (code, sentence) = comment.split_once(": ").expect("a reason's sentence begins with its code");
        writeln!(table, "| `{name}` | `{code}` | {sentence} |").expect("writing to a String cannot fail");
    }
    table
}

fn names(reasons: &EnumDescriptorProto) -> impl Iterator<Item = (usize, &str)> {
    let names =
        reasons.value.iter().map(|value| value.name().strip_prefix(PREFIX).expect("reasons have a prefix"));
    names.enumerate().filter(|(_, name)| *name != "UNSPECIFIED")
}

fn index(place: usize) -> i32 {
    place.try_into().expect("an enum has few values")
}

fn comment(file: &FileDescriptorProto, path: &[i32]) -> String {
    let locations = file.source_code_info.iter().flat_map(|info| &info.location);
    let comments = locations
        .filter(|location| location.path == path)
        .filter_map(|found| found.leading_comments.as_ref());
    let text = comments.map(String::as_str).collect::<String>();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
