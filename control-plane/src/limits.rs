//! Limits of the control plane: named, with a unit and a reason.

use std::time::Duration;

/// What tests shorten and operators may change.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Messages that a chat's queue may hold.
    pub queue_max: usize,
    /// A token is looked up again after this long, so that a revoked one stops working.
    pub token_cache_ttl: Duration,
    /// The catalog of models is read again after this long.
    pub model_cache_ttl: Duration,
    /// A lease carries the turn's input up to this size; a larger one is streamed.
    pub lease_input_bytes_max: i64,
    /// How long streams may take to end when the replica stops.
    pub drain: Duration,
    /// How long one use of a connection to the database may take, whatever the server says: a statement's
    /// 10 s, and as much for the way there and back as a network in trouble may take.
    pub database_use_max: Duration,
    /// How long a call may take until its answer begins, its request's arrival included: 3 MiB over a slow
    /// line, and a write that waits for its row a few times.
    pub answer_begins: Duration,
    /// A watcher that got nothing for this long gets a progress event: proxies cut silent streams.
    pub progress_interval: Duration,
    /// All watched chats are looked at this often, whatever hints were lost.
    pub watch_poll_interval: Duration,
    /// How long a tool call waits for its workspace agent to come back: longer than an agent waits between two
    /// tries to connect, which is 5 s at most.
    pub workspace_return: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            queue_max: 50,
            token_cache_ttl: Duration::from_secs(1),
            model_cache_ttl: Duration::from_secs(1),
            lease_input_bytes_max: 256 * 1024,
            drain: Duration::from_secs(10),
            database_use_max: Duration::from_secs(15),
            answer_begins: Duration::from_secs(60),
            progress_interval: Duration::from_secs(15),
            watch_poll_interval: Duration::from_secs(5),
            workspace_return: Duration::from_secs(8),
        }
    }
}

/// Parts of one message page, chats of one list: what an answer may hold.
pub(crate) mod pages {
    /// Messages of a page when the client names no number.
    pub(crate) const MESSAGES_DEFAULT: usize = 50;
    /// Messages of a page at most.
    pub(crate) const MESSAGES_MAX: usize = 200;
    /// Chats of a page when the client names no number.
    pub(crate) const CHATS_DEFAULT: usize = 25;
    /// Chats of a page at most: a chat with its labels has up to 20 KiB.
    pub(crate) const CHATS_MAX: usize = 100;
    /// Queued messages of a page when the client names no number.
    pub(crate) const QUEUE_DEFAULT: usize = 50;
    /// Queued messages of a page at most.
    pub(crate) const QUEUE_MAX: usize = 200;
    /// Prompts of a list when the client names no number.
    pub(crate) const PROMPTS_DEFAULT: usize = 500;
    /// Prompts of a list at most.
    pub(crate) const PROMPTS_MAX: usize = 2000;
    /// Models and workspaces of a page when the client names no number.
    pub(crate) const CATALOG_DEFAULT: usize = 50;
    /// Models and workspaces of a page at most.
    pub(crate) const CATALOG_MAX: usize = 200;
}

/// Labels of a chat.
pub(crate) mod labels {
    /// How many.
    pub(crate) const COUNT_MAX: usize = 50;
    /// Characters of a key.
    pub(crate) const KEY_CHARS_MAX: usize = 64;
    /// Characters of a value.
    pub(crate) const VALUE_CHARS_MAX: usize = 256;
}

/// Tools that a client declares, and their results. Their number and sizes are the domain's.
pub(crate) mod client_tools {
    /// Characters of a name: what every provider takes.
    pub(crate) const NAME_CHARS_MAX: usize = 64;
    /// Bytes of a description: the model reads it with every call.
    pub(crate) const DESCRIPTION_BYTES_MAX: usize = 16 * 1024;
    /// Results of one submission: an answer has no more calls than parts.
    pub(crate) const RESULTS_MAX: usize = 100;
}

/// A chat's title is cut to this many characters.
pub(crate) const TITLE_CHARS_MAX: usize = 80;
