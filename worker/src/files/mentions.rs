//! Files that a message names more than once.

use chatplane_domain::{FileRef, UserPart};

use super::words;

/// The parts with each file once; where it is named again, words say that it is there already.
///
/// It happens where a message comes in, and not where its files are weighed: what a part of
/// the chat sends must not hang on where the part ends.
pub(crate) fn each_once(parts: Vec<UserPart>) -> Vec<UserPart> {
    let mut seen: Vec<FileRef> = Vec::new();
    let once = |part| match part {
        UserPart::File(file) if seen.contains(&file) => UserPart::Text(words::named_again(&file)),
        UserPart::File(file) => {
            seen.push(file.clone());
            UserPart::File(file)
        }
        other @ (UserPart::Text(_) | UserPart::FileReference { .. } | UserPart::DiffComment { .. }) => other,
    };
    parts.into_iter().map(once).collect()
}
