//! What a call's file says. It is text, for people who have to look into it:
//!
//! ```text
//! chatplane-call 1
//! tool execute
//! workspace <the id of the workspace that it was run for>
//! input <SHA-256 of the tool's name and the arguments>
//! start <SHA-256 of the lines above>
//! end ok 5 <SHA-256 of "ok" and the result>
//! hello
//! ```
//!
//! The last two lines are there when the call has ended. The result follows as it is, to the end of the file.

use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::call::Input;
use crate::tools::Ended;

/// Longer than all but the result: a tool's name has at most 64 characters.
pub(super) const HEAD_BYTES_MAX: usize = 512;

/// The lines that are on disk before the tool starts.
pub(super) fn start(tool_name: &str, workspace: Uuid, input: &Input) -> String {
    let input = input.as_str();
    let lines = format!("chatplane-call 1\ntool {tool_name}\nworkspace {workspace}\ninput {input}\n");
    format!("{lines}start {}\n", hex(&[lines.as_bytes()]))
}

/// What follows them when it has ended.
pub(super) fn end(ended: &Ended) -> String {
    let (kind, output) = (kind(ended), &ended.output);
    format!("end {kind} {} {}\n{output}", output.len(), hex(&[kind.as_bytes(), output.as_bytes()]))
}

/// The beginning of a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) workspace: Uuid,
    pub(super) input: Input,
    /// Where there is one.
    pub(super) end: Option<EndLine>,
}

/// What is said of a result before it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct EndLine {
    is_error: bool,
    output_bytes: usize,
    checksum: String,
    /// Where the result begins in the file.
    pub(super) output_at: usize,
}

impl Head {
    /// Reads the first bytes of a file. None when they do not say what they should.
    pub(super) fn parse(file: &[u8]) -> Option<Self> {
        let mut at = 0;
        let mut line = || {
            let rest = file.get(at..)?;
            let length = rest.iter().position(|byte| *byte == b'\n')?;
            at += length + 1;
            str::from_utf8(&rest[..length]).ok()
        };
        if line()? != "chatplane-call 1" {
            return None;
        }
        line()?.strip_prefix("tool ")?;
        let workspace = Uuid::try_parse(line()?.strip_prefix("workspace ")?).ok()?;
        let input = Input::parse(line()?.strip_prefix("input ")?)?;
        let checksum = line()?.strip_prefix("start ")?.to_owned();
        let end = line().map(str::to_owned);
        let lines_end = file.windows(7).position(|window| window == b"\nstart ")? + 1;
        if hex(&[&file[..lines_end]]) != checksum {
            return None;
        }
        let end = end.and_then(|line| EndLine::parse(&line, at));
        Some(Self { workspace, input, end })
    }
}

impl EndLine {
    fn parse(line: &str, output_at: usize) -> Option<Self> {
        let mut words = line.strip_prefix("end ")?.split(' ');
        let is_error = match words.next()? {
            "ok" => false,
            "error" => true,
            _ => return None,
        };
        let output_bytes = words.next()?.parse().ok()?;
        let checksum = words.next()?.to_owned();
        Some(Self { is_error, output_bytes, checksum, output_at })
    }

    /// Whether a file of that length holds all of the result.
    pub(super) fn fits(&self, file_bytes: u64) -> bool {
        let needed = self.output_at.checked_add(self.output_bytes);
        needed.is_some_and(|needed| needed as u64 == file_bytes)
    }

    /// The result, out of the whole file. None when it is not what was written.
    pub(super) fn result(&self, file: &[u8]) -> Option<Ended> {
        let output = file.get(self.output_at..)?;
        if output.len() != self.output_bytes {
            return None;
        }
        let ended = Ended { output: str::from_utf8(output).ok()?.to_owned(), is_error: self.is_error };
        (hex(&[kind(&ended).as_bytes(), output]) == self.checksum).then_some(ended)
    }
}

fn kind(ended: &Ended) -> &'static str {
    if ended.is_error { "error" } else { "ok" }
}

fn hex(parts: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
    }
    format!("{:x}", hash.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORKSPACE: Uuid = Uuid::from_u128(5);

    fn input() -> Input {
        Input::of("execute", "{}")
    }

    fn file(ended: &Ended) -> Vec<u8> {
        [start("execute", WORKSPACE, &input()), end(ended)].concat().into_bytes()
    }

    #[test]
    fn a_result_comes_back_as_it_was() {
        for ended in [Ended::ok("a\nb\n"), Ended::failed("end ok 3 x\n茶"), Ended::ok("")] {
            let file = file(&ended);

            let head = Head::parse(&file[..file.len().min(HEAD_BYTES_MAX)]).unwrap();

            assert_eq!((head.workspace, head.input), (WORKSPACE, input()));
            let end = head.end.unwrap();
            assert!(end.fits(file.len() as u64));
            assert_eq!(end.result(&file), Some(ended));
        }
    }

    #[test]
    fn a_start_alone_has_no_end() {
        let head = Head::parse(start("execute", WORKSPACE, &input()).as_bytes()).unwrap();

        assert_eq!(head, Head { workspace: WORKSPACE, input: input(), end: None });
    }

    #[test]
    fn a_file_cut_anywhere_has_no_result_and_does_not_lose_a_whole_start() {
        let whole = file(&Ended::ok("hello"));
        let start_bytes = start("execute", WORKSPACE, &input()).len();

        for length in 0..whole.len() {
            let head = Head::parse(&whole[..length]);

            assert_eq!(head.is_some(), length >= start_bytes, "{length}");
            let end = head.and_then(|head| head.end);
            assert!(!end.is_some_and(|end| end.fits(length as u64)), "{length}");
        }
    }

    #[test]
    fn a_changed_byte_is_noticed_wherever_it_is() {
        let ended = Ended::ok("hello");
        let whole = file(&ended);

        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 1;

            let head = Head::parse(&changed);

            let result = head.and_then(|head| head.end).and_then(|end| end.result(&changed));
            assert_eq!(result, None, "{at}");
        }
    }

    #[test]
    fn the_head_of_the_longest_name_is_short_enough() {
        let head = start(&"n".repeat(64), WORKSPACE, &input());
        let line = end(&Ended::failed("x".repeat(1024 * 1024)));

        let line_bytes = line.find('\n').unwrap() + 1;

        assert!(head.len() + line_bytes <= HEAD_BYTES_MAX);
    }
}
