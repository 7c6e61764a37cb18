//! What each file is to a model, as its name and size tell.

use chatplane_domain::FileRef;

use crate::llm::Intake;

/// Files of words reach the model up to so many bytes.
pub(crate) const INLINE_BYTES_MAX: usize = 128 * 1024;
/// Bytes of files that a call sends as they are, in all. In base64 they are a third more, and
/// the smallest limit of a provider for a call is 32 MB.
const NATIVE_BYTES_MAX: usize = 20 * 1024 * 1024;

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

/// The form of each of these files, which are all that a call has, in order. `later` are those
/// that the chat has after them: a call for a part of the chat sends what the whole would.
///
/// The newest files keep theirs when not all fit. Once one has no room, no older one has:
/// a small one in between would come and go.
pub(crate) fn forms(files: &[&FileRef], later: &[FileRef], intake: &Intake) -> Vec<Form> {
    let mut room =
        Room { bytes: NATIVE_BYTES_MAX, images: intake.images.map_or(0, |images| images.count_max) };
    for file in later.iter().rev() {
        room.take(file, form(file, intake));
    }
    let mut forms: Vec<Form> = files.iter().rev().map(|file| room.take(file, form(file, intake))).collect();
    forms.reverse();
    forms
}

/// What a call has left for older files.
struct Room {
    bytes: usize,
    images: usize,
}

impl Room {
    /// Takes what a file needs; one that finds too little leaves nothing.
    fn take(&mut self, file: &FileRef, form: Form) -> Form {
        let images = match form {
            Form::Image => 1,
            Form::Document => 0,
            Form::Words | Form::Missing(_) => return form,
        };
        match (self.bytes.checked_sub(size(file)), self.images.checked_sub(images)) {
            (Some(bytes), Some(images)) => {
                *self = Self { bytes, images };
                form
            }
            (None, _) | (_, None) => {
                *self = Self { bytes: 0, images: 0 };
                Form::Missing(Why::NoRoom)
            }
        }
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

pub(super) fn size(file: &FileRef) -> usize {
    usize::try_from(file.size_bytes).unwrap_or_default()
}
