//! What each file is to a model, as its name and size tell.

use chatplane_domain::FileRef;

use crate::llm::Intake;

/// Files of words reach the model up to so many bytes.
pub(crate) const INLINE_BYTES_MAX: usize = 128 * 1024;
/// Bytes of files that a call sends as they are, in all. In base64 they are a third more, and
/// the smallest limit of a provider for a call is 32 MB.
const NATIVE_BYTES_MAX: usize = 20 * 1024 * 1024;
/// Bytes of words of files that a call sends, in all: what the files of one message may come to
/// (20, see `FilePart`), more than most models can hold, and with [`NATIVE_BYTES_MAX`] still
/// below the limit of 32 MB.
const WORDS_BYTES_MAX: usize = 3 * 1024 * 1024;

/// What a file is to the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// An image that it sees.
    Image,
    /// A PDF that it reads.
    Document,
    /// Words that it reads, the first [`INLINE_BYTES_MAX`] of them.
    Words,
    /// Not there: a placeholder says why.
    Missing(Why),
}

/// Why a file is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// The model takes no such files.
    NotTaken,
    /// It is larger than the provider takes.
    TooLarge,
    /// It moves, and the provider takes still images only.
    Moves,
    /// Newer files have used up what a call may have.
    NoRoom,
    /// Its bytes cannot be had.
    Unreadable,
}

/// What the files of a call are to its model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Forms {
    /// The form of each, in order.
    pub(super) each: Vec<Form>,
    /// Images that the whole chat sends, those after the call's own included.
    pub(super) images: usize,
}

/// The form of each of these files, which are all that a call has, in order. `later` are those
/// that the chat has after them: a call for a part of the chat sends what the whole would.
///
/// The newest files keep theirs when not all fit. Once one has no room, no older one of its
/// kind has: a small one in between would come and go. Words have a room of their own: a PDF
/// does not drive out a note.
pub(crate) fn forms(files: &[&FileRef], later: &[FileRef], intake: &Intake) -> Forms {
    let mut room = Room {
        bytes: NATIVE_BYTES_MAX,
        images: intake.images.map_or(0, |images| images.count_max),
        words: WORDS_BYTES_MAX,
    };
    let newest_first = later.iter().rev().chain(files.iter().rev().copied());
    let mut each: Vec<Form> = newest_first.map(|file| room.take(file, form(file, intake))).collect();
    let images = each.iter().filter(|form| **form == Form::Image).count();
    each.reverse();
    each.truncate(files.len());
    Forms { each, images }
}

/// What a call has left for older files.
struct Room {
    /// Bytes of files that are sent as they are.
    bytes: usize,
    images: usize,
    /// Bytes of words.
    words: usize,
}

impl Room {
    /// Takes what a file needs; one that finds too little leaves nothing.
    fn take(&mut self, file: &FileRef, form: Form) -> Form {
        let found = match form {
            Form::Image => self.take_native(file, 1),
            Form::Document => self.take_native(file, 0),
            Form::Words => self.take_words(file),
            Form::Missing(_) => return form,
        };
        found.map_or(Form::Missing(Why::NoRoom), |()| form)
    }

    fn take_native(&mut self, file: &FileRef, images: usize) -> Option<()> {
        let left = self.bytes.checked_sub(size(file)).zip(self.images.checked_sub(images));
        (self.bytes, self.images) = left.unwrap_or_default();
        left.map(|_| ())
    }

    fn take_words(&mut self, file: &FileRef) -> Option<()> {
        let left = self.words.checked_sub(shown_bytes(file));
        self.words = left.unwrap_or_default();
        left.map(|_| ())
    }
}

/// What a file is when there is room.
fn form(file: &FileRef, intake: &Intake) -> Form {
    match (kind(&file.media_type), intake.images) {
        (Kind::Words, _) => Form::Words,
        (Kind::Document, _) if !intake.documents => Form::Missing(Why::NotTaken),
        (Kind::Document, _) if size(file) > NATIVE_BYTES_MAX => Form::Missing(Why::TooLarge),
        (Kind::Document, _) => Form::Document,
        (Kind::Image, Some(images)) if size(file) > images.bytes_max.min(NATIVE_BYTES_MAX) => {
            Form::Missing(Why::TooLarge)
        }
        (Kind::Image, Some(_)) => Form::Image,
        (Kind::Image, None) | (Kind::Other, _) => Form::Missing(Why::NotTaken),
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Words,
    Image,
    Document,
    /// A kind that this build does not know.
    Other,
}

fn kind(media_type: &str) -> Kind {
    match media_type {
        "image/png" | "image/jpeg" | "image/gif" | "image/webp" => Kind::Image,
        "application/pdf" => Kind::Document,
        "application/json" => Kind::Words,
        _ if media_type.starts_with("text/") => Kind::Words,
        _ => Kind::Other,
    }
}

/// How much is shown of a file of words.
pub(super) fn shown_bytes(file: &FileRef) -> usize {
    size(file).min(INLINE_BYTES_MAX)
}

pub(super) fn size(file: &FileRef) -> usize {
    usize::try_from(file.size_bytes).unwrap_or_default()
}
