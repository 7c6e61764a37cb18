use std::{fs, io::Write, path::Path};

use super::*;
use crate::tools::OutputSink;

fn read_with(dir: &Path, arguments: &str, cancel: CancellationToken) -> Result<String, Error> {
    let arguments = Arguments::parse(arguments).unwrap();
    run(&Root::new(dir).unwrap(), &Call { arguments, output: OutputSink::new().0, cancel })
}

fn read(content: impl AsRef<[u8]>, more: &str) -> Result<String, Error> {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), content).unwrap();
    read_with(dir.path(), &format!(r#"{{"path": "file"{more}}}"#), CancellationToken::new())
}

fn numbered(lines: u64) -> String {
    (1..=lines).map(|number| format!("line {number}\n")).collect()
}

#[test]
fn lines_are_numbered() {
    let text = read("one\n\n\tthree", "").unwrap();

    assert_eq!(text, "     1\tone\n     2\t\n     3\t\tthree\n(lines 1-3 of 3)");
}

#[test]
fn a_last_line_break_begins_no_line() {
    assert_eq!(read("one\n", "").unwrap(), "     1\tone\n(lines 1-1 of 1)");
}

#[test]
fn an_empty_file_says_so() {
    assert_eq!(read("", "").unwrap(), "(the file is empty)");
}

#[test]
fn offset_and_limit_choose_lines_and_say_how_to_go_on() {
    let text = read(numbered(10), r#", "offset": 4, "limit": 2"#).unwrap();

    assert_eq!(text, "     4\tline 4\n     5\tline 5\n(lines 4-5 of 10; go on with offset 6)");
}

#[test]
fn the_last_lines_may_be_fewer_than_asked_for() {
    let text = read(numbered(10), r#", "offset": 10, "limit": 5"#).unwrap();

    assert_eq!(text, "    10\tline 10\n(lines 10-10 of 10)");
}

#[test]
fn two_thousand_lines_are_shown_by_default() {
    let text = read(numbered(2_345), "").unwrap();

    assert_eq!(text.lines().count(), 2_001);
    assert!(text.ends_with("  2000\tline 2000\n(lines 1-2000 of 2345; go on with offset 2001)"));
}

#[test]
fn an_offset_past_the_end_says_how_many_lines_there_are() {
    for (content, lines) in [("a\nb\n", 2), ("a\nb", 2), ("", 0)] {
        for offset in [3, 4, u64::MAX] {
            let error = read(content, &format!(r#", "offset": {offset}"#)).unwrap_err();

            let expected = format!("`offset` is past the end: `file` has {lines} lines.");
            assert_eq!(error.to_string(), expected);
        }
    }
}

#[test]
fn a_long_line_is_cut_with_a_notice() {
    let text = read(["x".repeat(2_000), "é".repeat(2_001), "y".repeat(300_000)].join("\n"), "").unwrap();

    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines[0], format!("     1\t{}", "x".repeat(2_000)));
    assert_eq!(lines[1], format!("     2\t{} … (line cut at 2000 characters)", "é".repeat(2_000)));
    assert_eq!(lines[2], format!("     3\t{} … (line cut at 2000 characters)", "y".repeat(2_000)));
}

#[test]
fn the_output_never_exceeds_its_bytes() {
    for line in ["x".repeat(1_999), "茶".repeat(5_000), "a".to_owned(), "\u{1f375}".repeat(2_001)] {
        let total = 1_000_000 / line.len();

        let text = read(format!("{line}\n").repeat(total), r#", "limit": 1000000"#).unwrap();

        let shown = text.lines().count() - 1;
        assert!(text.len() <= OUTPUT_BYTES_MAX, "{}", text.len());
        assert!(shown == total || text.len() > OUTPUT_BYTES_MAX - 20_000, "{}", text.len());
        assert!(shown == total || text.ends_with(&format!("of {total}; go on with offset {})", shown + 1)));
    }
}

#[test]
fn bytes_that_are_no_utf8_stay_within_the_limits() {
    let content = [vec![b'a'; 9_000], vec![b'\n'], vec![0xff; 500_000]].concat();

    let text = read(content, "").unwrap();

    assert!(text.ends_with(&format!(
        "     2\t{} … (line cut at 2000 characters)\n(lines 1-2 of 2)",
        "\u{fffd}".repeat(2_000)
    )));
}

#[test]
fn a_stray_nul_or_an_old_encoding_is_text() {
    let text = read(b"caf\xe9 au lait, s'il vous pla\xeet\nnul: \0 in a line of text\n", "").unwrap();

    assert!(text.starts_with("     1\tcaf\u{fffd} au lait, s'il vous pla\u{fffd}t\n     2\tnul: \0 in"));
}

#[test]
fn a_binary_file_is_refused() {
    let elf = [b"\x7fELF\x02\x01\x01".as_slice(), &[0; 57]].concat();
    let utf16: Vec<u8> = "hello world".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let noise = (0..20_000_u32).map(|number| number.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
    for content in [elf, utf16, noise] {
        let error = read(content, "").unwrap_err();

        assert_eq!(error.to_string(), "`file` is a binary file and cannot be shown as text.");
    }
}

#[test]
fn a_character_across_the_end_of_the_sample_is_no_noise() {
    let text = read(format!("a{}", "茶".repeat(3_000)), "").unwrap();

    assert!(text.starts_with("     1\ta茶"));
}

#[test]
fn a_huge_sparse_tail_is_not_counted_to_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let mut file = File::create(dir.path().join("file")).unwrap();
    file.write_all(numbered(5_000).as_bytes()).unwrap();
    file.set_len(1 << 40).unwrap();

    let text = read_with(dir.path(), r#"{"path": "file", "limit": 1}"#, CancellationToken::new()).unwrap();

    assert_eq!(text, "     1\tline 1\n(lines 1-1 of more than 5000; go on with offset 2)");
}

#[test]
fn a_cancelled_call_stops_reading() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), "text").unwrap();
    let cancel = CancellationToken::new();
    cancel.cancel();

    let error = read_with(dir.path(), r#"{"path": "file"}"#, cancel).unwrap_err();

    assert!(matches!(error, Error::Cancelled), "{error}");
}

#[test]
fn wrong_arguments_are_named() {
    let dir = tempfile::tempdir().unwrap();
    for (arguments, expected) in [
        ("{}", "The argument `path` is missing."),
        (r#"{"path": 7}"#, "The argument `path` must be a string."),
        (r#"{"path": "a", "offset": 0}"#, "The argument `offset` must be a whole number of at least 1."),
        (r#"{"path": "a", "limit": "x"}"#, "The argument `limit` must be a whole number of at least 1."),
        (r#"{"path": ""}"#, "The argument `path` must be a path without NUL characters, and not empty."),
        (r#"{"path": "."}"#, "`.` is a directory. Use list_dir to see what is in it."),
    ] {
        let error = read_with(dir.path(), arguments, CancellationToken::new()).unwrap_err();

        assert_eq!(error.to_string(), expected);
    }
}
