//! What a listed directory holds, and what of it is worth reading.

/// How many files are read: enough to say something, few enough to be quick.
const FILES_READ_MAX: usize = 4;
/// Files that tell what a directory is about.
const MANIFESTS: [&str; 8] = [
    "cargo.toml",
    "package.json",
    "pyproject.toml",
    "go.mod",
    "pom.xml",
    "makefile",
    "dockerfile",
    "compose.yaml",
];
/// Files that are long and say little, or are no text.
const UNREADABLE: [&str; 16] = [
    "lock", "png", "jpg", "jpeg", "gif", "ico", "pdf", "zip", "gz", "xz", "tar", "so", "o", "a", "bin", "exe",
];

/// Names in the output of `list_dir`, in order; directories end in `/`. A line is a
/// name, then perhaps two spaces and a size, or an arrow and a link's target. Notes
/// stand in parentheses.
pub(super) fn entries(output: &str) -> Vec<&str> {
    output.lines().filter_map(entry).collect()
}

fn entry(line: &str) -> Option<&str> {
    let is_note = line.starts_with('(') && line.ends_with(')') && !line.contains("  ");
    let end = ["  ", "\t", " -> "].iter().filter_map(|mark| line.find(mark)).min().unwrap_or(line.len());
    let name = line[..end].trim();
    (!is_note && !name.is_empty()).then_some(name)
}

pub(super) fn is_directory(entry: &str) -> bool {
    entry.ends_with('/')
}

/// The few files that promise most, the best first.
pub(super) fn worth_reading<'a>(entries: &[&'a str]) -> Vec<&'a str> {
    let mut files: Vec<(u8, &str)> =
        entries.iter().filter_map(|&entry| Some((rank(entry)?, entry))).collect();
    files.sort_by_key(|&(rank, _)| rank);
    files.into_iter().take(FILES_READ_MAX).map(|(_, entry)| entry).collect()
}

/// How little a file promises; `None` for what is no file to read.
fn rank(entry: &str) -> Option<u8> {
    let name = entry.to_lowercase();
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
    if is_directory(entry) || name.starts_with('.') || UNREADABLE.contains(&extension) {
        return None;
    }
    Some(match extension {
        _ if name.starts_with("readme") => 0,
        "md" | "rst" => 1,
        _ if MANIFESTS.contains(&name.as_str()) => 2,
        "txt" => 3,
        _ => 4,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_from_lines_of_any_shape() {
        let output = "src/\nREADME.md  1234 bytes\nmy notes.txt  7 bytes\nlatest -> src/main.rs\nplain\n(odd)  1 bytes\n\n\
             pipe  (pipe)\n(3 more entries are not shown)\n";
        let expected = ["src/", "README.md", "my notes.txt", "latest", "plain", "(odd)", "pipe"];
        assert_eq!(entries(output), expected);
        assert!(entries("(empty)").is_empty());
    }

    #[test]
    fn the_files_that_promise_most_are_read_first() {
        let entries =
            ["a.rs", "b.txt", ".env", "Cargo.lock", "Cargo.toml", "logo.png", "notes.md", "readme", "src/"];
        assert_eq!(worth_reading(&entries), ["readme", "notes.md", "Cargo.toml", "b.txt"]);
    }
}
