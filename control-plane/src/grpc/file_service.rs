//! `chatplane.chat.v1.FileService`: thin handlers, and the conversions that are theirs alone.

use std::pin::Pin;

use bytes::Bytes;
use chatplane_proto::chat::v1::{self as proto, file_service_server::FileService};
use futures::{Stream, StreamExt as _, stream};
use tonic::{Request, Response, Status, Streaming};

use super::{chat_service::take, convert, status};
use crate::{
    app::{App, DownloadFile, Error, UploadFile},
    limits::files::{NAME_CHARS_MAX, UPLOAD_PIECE_BYTES_MAX},
};

/// What a handler streams.
type Replies<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// The handlers.
pub(crate) struct FileHandlers {
    app: App,
}

impl FileHandlers {
    pub(crate) fn new(app: App) -> Self {
        Self { app }
    }
}

#[tonic::async_trait]
impl FileService for FileHandlers {
    type DownloadFileStream = Replies<proto::DownloadFileResponse>;

    async fn upload_file(
        &self,
        request: Request<Streaming<proto::UploadFileRequest>>,
    ) -> Result<Response<proto::UploadFileResponse>, Status> {
        let (actor, mut requests) = take(request)?;
        let upload = self.header(&mut requests).await?;
        let file = self.app.upload_file(&actor, upload, pieces(requests)).await?;
        Ok(Response::new(proto::UploadFileResponse { file: Some(convert::file(file)) }))
    }

    async fn get_file(
        &self,
        request: Request<proto::GetFileRequest>,
    ) -> Result<Response<proto::GetFileResponse>, Status> {
        let (actor, request) = take(request)?;
        let file = self.app.get_file(&actor, convert::file_id(&request.file_id)?).await?;
        Ok(Response::new(proto::GetFileResponse { file: Some(convert::file(file)) }))
    }

    async fn download_file(
        &self,
        request: Request<proto::DownloadFileRequest>,
    ) -> Result<Response<Self::DownloadFileStream>, Status> {
        let (actor, request) = take(request)?;
        let (file, pieces) = self.app.download_file(&actor, download(&request)?).await?;
        let first = proto::download_file_response::Piece::File(convert::file(file));
        let rest =
            pieces.map(|piece| piece.map(|data| proto::download_file_response::Piece::Data(data.into())));
        let replies = stream::iter([Ok(first)]).chain(rest).map(|piece| {
            let piece = Some(piece.map_err(Status::from)?);
            Ok(proto::DownloadFileResponse { piece })
        });
        Ok(Response::new(Box::pin(replies)))
    }
}

impl FileHandlers {
    /// The first message of an upload, which says what it is.
    async fn header(&self, requests: &mut Streaming<proto::UploadFileRequest>) -> Result<UploadFile, Error> {
        use proto::upload_file_request::Piece;
        let missing = || Error::invalid("header", "it is the first message of an upload");
        let first = self.app.first_of_upload(requests.message()).await?;
        let first = first.map_err(|broken| broken_off(&broken))?.ok_or_else(missing)?;
        match first.piece {
            Some(Piece::Header(header)) => Ok(UploadFile { name: name(header.name)? }),
            Some(Piece::Data(_)) | None => Err(missing()),
        }
    }
}

// From clients.

/// The bytes of an upload, up to its end or to what is wrong with it.
fn pieces(requests: Streaming<proto::UploadFileRequest>) -> impl Stream<Item = Result<Bytes, Error>> + Send {
    stream::try_unfold(requests, |mut requests| async move {
        let piece = requests.message().await.map_err(|broken| broken_off(&broken))?;
        piece.map(|piece| Ok((data(piece)?, requests))).transpose()
    })
}

fn data(request: proto::UploadFileRequest) -> Result<Bytes, Error> {
    use proto::upload_file_request::Piece;
    match request.piece {
        Some(Piece::Data(data)) if data.len() > UPLOAD_PIECE_BYTES_MAX => Err(Error::invalid(
            "data",
            format!("a piece has at most {UPLOAD_PIECE_BYTES_MAX} bytes; send more pieces"),
        )),
        Some(Piece::Data(data)) => Ok(data),
        Some(Piece::Header(_)) => Err(Error::invalid("header", "it comes once, first; then come bytes")),
        None => Err(Error::invalid("data", "after the header each message has bytes of the file")),
    }
}

/// An upload that did not come to its end is none.
fn broken_off(broken: &Status) -> Error {
    let broke = || Error::invalid("data", "the upload broke off; send the file again");
    status::undecodable(broken.code()).unwrap_or_else(broke)
}

fn name(name: String) -> Result<String, Error> {
    let length = name.chars().count();
    let wrong = |character: char| matches!(character, '/' | '\\') || character.is_control();
    if !(1..=NAME_CHARS_MAX).contains(&length) || name.contains(wrong) {
        let description =
            format!("a name has 1 to {NAME_CHARS_MAX} characters, without /, \\ and control characters");
        return Err(Error::invalid("header.name", description));
    }
    Ok(name)
}

fn download(request: &proto::DownloadFileRequest) -> Result<DownloadFile, Error> {
    for (field, number) in [("offset", request.offset), ("length", request.length)] {
        if number < 0 {
            return Err(Error::invalid(field, "it must not be negative"));
        }
    }
    Ok(DownloadFile {
        id: convert::file_id(&request.file_id)?,
        offset: request.offset,
        length: (request.length > 0).then_some(request.length),
    })
}
