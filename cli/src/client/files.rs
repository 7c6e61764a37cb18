//! Files on their way up and down. An upload begins anew when it breaks, for what is stored already is not stored
//! again; a download goes on where it broke.

use std::{
    fs,
    io::Read as _,
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use chatplane_proto::chat::v1::{
    DownloadFileRequest, DownloadFileResponse, File, FilePart, Part, UploadFileHeader, UploadFileRequest,
    UploadFileResponse, download_file_response::Piece, part, upload_file_request::Piece as Up,
};
use futures::stream;
use tokio::task::spawn_blocking;
use tonic::{Request, Status, Streaming};

use super::{ClientError, connection::FileClient, notes::Notes, outage::Outage, words::turns_text};

/// More than operators allow; what is larger is not even read.
const FILE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// A piece of an upload: a quarter of what the API takes at once.
const PIECE_BYTES: usize = 256 * 1024;
/// How long an upload may take, whatever its size: the control plane lets it wait for others, and be silent.
const UPLOAD_TIME_MIN: Duration = Duration::from_secs(120);
/// Bytes a second of the slowest line that the control plane takes a file from.
const UPLOAD_RATE_MIN: u64 = 32 * 1024;
/// A name is cut to what the API takes.
const NAME_CHARACTERS_MAX: usize = 255;
/// Bytes of a file's name that usual file systems take.
const LOCAL_NAME_BYTES_MAX: usize = 255;
/// Bytes of the end of a name that is kept when a name is cut: longer than what programs know a file by.
const EXTENSION_BYTES_MAX: usize = 32;
/// What a file is called that has no name of its own.
const NAMELESS: &str = "file";

/// A file that was read, and what it is called.
#[derive(Clone)]
pub(crate) struct Content {
    name: String,
    bytes: Bytes,
}

/// Reads a file whole, so that a disk that fails in the middle leaves no half of it with others.
pub(crate) async fn read(path: &Path) -> Result<Content, ClientError> {
    let unread = |path: PathBuf| move |source| ClientError::FileUnread { path, source };
    let name = given_name(path);
    let owned = path.to_owned();
    let reading = spawn_blocking(move || {
        let mut bytes = Vec::new();
        let file = fs::File::open(owned)?;
        file.take(FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map(|_| bytes)
    });
    let read = reading.await.map_err(std::io::Error::other).and_then(|read| read);
    let bytes = read.map_err(unread(path.to_owned()))?;
    if bytes.len() > FILE_BYTES_MAX {
        return Err(ClientError::FileTooLarge { path: path.to_owned() });
    }
    Ok(Content { name, bytes: bytes.into() })
}

/// What the file is called elsewhere: its name here, without what no name may have there.
fn given_name(path: &Path) -> String {
    let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    let taken = name.chars().filter(|character| !character.is_control());
    let taken = taken.map(|character| if character == '\\' { '_' } else { character });
    let name: String = taken.take(NAME_CHARACTERS_MAX).collect();
    if name.is_empty() { NAMELESS.to_owned() } else { name }
}

/// An upload that takes longer is taken for lost, and begun anew. The control plane says earlier of a line that
/// it is too slow.
fn upload_time_max(content: &Content) -> Duration {
    let bytes = u64::try_from(content.bytes.len()).expect("a file that was read is below 2^64 bytes");
    UPLOAD_TIME_MIN + Duration::from_secs(bytes.div_ceil(UPLOAD_RATE_MIN))
}

/// Uploads a file.
pub(crate) async fn upload(
    client: &FileClient,
    notes: &Notes,
    content: &Content,
) -> Result<UploadFileResponse, ClientError> {
    let mut outage = Outage::new("take the file", notes.clone());
    loop {
        let mut request = Request::new(stream::iter(pieces(content.clone())));
        request.set_timeout(upload_time_max(content));
        match client.clone().upload_file(request).await {
            Ok(response) => {
                outage.is_over();
                return Ok(response.into_inner());
            }
            Err(status) => outage.endure(status).await?,
        }
    }
}

fn pieces(content: Content) -> impl Iterator<Item = UploadFileRequest> {
    let header = Up::Header(UploadFileHeader { name: content.name });
    let count = content.bytes.len().div_ceil(PIECE_BYTES);
    let data = move |piece: usize| {
        let start = piece * PIECE_BYTES;
        Up::Data(content.bytes.slice(start..content.bytes.len().min(start + PIECE_BYTES)))
    };
    std::iter::once(header).chain((0..count).map(data)).map(|piece| UploadFileRequest { piece: Some(piece) })
}

/// Reads and uploads files in order; the parts that attach them.
pub(crate) async fn attach(
    client: &FileClient,
    notes: &Notes,
    paths: &[PathBuf],
) -> Result<Vec<Part>, ClientError> {
    let mut parts = Vec::with_capacity(paths.len());
    for path in paths {
        let content = read(path).await?;
        let file = upload(client, notes, &content).await?.file.unwrap_or_default();
        let part = FilePart { file_id: file.file_id, ..Default::default() };
        parts.push(Part { kind: Some(part::Kind::File(part)) });
    }
    Ok(parts)
}

/// A file that is being downloaded.
pub(crate) struct Download {
    client: FileClient,
    outage: Outage,
    file_id: String,
    stream: Option<Streaming<DownloadFileResponse>>,
    /// How many bytes have come.
    offset: i64,
}

impl Download {
    pub(crate) fn new(client: FileClient, notes: Notes, file_id: String) -> Self {
        Self { client, outage: Outage::new("give the file", notes), file_id, stream: None, offset: 0 }
    }

    /// What the file is: the first piece, before any bytes.
    pub(crate) async fn begin(&mut self) -> Result<File, ClientError> {
        loop {
            if let Piece::File(file) = self.piece().await? {
                return Ok(file);
            }
        }
    }

    /// The next bytes of the file; none after the last. A broken connection is made again, and goes on where
    /// it broke.
    pub(crate) async fn bytes(&mut self, file: &File) -> Result<Option<Bytes>, ClientError> {
        while self.offset < file.size_bytes {
            if let Piece::Data(bytes) = self.piece().await? {
                self.offset += i64::try_from(bytes.len()).expect("a piece is far below 2^63 bytes");
                return Ok(Some(bytes));
            }
        }
        Ok(None)
    }

    async fn piece(&mut self) -> Result<Piece, ClientError> {
        loop {
            match self.try_piece().await {
                Ok(piece) => {
                    self.outage.is_over();
                    return Ok(piece);
                }
                Err(status) => {
                    self.stream = None;
                    self.outage.endure(status).await?;
                }
            }
        }
    }

    async fn try_piece(&mut self) -> Result<Piece, Status> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            None => {
                let request =
                    DownloadFileRequest { file_id: self.file_id.clone(), offset: self.offset, length: 0 };
                let response = self.client.download_file(request).await?;
                self.stream.insert(response.into_inner())
            }
        };
        // More is to come, so an end here is a connection that was closed politely.
        let ended = || Status::unavailable("the download ended before the file did");
        stream.message().await?.and_then(|response| response.piece).ok_or_else(ended)
    }
}

/// The name under which a file is kept here: it leads to no other directory, hides nothing, is no flag, and is
/// no longer than names can be.
pub(crate) fn local_name(name: &str) -> String {
    let is_harmless = |character: &char| {
        !character.is_control() && !turns_text(*character) && !matches!(character, '/' | '\\')
    };
    let name: String = name.chars().filter(is_harmless).collect();
    let name = name.trim().trim_start_matches(['.', '-']);
    if name.is_empty() { NAMELESS.to_owned() } else { shortened(name) }
}

/// A name is cut before its extension, which says what the file is.
fn shortened(name: &str) -> String {
    if name.len() <= LOCAL_NAME_BYTES_MAX {
        return name.to_owned();
    }
    let stem_bytes = match name.rfind('.') {
        Some(dot) if name.len() - dot <= EXTENSION_BYTES_MAX => dot,
        Some(_) | None => name.len(),
    };
    let (stem, extension) = name.split_at(stem_bytes);
    let end = stem.floor_char_boundary(LOCAL_NAME_BYTES_MAX - extension.len());
    format!("{}{extension}", stem[..end].trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_goes_up_in_pieces_behind_its_name() {
        let bytes: Vec<u8> = (0..PIECE_BYTES * 2 + 3).map(|place| (place % 251) as u8).collect();
        let content = Content { name: "a.bin".to_owned(), bytes: bytes.clone().into() };

        let pieces: Vec<Up> = pieces(content).filter_map(|request| request.piece).collect();

        assert_eq!(pieces[0], Up::Header(UploadFileHeader { name: "a.bin".to_owned() }));
        let data = pieces[1..].iter().map(|piece| match piece {
            Up::Data(data) => data.clone(),
            Up::Header(_) => panic!("a second header"),
        });
        let data: Vec<Bytes> = data.collect();
        assert_eq!(data.iter().map(Bytes::len).collect::<Vec<_>>(), [PIECE_BYTES, PIECE_BYTES, 3]);
        assert_eq!(data.concat(), bytes);
    }

    #[test]
    fn a_name_that_was_given_elsewhere_leads_nowhere_else() {
        for (given, kept) in [
            ("Übersicht 日本.pdf", "Übersicht 日本.pdf"),
            ("../../.bashrc", "bashrc"),
            ("..", "file"),
            ("-rf", "rf"),
            ("a\u{202e}\u{1b}\n\\b", "ab"),
        ] {
            assert_eq!(local_name(given), kept, "{given:?}");
        }
    }

    #[test]
    fn a_name_that_is_too_long_for_a_directory_is_cut_before_its_extension() {
        let named = |stem: &str, characters, extension| format!("{}{extension}", stem.repeat(characters));
        for (given, kept) in [
            (named("文", 255, ""), named("文", 85, "")),
            (named("文", 251, ".pdf"), named("文", 83, ".pdf")),
            (named("x", 251, ".pdf"), named("x", 251, ".pdf")),
            (named("🦀", 250, ".tar"), named("🦀", 62, ".tar")),
            // No extension is as long.
            (format!("a.{}", "文".repeat(253)), format!("a.{}", "文".repeat(84))),
            (format!("{}.{}", "文".repeat(200), "x".repeat(40)), "文".repeat(85)),
        ] {
            let local = local_name(&given);
            assert_eq!(local, kept);
            assert!(local.len() <= LOCAL_NAME_BYTES_MAX);
        }
    }

    #[test]
    fn a_name_that_is_none_elsewhere_is_made_one() {
        for (path, given) in [
            ("/home/ada/notes.txt", "notes.txt"),
            ("back\\slash.txt", "back_slash.txt"),
            ("a\n\u{1b}\u{85}b", "ab"),
            ("\n", "file"),
            ("..", "file"),
        ] {
            assert_eq!(given_name(Path::new(path)), given, "{path:?}");
        }
        assert_eq!(given_name(Path::new(&"é".repeat(300))), "é".repeat(255));
    }

    #[test]
    fn an_upload_has_as_long_as_the_slowest_line_that_is_taken_needs() {
        let time = |bytes| {
            let content = Content { name: "a".to_owned(), bytes: vec![0; bytes].into() };
            upload_time_max(&content).as_secs()
        };

        assert_eq!(time(0), 120);
        assert_eq!(time(10 * 1024 * 1024), 120 + 320);
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_named() {
        let error = read(Path::new("/nowhere/a.png")).await.err().unwrap();

        assert_eq!(error.to_string(), "the file \"/nowhere/a.png\" cannot be read");
    }
}
