//! Where a watcher of all chats is, and how it says so.
//!
//! The bytes compare like what they stand for, so that a test need not know what is in
//! them.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use chatplane_domain::{ChatId, UserId};
use uuid::Uuid;

use crate::{store::FeedPosition, watch::Malformed};

/// First byte of a cursor. Another layout takes another number.
const LAYOUT: u8 = 1;
/// Layout, user, transaction, chat, transaction.
const BYTES: usize = 1 + 16 + 8 + 16 + 8;

/// How far the changes of a user's chats were told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ChatsCursor {
    /// All up to here were told. Below the horizon this is exact; what lies above may be
    /// told again.
    pub(crate) position: FeedPosition,
    /// Of the chats that come next it was told what transactions below this one changed;
    /// it is not above the position. Of a chat that changed twice the first change lies
    /// before its place, and would be forgotten without this.
    pub(crate) told: i64,
}

impl ChatsCursor {
    /// What comes after everything that transactions below this one wrote.
    pub(crate) fn at(horizon: i64) -> Self {
        Self { position: FeedPosition::before(horizon), told: horizon }
    }

    pub(crate) fn decode(user: UserId, text: &str) -> Result<Self, Malformed> {
        // As long as ours in base64: nothing larger is decoded.
        if text.len() > BYTES.div_ceil(3) * 4 {
            return Err(Malformed);
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| Malformed)?;
        let bytes: [u8; BYTES] = bytes.try_into().map_err(|_| Malformed)?;
        let (owner, rest) = bytes[1..].split_at(16);
        let (xid, rest) = rest.split_at(8);
        let (chat, told) = rest.split_at(16);
        if bytes[0] != LAYOUT || owner != user.0.as_bytes() {
            return Err(Malformed);
        }
        let chat = ChatId(Uuid::from_slice(chat).map_err(|_| Malformed)?);
        let position = FeedPosition { xid: number(xid)?, chat };
        let told = number(told)?;
        if told > position.xid { Err(Malformed) } else { Ok(Self { position, told }) }
    }

    /// The text of the cursor for a user; for nobody else it is one.
    pub(crate) fn encode(&self, user: UserId) -> String {
        let mut bytes = vec![LAYOUT];
        bytes.extend(user.0.as_bytes());
        bytes.extend(self.position.xid.to_be_bytes());
        bytes.extend(self.position.chat.0.as_bytes());
        bytes.extend(self.told.to_be_bytes());
        URL_SAFE_NO_PAD.encode(bytes)
    }
}

/// A number that is not negative.
fn number(bytes: &[u8]) -> Result<i64, Malformed> {
    let number = i64::from_be_bytes(bytes.try_into().map_err(|_| Malformed)?);
    if number < 0 { Err(Malformed) } else { Ok(number) }
}
