//! `chatplane files`: up, down, and those of a chat.

use std::path::Path;

use chatplane_proto::chat::v1::{DownloadFileResponse, File, GetChatRequest, download_file_response::Piece};
use tokio::{
    fs,
    io::{AsyncWrite, AsyncWriteExt as _},
};

use super::{CommandError, chats::chosen, credentials, library::print_lines, print, report, unless_stopped};
use crate::{
    arguments::library::{self, Download, FilesCommand, Upload},
    client::{
        ClientError, details, exchange::Format, files, json, notes::Notes, requests::Caller, style::Span,
        text::STANDARD_INPUT,
    },
    exit::{Exit, say},
    signals::Signals,
};

/// Stands for standard output, as elsewhere for standard input.
const STANDARD_OUTPUT: &str = STANDARD_INPUT;

/// Runs one of the commands.
pub(super) async fn files(command: FilesCommand, signals: &Signals) -> Exit {
    match command {
        FilesCommand::Upload(command) => {
            report("files upload", unless_stopped(Box::pin(upload(command)), signals)).await
        }
        FilesCommand::Download(command) => report("files download", download(command, signals)).await,
        FilesCommand::List(command) => {
            report("files list", unless_stopped(Box::pin(list(command, signals)), signals)).await
        }
    }
}

async fn upload(command: Upload) -> Result<(), CommandError> {
    let (_, client) = credentials::clients(&command.connection)?;
    for path in &command.paths {
        let content = files::read(path).await?;
        let response = files::upload(&client, &Notes::StandardError, &content).await?;
        match command.output.format() {
            Format::Json => print(&json::line("UploadFileResponse", &response)).await?,
            Format::Text => {
                let file = response.file.unwrap_or_default();
                print(&file.file_id).await?;
                say(&details::stored(&file));
            }
        }
    }
    Ok(())
}

async fn list(command: library::Chat, signals: &Signals) -> Result<(), CommandError> {
    let chat_id = chosen(command.chat, &command.connection, &command.output, "", signals).await?;
    let caller = Caller::new(credentials::client(&command.connection)?, Notes::StandardError);
    let response = caller.get_chat(&GetChatRequest { chat_id }).await?;
    let files = response.chat.unwrap_or_default().files;
    match command.output.format() {
        Format::Json => {
            for file in &files {
                print(&json::line("File", file)).await?;
            }
            Ok(())
        }
        Format::Text => {
            let lines: Vec<_> = files.iter().map(|file| vec![Span::plain(details::file(file))]).collect();
            print_lines(&lines).await
        }
    }
}

async fn download(command: Download, signals: &Signals) -> Result<Exit, CommandError> {
    let (_, client) = credentials::clients(&command.connection)?;
    let mut download = files::Download::new(client, Notes::StandardError, command.file.clone());
    let shutdown = signals.shutdown();
    let begin = async { download.begin().await };
    let file = tokio::select! {
        file = begin => file?,
        () = shutdown.cancelled() => return Err(ClientError::Interrupted.into()),
    };
    if command.output_path.as_deref() == Some(Path::new(STANDARD_OUTPUT)) {
        let mut stdout = tokio::io::stdout();
        let work = async {
            let output = |error| ClientError::Output(error).into();
            receive(&mut download, &file, &mut stdout, output).await
        };
        return unless_stopped(work, signals).await;
    }
    let path = command.output_path.clone().unwrap_or_else(|| files::local_name(&file.name).into());
    // It is ours from here on, and only what is ours may be removed.
    let made = fs::File::create_new(&path).await;
    let mut target = made.map_err(|source| CommandError::DownloadUnmade { path: path.clone(), source })?;
    let work = async {
        let unwritten = |source| CommandError::DownloadUnwritten { path: path.clone(), source };
        receive(&mut download, &file, &mut target, unwritten).await
    };
    let received = unless_stopped(work, signals).await;
    if received.is_err() {
        // Half a file looks like a whole one. Why it is half is worth more words than that it is still there.
        let _ = fs::remove_file(&path).await;
    }
    let exit = received?;
    match command.output.format() {
        Format::Json => {
            let response = DownloadFileResponse { piece: Some(Piece::File(file)) };
            print(&json::line("DownloadFileResponse", &response)).await?;
        }
        Format::Text => say(&format!("Kept in {path:?}: {}.", details::size(file.size_bytes))),
    }
    Ok(exit)
}

/// Writes the bytes of the file as they come.
async fn receive(
    download: &mut files::Download,
    file: &File,
    target: &mut (impl AsyncWrite + Unpin),
    unwritten: impl Fn(std::io::Error) -> CommandError,
) -> Result<(), CommandError> {
    while let Some(bytes) = download.bytes(file).await? {
        target.write_all(&bytes).await.map_err(&unwritten)?;
    }
    target.flush().await.map_err(&unwritten)
}
