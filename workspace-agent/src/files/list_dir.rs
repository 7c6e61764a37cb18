//! `list_dir`: what is in a directory.

use std::{collections::BinaryHeap, ffi::CString, os::fd::OwnedFd};

use rustix::{
    fs::{self as sys, AtFlags, Dir, FileType},
    io::Errno,
};
use tokio_util::sync::CancellationToken;

use super::{Error, OUTPUT_BYTES_MAX, Root, beneath::Wanted, go_on};
use crate::tools::{Call, Definition, shorten};

/// Entries that one call shows, the first ones in order.
const ENTRIES_MAX: usize = 1_000;

/// Room for the line that says how many entries are not shown.
const LAST_LINE_BYTES_MAX: usize = 128;

pub(super) const DEFINITION: Definition = Definition {
    name: "list_dir",
    description: "List the entries of a directory of the workspace, sorted by name, hidden ones included. \
                  Directories end in `/`, files show their size in bytes, symbolic links show their target. \
                  At most 1000 entries are shown.",
    input_schema_json: r#"{
  "type": "object",
  "properties": {
    "path": {
      "type": "string",
      "description": "Directory, relative to the workspace directory. Default: the workspace directory itself."
    }
  }
}"#,
};

/// The tool.
pub(super) fn run(root: &Root, call: &Call) -> Result<String, Error> {
    let path = call.arguments.text("path")?.filter(|path| !path.is_empty()).unwrap_or(".");
    let directory = root.open(path, Wanted::Directory)?;
    let names = first_names(&directory, &call.cancel, |errno| Error::io(path, errno.into()))?;
    render(&directory, &names, &call.cancel)
}

/// The first names of a directory in order of their bytes, and how many there are in all.
struct Names {
    first: Vec<CString>,
    total: usize,
}

/// Keeps no more names than are shown, whatever the size of the directory.
fn first_names(
    directory: &OwnedFd,
    cancel: &CancellationToken,
    failed: impl Fn(Errno) -> Error,
) -> Result<Names, Error> {
    let mut heap = BinaryHeap::new();
    let mut total = 0;
    for entry in Dir::read_from(directory).map_err(&failed)? {
        let entry = entry.map_err(&failed)?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        total += 1;
        heap.push(name.to_owned());
        if heap.len() > ENTRIES_MAX {
            heap.pop();
            go_on(cancel)?;
        }
    }
    Ok(Names { first: heap.into_sorted_vec(), total })
}

fn render(directory: &OwnedFd, names: &Names, cancel: &CancellationToken) -> Result<String, Error> {
    if names.total == 0 {
        return Ok("(the directory is empty)".to_owned());
    }
    let mut text = String::new();
    let mut shown = 0;
    for name in &names.first {
        go_on(cancel)?;
        let line = line(directory, name);
        if text.len() + line.len() + LAST_LINE_BYTES_MAX > OUTPUT_BYTES_MAX {
            break;
        }
        text.push_str(&line);
        text.push('\n');
        shown += 1;
    }
    let more = names.total - shown;
    if more > 0 {
        text.push_str(&format!("({more} more entries are not shown)\n"));
    }
    text.pop();
    Ok(text)
}

/// One entry. What cannot be looked at any more is shown by its name.
fn line(directory: &OwnedFd, name: &CString) -> String {
    let shown = printable(name.to_bytes());
    let Ok(stat) = sys::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) else {
        return shown;
    };
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => format!("{shown}/"),
        FileType::RegularFile => format!("{shown}  {} bytes", stat.st_size),
        FileType::Symlink => {
            let target = sys::readlinkat(directory, name, Vec::new()).unwrap_or_default();
            format!("{shown} -> {}", shorten(&printable(target.to_bytes())))
        }
        FileType::Fifo => format!("{shown}  (pipe)"),
        FileType::Socket => format!("{shown}  (socket)"),
        FileType::CharacterDevice | FileType::BlockDevice => format!("{shown}  (device)"),
        FileType::Unknown => shown,
    }
}

/// A name on one line: bytes that are no UTF-8 are replaced, control characters escaped.
fn printable(name: &[u8]) -> String {
    let mut text = String::with_capacity(name.len());
    for character in String::from_utf8_lossy(name).chars() {
        if character.is_control() {
            text.extend(character.escape_default());
        } else {
            text.push(character);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::{
        ffi::OsStr,
        fs,
        os::unix::{ffi::OsStrExt, fs::symlink, net::UnixListener},
        path::Path,
    };

    use super::*;
    use crate::tools::{Arguments, OutputSink};

    fn list(dir: &Path, arguments: &str) -> Result<String, Error> {
        let call = Call {
            arguments: Arguments::parse(arguments).unwrap(),
            output: OutputSink::new().0,
            cancel: CancellationToken::new(),
        };
        run(&Root::new(dir).unwrap(), &call)
    }

    #[test]
    fn entries_are_sorted_and_show_what_they_are() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("b.txt"), "hello").unwrap();
        fs::write(dir.path().join(".hidden"), "").unwrap();
        fs::create_dir(dir.path().join("a")).unwrap();
        symlink("../gone", dir.path().join("link")).unwrap();
        let _socket = UnixListener::bind(dir.path().join("s")).unwrap();

        let text = list(dir.path(), "{}").unwrap();

        assert_eq!(text, ".hidden  0 bytes\na/\nb.txt  5 bytes\nlink -> ../gone\ns  (socket)");
    }

    #[test]
    fn unicode_and_broken_names_are_shown_on_one_line() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("čaj 茶"), "x").unwrap();
        fs::write(dir.path().join("line\nbreak"), "x").unwrap();
        fs::write(dir.path().join(OsStr::from_bytes(b"not\xffutf8")), "x").unwrap();

        let text = list(dir.path(), r#"{"path": "."}"#).unwrap();

        assert_eq!(text, "line\\nbreak  1 bytes\nnot\u{fffd}utf8  1 bytes\nčaj 茶  1 bytes");
    }

    #[test]
    fn an_empty_directory_says_so() {
        let dir = tempfile::tempdir().unwrap();

        assert_eq!(list(dir.path(), r#"{"path": ""}"#).unwrap(), "(the directory is empty)");
    }

    #[test]
    fn a_large_directory_shows_its_first_thousand_entries() {
        let dir = tempfile::tempdir().unwrap();
        for number in 0..1_003 {
            fs::write(dir.path().join(format!("{number:04}")), "").unwrap();
        }

        let text = list(dir.path(), "{}").unwrap();

        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 1_001);
        assert_eq!(lines[0], "0000  0 bytes");
        assert_eq!(lines[999], "0999  0 bytes");
        assert_eq!(lines[1_000], "(3 more entries are not shown)");
    }

    #[test]
    fn long_names_are_counted_and_not_shown_past_the_limit_of_bytes() {
        let dir = tempfile::tempdir().unwrap();
        for number in 0..1_000 {
            let name = [format!("{number:04}").as_bytes(), &[0xff; 200]].concat();
            fs::write(dir.path().join(OsStr::from_bytes(&name)), "").unwrap();
        }

        let text = list(dir.path(), "{}").unwrap();

        let shown = text.lines().count() - 1;
        assert!(text.len() <= OUTPUT_BYTES_MAX, "{}", text.len());
        assert!(shown > 300, "{shown}");
        assert!(text.ends_with(&format!("({} more entries are not shown)", 1_000 - shown)));
    }

    #[test]
    fn a_file_is_not_a_directory() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), "x").unwrap();

        let error = list(dir.path(), r#"{"path": "file"}"#).unwrap_err();

        assert_eq!(error.to_string(), "`file` is not a directory. Use read_file to read a file.");
    }

    #[test]
    fn a_cancelled_call_ends() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), "x").unwrap();
        let cancel = CancellationToken::new();
        cancel.cancel();
        let call = Call { arguments: Arguments::parse("").unwrap(), output: OutputSink::new().0, cancel };

        let error = run(&Root::new(dir.path()).unwrap(), &call).unwrap_err();

        assert!(matches!(error, Error::Cancelled), "{error}");
    }
}
