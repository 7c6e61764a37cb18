//! Where a watcher is in the durable events of a chat, and how it says so.
//!
//! Order and equality carry the promises: cursors grow with every durable event, and
//! equal cursors stand for equal folds of what came before.
//!
//! The bytes compare like the positions they stand for, so that a test need not know
//! what is in them.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use chatplane_domain::{ChatId, MessageId, QueuedMessageId};
use uuid::Uuid;

use crate::store::{ChatView, QueuePosition, QueueThrough, RowPosition};

/// First byte of a cursor. Another layout takes another number.
const LAYOUT: u8 = 2;
/// The layout before, without the place of what is required: clients still hold such
/// cursors when a new release starts.
const LAYOUT_BEFORE: u8 = 1;

/// How far the durable events of a chat were sent, in the order in which one sync sends
/// them; all that is listed here only grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position {
    /// The last row.
    pub(crate) row: RowPosition,
    /// The last change of the queue.
    pub(crate) queue: QueuePosition,
    /// Version of the retry that was sent.
    pub(crate) retry: i64,
    /// Version of the error that was sent.
    pub(crate) error: i64,
    /// Version of the metadata that was sent.
    pub(crate) metadata: i64,
    /// Snapshot from which the settings were sent.
    pub(crate) settings: i64,
    /// Snapshot from which what is required of the client was sent.
    pub(crate) action: i64,
    /// The last complete picture.
    pub(crate) snapshot: i64,
}

impl Position {
    pub(crate) const START: Self = Self {
        row: RowPosition::START,
        queue: QueuePosition::START,
        retry: 0,
        error: 0,
        metadata: 0,
        settings: 0,
        action: 0,
        snapshot: 0,
    };
}

/// A position with what else equal folds need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cursor {
    chat: u32,
    /// How far.
    pub(crate) position: Position,
    /// Until the first complete picture: the snapshot from which it is read. What was
    /// removed by then was never sent.
    pub(crate) begun: i64,
    /// The settings that were sent: they have no version of their own.
    pub(crate) settings: u64,
    /// Within the changes of a queue: how they were read. A change that is overtaken
    /// by a later one is not sent, so the same change may be reached with different
    /// queues before it.
    pub(crate) queue_reading: u64,
}

/// Why a text is no cursor of a chat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is no cursor of this chat")]
pub(crate) struct Malformed;

impl Cursor {
    pub(crate) fn start(chat: ChatId) -> Self {
        Self { chat: tag(chat), position: Position::START, begun: 0, settings: 0, queue_reading: 0 }
    }

    pub(crate) fn decode(chat: ChatId, text: &str) -> Result<Self, Malformed> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| Malformed)?;
        let mut reader = Reader(&bytes);
        let [layout] = reader.array()?;
        if ![LAYOUT, LAYOUT_BEFORE].contains(&layout) || reader.array()? != tag(chat).to_be_bytes() {
            return Err(Malformed);
        }
        let row = RowPosition { revision: reader.number()?, id: MessageId(reader.number()?) };
        let revision = reader.number()?;
        let through = match reader.array()? {
            [0] => QueueThrough::Entry(QueuedMessageId(Uuid::from_bytes(reader.array()?))),
            [1] => QueueThrough::All,
            _ => return Err(Malformed),
        };
        let position = Position {
            row,
            queue: QueuePosition { revision, through },
            retry: reader.number()?,
            error: reader.number()?,
            metadata: reader.number()?,
            settings: reader.number()?,
            action: if layout == LAYOUT_BEFORE { 0 } else { reader.number()? },
            snapshot: reader.number()?,
        };
        let begun = if position.snapshot == 0 { reader.number()? } else { 0 };
        let settings = u64::from_be_bytes(reader.array()?);
        let queue_reading = match through {
            QueueThrough::Entry(_) => u64::from_be_bytes(reader.array()?),
            QueueThrough::All => 0,
        };
        if !reader.0.is_empty() {
            return Err(Malformed);
        }
        Ok(Self { chat: tag(chat), position, begun, settings, queue_reading })
    }

    pub(crate) fn encode(&self) -> String {
        let position = &self.position;
        let mut bytes = vec![LAYOUT];
        bytes.extend(self.chat.to_be_bytes());
        write_number(&mut bytes, position.row.revision);
        write_number(&mut bytes, position.row.id.0);
        write_number(&mut bytes, position.queue.revision);
        match position.queue.through {
            QueueThrough::Entry(id) => {
                bytes.push(0);
                bytes.extend(id.0.as_bytes());
            }
            QueueThrough::All => bytes.push(1),
        }
        for number in [
            position.retry,
            position.error,
            position.metadata,
            position.settings,
            position.action,
            position.snapshot,
        ] {
            write_number(&mut bytes, number);
        }
        if position.snapshot == 0 {
            write_number(&mut bytes, self.begun);
        }
        bytes.extend(self.settings.to_be_bytes());
        if let QueueThrough::Entry(_) = position.queue.through {
            bytes.extend(self.queue_reading.to_be_bytes());
        }
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Whether it has seen what the database has not, which happens when an older copy
    /// of the database was put back.
    pub(crate) fn is_ahead_of(&self, chat: &ChatView) -> bool {
        let (position, versions) = (&self.position, &chat.versions);
        position.row.revision > versions.history
            || position.queue.revision > versions.queue
            || position.retry > versions.retry
            || position.error > versions.error
            || position.metadata > chat.metadata.metadata_version
            || position.settings > versions.snapshot
            || position.action > versions.snapshot
            || position.snapshot > versions.snapshot
            || self.begun > versions.snapshot
    }

    /// What was removed in this snapshot or before is known or was never sent.
    pub(crate) fn removed_after(&self) -> i64 {
        self.begun.max(self.position.snapshot)
    }

    /// A change of the queue is sent.
    pub(crate) fn reach_queue_entry(&mut self, revision: i64, id: QueuedMessageId) {
        let through = QueueThrough::Entry(id);
        self.position.queue = QueuePosition { revision, through };
    }

    /// Changes of the queue are read at this version, from here on.
    pub(crate) fn begin_queue_reading(&mut self, read_at: i64) {
        let queue = &self.position.queue;
        let id = match queue.through {
            QueueThrough::Entry(id) => *id.0.as_bytes(),
            QueueThrough::All => [0xff; 16],
        };
        let parts: [&[u8]; 4] =
            [&self.queue_reading.to_be_bytes(), &queue.revision.to_be_bytes(), &id, &read_at.to_be_bytes()];
        self.queue_reading = digest(&parts);
    }

    /// The queue was sent as it is at this version.
    pub(crate) fn complete_queue(&mut self, version: i64) {
        self.position.queue = QueuePosition { revision: version, through: QueueThrough::All };
        self.queue_reading = 0;
    }
}

/// What a client knows of a chat's settings, as a number to compare.
pub(crate) fn settings_digest(chat: &ChatView) -> u64 {
    let workspace = chat.workspace_id.map(|id| *id.0.as_bytes()).unwrap_or_default();
    let timeout = u64::try_from(chat.action_timeout.as_millis()).unwrap_or(u64::MAX).to_be_bytes();
    let words = [&workspace, chat.model.as_bytes(), &[chat.effort as u8, u8::from(chat.compact_requested)]];
    let more: [&[u8]; 2] = [&timeout, chat.last_turn_summary.as_bytes()];
    let tools = chat.client_tool_names.iter().map(String::as_bytes);
    let parts: Vec<&[u8]> = words.into_iter().chain(more).chain(tools).collect();
    digest(&parts)
}

/// A cursor of another chat is refused, not misread.
fn tag(chat: ChatId) -> u32 {
    let [.., a, b, c, d] = *chat.0.as_bytes();
    u32::from_be_bytes([a, b, c, d])
}

/// FNV-1a over the parts, each preceded by its length: it never changes with a release.
fn digest(parts: &[&[u8]]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for part in parts {
        let length = part.len() as u64;
        for byte in length.to_be_bytes().iter().chain(*part) {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    hash
}

/// A length and as many bytes: shorter numbers are smaller, so the bytes keep the order.
fn write_number(bytes: &mut Vec<u8>, number: i64) {
    let number = number.to_be_bytes();
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    let significant = &number[zeros..];
    bytes.push(u8::try_from(significant.len()).expect("a number has at most 8 bytes"));
    bytes.extend(significant);
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (array, rest) = self.0.split_first_chunk().ok_or(Malformed)?;
        self.0 = rest;
        Ok(*array)
    }

    fn number(&mut self) -> Result<i64, Malformed> {
        let [length] = self.array()?;
        let length = usize::from(length);
        let significant = self.0.get(..length).filter(|_| length <= 8).ok_or(Malformed)?;
        if significant.first() == Some(&0) {
            return Err(Malformed);
        }
        let mut number = [0; 8];
        number[8 - length..].copy_from_slice(significant);
        self.0 = &self.0[length..];
        i64::try_from(u64::from_be_bytes(number)).map_err(|_| Malformed)
    }
}
