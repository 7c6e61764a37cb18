//! From what a message holds to what a provider takes.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use chatplane_domain::{FileId, FileRef, UserPart};

use super::{
    forms::{Form, Forms, Why, shown_bytes, size},
    image, words,
};
use crate::llm::{Attachment, ImageIntake, Intake, PromptMessage, UserPiece};

/// The bytes that were read; none of a file that cannot be.
pub(crate) type Contents = HashMap<FileId, Option<Bytes>>;

/// The files that must be read, each once, and how many bytes of each.
pub(crate) fn needed(files: &[&FileRef], forms: &Forms) -> Vec<(FileId, usize)> {
    let mut needed: Vec<(FileId, usize)> = Vec::new();
    for (file, form) in files.iter().zip(&forms.each) {
        let bytes = match form {
            Form::Image | Form::Document => size(file),
            Form::Words => shown_bytes(file),
            Form::Missing(_) => continue,
        };
        if needed.iter().all(|(id, _)| *id != file.id) {
            needed.push((file.id, bytes));
        }
    }
    needed
}

/// The conversation with its files, whose forms these are.
pub(crate) fn pieces(
    messages: Vec<PromptMessage<UserPart>>,
    forms: Forms,
    contents: &Contents,
    intake: &Intake,
) -> Vec<PromptMessage> {
    let bounds = intake.images.map(|intake| Bounds { intake, is_many: forms.images > intake.many });
    let mut maker = Maker { forms: forms.each.into(), contents, bounds };
    let user = |parts: Vec<UserPart>, maker: &mut Maker<'_>| {
        parts.into_iter().flat_map(|part| maker.piece(part)).collect()
    };
    messages.into_iter().map(|message| message.map_user(|parts| user(parts, &mut maker))).collect()
}

/// Makes pieces of parts, in order.
struct Maker<'a> {
    forms: VecDeque<Form>,
    contents: &'a Contents,
    bounds: Option<Bounds>,
}

/// What an image may be, as only its bytes tell.
#[derive(Clone, Copy)]
struct Bounds {
    intake: ImageIntake,
    is_many: bool,
}

impl Maker<'_> {
    fn piece(&mut self, part: UserPart) -> Vec<UserPiece> {
        let text = match part {
            UserPart::Text(text) => text,
            UserPart::File(file) => return self.file(file),
            UserPart::FileReference { path, start_line, end_line, snippet } => {
                words::reference(&path, (start_line, end_line), &snippet)
            }
            UserPart::DiffComment { path, side, start_line, end_line, text } => {
                words::comment(&path, side, (start_line, end_line), &text)
            }
        };
        vec![UserPiece::Text(text)]
    }

    fn file(&mut self, file: FileRef) -> Vec<UserPiece> {
        let form = self.forms.pop_front().unwrap_or(Form::Missing(Why::Unreadable));
        let data = self.contents.get(&file.id).and_then(Option::as_ref);
        match (form, data) {
            (Form::Missing(why), _) => placeholder(&file, why),
            (_, None) => placeholder(&file, Why::Unreadable),
            (Form::Words, Some(data)) => vec![UserPiece::Text(words::inlined(&file, data))],
            (Form::Document, Some(data)) => vec![UserPiece::Document(attachment(file, data))],
            (Form::Image, Some(data)) => match self.bounds.and_then(|bounds| bounds.broken_by(data)) {
                Some(why) => placeholder(&file, why),
                None => {
                    let label = words::label(&file);
                    vec![UserPiece::Text(label), UserPiece::Image(attachment(file, data))]
                }
            },
        }
    }
}

impl Bounds {
    /// What keeps an image away. One that cannot be measured is the provider's to judge.
    fn broken_by(self, data: &[u8]) -> Option<Why> {
        let Self { intake, is_many } = self;
        let side_max = if is_many { intake.side_max_of_many } else { intake.side_max };
        let is_large = image::sides(data).is_some_and(|(width, height)| width.max(height) > side_max);
        if is_large {
            return Some(Why::TooLarge);
        }
        (!intake.animated && image::is_animated(data)).then_some(Why::Moves)
    }
}

fn placeholder(file: &FileRef, why: Why) -> Vec<UserPiece> {
    vec![UserPiece::Text(words::placeholder(file, why))]
}

fn attachment(file: FileRef, data: &Bytes) -> Attachment {
    Attachment { name: file.name, media_type: file.media_type, data: data.clone() }
}
