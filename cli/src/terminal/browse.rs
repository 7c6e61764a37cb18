//! Choosing a chat at a terminal: the picker, with keys, a screen and the control plane. The list follows what
//! happens to the chats.

use std::{
    future::pending,
    io,
    time::{Duration, SystemTime},
};

use chatplane_proto::chat::v1::ListChatsResponse;
use futures::{StreamExt as _, future::BoxFuture, stream::BoxStream};
use tokio::{
    io::{AsyncWriteExt as _, Stdout},
    select,
    signal::unix::{SignalKind, signal},
    time::timeout,
};

use super::{
    keyboard::{self, Keyboard},
    live::size,
    mode::KeyMode,
    picker::{Picker, Wish},
    rows::Row,
};
use crate::{
    client::{
        ClientError, connection::ChatClient, freshness::signs, notes::Notes, printer::can_style,
        requests::Caller,
    },
    exit::chain,
    signals::Signals,
};

/// How long the last frame may take on a terminal that takes no more: longer than on a busy machine, where half a
/// second left the list standing.
const LAST_FRAME_TIME_MAX: Duration = Duration::from_secs(2);

/// What was chosen.
pub(crate) enum Picked {
    /// This chat; its keys are read on.
    Chat { chat_id: String, keyboard: Keyboard },
    /// The person has left.
    Nothing,
}

type Load = BoxFuture<'static, Result<ListChatsResponse, ClientError>>;

/// Has the person choose a chat.
pub(crate) async fn pick(
    client: ChatClient,
    query: String,
    signals: &Signals,
) -> Result<Picked, ClientError> {
    let (notes, mut told) = Notes::channel();
    let caller = Caller::new(client, notes);
    let mut interrupts = signals.claim_interrupts();
    let shutdown = signals.shutdown();
    let mut resized = signal(SignalKind::window_change()).map_err(ClientError::Terminal)?;
    let _mode = KeyMode::enter().map_err(ClientError::Terminal)?;
    let mut keyboard = keyboard::keys().map_err(ClientError::Terminal)?;
    let mut screen = Frames::new();
    let (mut picker, first) = Picker::new(query);
    let mut load = begin(&caller, first);
    let mut changes = None;
    loop {
        screen.draw(&mut picker).await?;
        let wish = select! {
            keys = keyboard.recv() => match keys {
                Some(keys) => press(&mut picker, keys),
                None => Wish::Leave,
            },
            page = loaded(&mut load) => {
                load = None;
                match page {
                    Ok(page) => {
                        let cursor = page.watch_cursor.clone();
                        changes.get_or_insert_with(|| signs(caller.client().clone(), cursor));
                        picker.loaded(page);
                    }
                    Err(error) if changes.is_some() && error.is_of_one_call() => picker.failed(&chain(&error)),
                    Err(error) => {
                        screen.leave().await;
                        return Err(error);
                    }
                }
                picker.catch_up()
            }
            () = changed(&mut changes) => {
                picker.changed();
                picker.catch_up()
            }
            Some(note) = told.recv() => {
                picker.tell(&note);
                Wish::Nothing
            }
            Some(()) = resized.recv() => Wish::Nothing,
            // Sent by another process: Ctrl-C is a key.
            Some(()) = interrupts.recv() => Wish::LeaveInAHurry,
            () = shutdown.cancelled() => Wish::LeaveInAHurry,
        };
        match wish {
            Wish::Nothing => {}
            Wish::Load(request) => load = begin(&caller, Wish::Load(request)),
            Wish::Open { chat_id } => {
                screen.leave().await;
                return Ok(Picked::Chat { chat_id, keyboard });
            }
            Wish::Leave => {
                screen.leave().await;
                return Ok(Picked::Nothing);
            }
            Wish::LeaveInAHurry => {
                screen.leave().await;
                return Err(ClientError::Interrupted);
            }
        }
    }
}

/// The wish of the last key that had one. Keys behind one that opens a chat are for that chat, and nobody types
/// as fast.
fn press(picker: &mut Picker, keys: Vec<super::keys::Key>) -> Wish {
    let mut wish = Wish::Nothing;
    for key in keys {
        match picker.press(key) {
            Wish::Nothing => {}
            next @ Wish::Load(_) => wish = next,
            last => return last,
        }
    }
    wish
}

fn begin(caller: &Caller, wish: Wish) -> Option<Load> {
    let Wish::Load(request) = wish else { return None };
    let caller = caller.clone();
    Some(Box::pin(async move { caller.list_chats(&request).await }))
}

async fn loaded(load: &mut Option<Load>) -> Result<ListChatsResponse, ClientError> {
    match load {
        Some(load) => load.await,
        None => pending().await,
    }
}

/// Waits for a change; before the first page there is none.
async fn changed(changes: &mut Option<BoxStream<'static, ()>>) {
    match changes {
        // They do not end.
        Some(changes) => {
            changes.next().await;
        }
        None => pending().await,
    }
}

/// The rows that stand in the terminal, drawn anew with every change and taken off at the end.
struct Frames {
    out: Stdout,
    is_styled: bool,
    /// The widths of the rows that stand there; the cursor is in the last.
    drawn: Vec<usize>,
}

impl Frames {
    fn new() -> Self {
        Self { out: tokio::io::stdout(), is_styled: can_style(&io::stdout()), drawn: Vec::new() }
    }

    async fn draw(&mut self, picker: &mut Picker) -> Result<(), ClientError> {
        let rows = picker.rows(size(), SystemTime::now());
        let shown = |row: &Row| if self.is_styled { row.paint() } else { row.text() };
        let cursor = if picker.is_written_to() { "\x1b[?25h" } else { "\x1b[?25l" };
        let lines: Vec<String> = rows.iter().map(shown).collect();
        let frame = format!("{}{}{cursor}", self.erase(), lines.join("\r\n"));
        self.drawn = rows.iter().map(Row::columns).collect();
        self.write(&frame).await.map_err(ClientError::Output)
    }

    /// Takes the rows off the terminal.
    async fn leave(&mut self) {
        let frame = format!("{}\x1b[?25h", self.erase());
        self.drawn.clear();
        // A terminal that takes no more must not keep us.
        let _ = timeout(LAST_FRAME_TIME_MAX, self.write(&frame)).await;
    }

    /// Goes back to the first row. A terminal that has become narrower has broken those that are too wide now.
    fn erase(&self) -> String {
        let columns = size().columns;
        let height: usize = self.drawn.iter().map(|width| width.div_ceil(columns).max(1)).sum();
        match height {
            0 | 1 => "\r\x1b[J".to_owned(),
            rows => format!("\r\x1b[{}A\x1b[J", rows - 1),
        }
    }

    async fn write(&mut self, frame: &str) -> io::Result<()> {
        self.out.write_all(frame.as_bytes()).await?;
        self.out.flush().await
    }
}
