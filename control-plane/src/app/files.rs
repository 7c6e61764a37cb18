//! Files: what users upload, and what their messages refer to.

mod media_type;
mod parts;
mod slots;
mod structure;
mod upload;

use chatplane_domain::{ChatId, Fence, FileId, SessionId};
use futures::{Stream, stream};

use super::{App, Error};
use crate::{
    authz::{self, Action, Actor, Resource},
    limits::files::PIECE_BYTES,
    store::{FileView, HeldFile},
};

pub(crate) use upload::UploadFile;
pub(super) use upload::Uploads;

/// Asks for some bytes of a file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DownloadFile {
    /// The file.
    pub(crate) id: FileId,
    /// Where to begin.
    pub(crate) offset: i64,
    /// How many; none for all that follow.
    pub(crate) length: Option<i64>,
}

/// Asks for a file of a turn.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReadFile {
    /// The session that holds the lease.
    pub(crate) session: SessionId,
    /// The chat.
    pub(crate) chat: ChatId,
    /// The lease's fence.
    pub(crate) fence: Fence,
    /// The file.
    pub(crate) file: FileId,
}

/// Where a reader stands, and where it stops.
#[derive(Clone, Copy, Debug)]
struct Range {
    id: FileId,
    next: i64,
    end: i64,
}

impl App {
    /// What a file is.
    ///
    /// # Errors
    ///
    /// `FileNotFound`.
    pub(crate) async fn get_file(&self, actor: &Actor, id: FileId) -> Result<FileView, Error> {
        let file = self.inner.store.file(id).await?.ok_or(Error::FileNotFound)?;
        authz::may(actor, Action::ReadFile, Resource::File(file.owner_id)).map_err(Error::file_denied)?;
        Ok(file)
    }

    /// A file, and its bytes from there on.
    ///
    /// # Errors
    ///
    /// `FileNotFound`, `FieldInvalid`; in the stream `FileNotFound` when the file goes meanwhile, and
    /// `ShuttingDown`.
    pub(crate) async fn download_file(
        &self,
        actor: &Actor,
        download: DownloadFile,
    ) -> Result<(FileView, impl Stream<Item = Result<Vec<u8>, Error>> + Send + use<>), Error> {
        let DownloadFile { id, offset, length } = download;
        let file = self.get_file(actor, id).await?;
        if offset > file.size_bytes {
            return Err(Error::invalid("offset", format!("the file has {} bytes", file.size_bytes)));
        }
        let end = length.map_or(file.size_bytes, |length| file.size_bytes.min(offset.saturating_add(length)));
        let pieces = self.clone().pieces(Range { id, next: offset, end });
        Ok((file, pieces))
    }

    /// The bytes of a file that a message of a leased chat refers to, for the holder of the lease.
    ///
    /// # Errors
    ///
    /// `LeaseLost`, `FileNotFound`; in the stream as above.
    pub(crate) async fn read_file(
        &self,
        actor: &Actor,
        read: ReadFile,
    ) -> Result<impl Stream<Item = Result<Vec<u8>, Error>> + Send + use<>, Error> {
        authz::may(actor, Action::Dispatch, Resource::Deployment).map_err(Error::file_denied)?;
        let ReadFile { session, chat, fence, file } = read;
        match self.inner.store.held_file(session, chat, fence, file).await? {
            HeldFile::LeaseLost => Err(Error::LeaseLost),
            HeldFile::NotLinked => Err(Error::FileNotFound),
            HeldFile::Linked { size_bytes } => {
                Ok(self.clone().pieces(Range { id: file, next: 0, end: size_bytes }))
            }
        }
    }

    /// Reads on when the reader has taken what was read: no more than a piece is ever held.
    fn pieces(self, range: Range) -> impl Stream<Item = Result<Vec<u8>, Error>> + Send + use<> {
        stream::try_unfold((self, range), |(app, range)| async move {
            let Range { id, next, end } = range;
            if next >= end {
                return Ok(None);
            }
            if app.inner.shutdown.is_cancelled() {
                return Err(Error::ShuttingDown);
            }
            let piece = app.inner.store.file_piece(id, next, PIECE_BYTES.min(end - next)).await?;
            // A content never changes; a piece that is missing went with its file.
            let piece = piece.filter(|piece| !piece.is_empty()).ok_or(Error::FileNotFound)?;
            let read = i64::try_from(piece.len()).unwrap_or(i64::MAX);
            Ok(Some((piece, (app, Range { id, next: next.saturating_add(read), end }))))
        })
    }
}
