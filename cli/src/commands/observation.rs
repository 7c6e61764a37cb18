//! A chat that is watched and printed.

use std::time::{Duration, SystemTime};

use chatplane_proto::chat::v1::{WatchChatRequest, WatchChatResponse, watch_chat_response::Event};
use tokio::{
    io::{Stderr, Stdout},
    select,
    sync::mpsc,
    time::{Interval, MissedTickBehavior, interval},
};

use crate::client::{
    ClientError,
    connection::ChatClient,
    exchange::Format,
    json,
    notes::Notes,
    printer::Printer,
    requests::Caller,
    transcript::{Outcome, Transcript},
    watch::Watch,
    words::Advice,
};

/// How often the line is drawn that says what is going on and for how long.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// The chat, and where it is printed.
pub(super) struct Observation {
    caller: Caller,
    watch: Watch,
    transcript: Transcript,
    printer: Printer<Stdout, Stderr>,
    notes: mpsc::Receiver<String>,
    format: Format,
    progress: Interval,
}

impl Observation {
    pub(super) fn begin(client: ChatClient, request: WatchChatRequest, format: Format) -> Self {
        let (notes, receiver) = Notes::channel();
        let caller = Caller::new(client, notes);
        let watch = Watch::open(&caller, request);
        let mut progress = interval(PROGRESS_INTERVAL);
        progress.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            caller,
            watch,
            transcript: Transcript::new(Advice::Operator),
            printer: Printer::standard(),
            notes: receiver,
            format,
            progress,
        }
    }

    pub(super) fn caller(&self) -> &Caller {
        &self.caller
    }

    pub(super) fn transcript(&mut self) -> &mut Transcript {
        &mut self.transcript
    }

    pub(super) fn printer(&mut self) -> &mut Printer<Stdout, Stderr> {
        &mut self.printer
    }

    /// Prints until a picture of the chat is complete, and then once more with each that follows. Says how the
    /// turn ended that is over with it. Dropping the wait loses nothing.
    pub(super) async fn next_picture(&mut self) -> Result<Option<Outcome>, ClientError> {
        let shows_progress = self.format == Format::Text && self.printer.shows_progress();
        loop {
            select! {
                response = self.watch.next() => {
                    let response = response?;
                    let is_complete = matches!(response.event, Some(Event::State(_)));
                    self.see(response).await?;
                    if is_complete {
                        return Ok(self.transcript.take_outcome());
                    }
                }
                Some(note) = self.notes.recv() => self.printer.note(&note).await,
                _ = self.progress.tick(), if shows_progress => {
                    self.printer.show_progress(&self.transcript.activity(), Advice::Operator).await;
                }
            }
        }
    }

    async fn see(&mut self, response: WatchChatResponse) -> Result<(), ClientError> {
        if self.format == Format::Json {
            let line = json::line("WatchChatResponse", &response);
            self.printer.line(&line).await.map_err(ClientError::Output)?;
        }
        let Some(event) = response.event else { return Ok(()) };
        let outputs = self.transcript.apply(event, SystemTime::now());
        match self.format {
            Format::Text => self.printer.print(outputs).await.map_err(ClientError::Output),
            Format::Json => Ok(()),
        }
    }
}
