//! Limits of the control plane: named, with a unit and a reason.

use std::time::Duration;

use crate::caps::Caps;

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
    /// How many chats of one owner or organization run at a time.
    pub caps: Caps,
    /// How long streams may take to end when the replica stops.
    pub drain: Duration,
    /// How long one use of a connection to the database may take, whatever the server says: a statement's
    /// 10 s, and as much for the way there and back as a network in trouble may take.
    pub database_use_max: Duration,
    /// How long a call may take until its answer begins, its request's arrival included: 3 MiB over a slow
    /// line, and a write that waits for its row a few times. An upload has more: see `upload_ends`.
    pub answer_begins: Duration,
    /// A watcher that got nothing for this long gets a progress event: proxies cut silent streams.
    pub progress_interval: Duration,
    /// All watched chats are looked at this often, whatever hints were lost.
    pub watch_poll_interval: Duration,
    /// Metrics are brought up to date this often: oftener than autoscalers ask, which is every 15 s or so. It
    /// costs a look into an index.
    pub metrics_interval: Duration,
    /// How long a tool call waits for its workspace agent to come back: longer than an agent waits between two
    /// tries to connect, which is 5 s at most.
    pub workspace_return: Duration,
    /// Bytes that a file may have.
    pub file_bytes_max: usize,
    /// Files that the messages of a chat may refer to.
    pub files_per_chat_max: usize,
    /// Files that a user may have: counting them is a matter of milliseconds.
    pub files_per_owner_max: i64,
    /// Bytes that a user's files may have, each content counted once: one user does not fill the disk.
    pub file_bytes_per_owner_max: i64,
    /// A file that no chat is linked to stays this long after it was uploaded or unlinked: for a draft that is
    /// sent tomorrow morning.
    pub unlinked_file_kept: Duration,
    /// A session of a worker that was closed stays known this long: for usage that its worker reports late.
    pub closed_session_kept: Duration,
    /// A client that uploads a file sends its next piece within this time. So late it may be on the whole, too:
    /// see `UPLOAD_RATE_MIN`.
    pub upload_idle: Duration,
    /// How long an upload waits for others to end.
    pub upload_wait: Duration,
    /// What was kept for long enough is looked for this often. It is counted in days; a short look costs six
    /// statements.
    pub retention_sweep_interval: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            queue_max: 50,
            token_cache_ttl: Duration::from_secs(1),
            model_cache_ttl: Duration::from_secs(1),
            lease_input_bytes_max: 256 * 1024,
            caps: Caps::default(),
            drain: Duration::from_secs(10),
            database_use_max: Duration::from_secs(15),
            answer_begins: Duration::from_secs(60),
            progress_interval: Duration::from_secs(15),
            watch_poll_interval: Duration::from_secs(5),
            metrics_interval: Duration::from_secs(5),
            workspace_return: Duration::from_secs(8),
            file_bytes_max: 10 * 1024 * 1024,
            files_per_chat_max: 100,
            files_per_owner_max: 10_000,
            file_bytes_per_owner_max: 10 * 1024 * 1024 * 1024,
            unlinked_file_kept: Duration::from_secs(24 * 60 * 60),
            closed_session_kept: Duration::from_secs(30 * 24 * 60 * 60),
            upload_idle: Duration::from_secs(30),
            upload_wait: Duration::from_secs(30),
            retention_sweep_interval: Duration::from_secs(10 * 60),
        }
    }
}

impl Limits {
    /// How long an upload may take at most: to say what it is, to wait for a slot, to send the largest file as
    /// slowly as one may, and to be stored.
    pub(crate) fn upload_ends(&self) -> Duration {
        files::upload_time(self.file_bytes_max)
            .saturating_add(self.upload_idle.saturating_mul(2))
            .saturating_add(self.upload_wait)
            .saturating_add(self.answer_begins)
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
    /// Chats of a page at most: a chat has some 1 KiB, and with its labels and files 100 KiB at the very most.
    pub(crate) const CHATS_MAX: usize = 100;
    /// Workspaces whose latest chats are asked for at once.
    pub(crate) const WORKSPACE_IDS_MAX: usize = 100;
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
    /// Debug runs of a page when the client names no number.
    pub(crate) const DEBUG_RUNS_DEFAULT: usize = 25;
    /// Debug runs of a page at most.
    pub(crate) const DEBUG_RUNS_MAX: usize = 100;
    /// Steps of a debug run of a page when the client names no number.
    pub(crate) const DEBUG_STEPS_DEFAULT: usize = 10;
    /// Steps of a debug run of a page at most; their bytes are bounded, too.
    pub(crate) const DEBUG_STEPS_MAX: usize = 50;
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

/// What a chat is called, and where its reader keeps it.
pub(crate) mod metadata {
    /// Characters of a title that a user gives: a list shows it in one line.
    pub(crate) const TITLE_CHARS_MAX: usize = 200;
    /// Chats that a user has pinned: each new place may write them all.
    pub(crate) const PINS_MAX: usize = 100;
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

/// Files.
pub(crate) mod files {
    use std::time::Duration;

    /// Characters of a name.
    pub(crate) const NAME_CHARS_MAX: usize = 255;
    /// Bytes of a piece of an upload.
    pub(crate) const UPLOAD_PIECE_BYTES_MAX: usize = 1024 * 1024;
    /// Bytes of a piece that is read: enough to be quick, little enough to wait for a slow reader.
    pub(crate) const PIECE_BYTES: i64 = 256 * 1024;
    /// Bytes of all uploads that are in memory at the same time, if each file is as large as it may be;
    /// more of them wait. On its way into the database each is there twice.
    pub(crate) const UPLOADS_BYTES_MAX: usize = 96 * 1024 * 1024;
    /// Uploads at the same time, however small: each has a stream, and soon a connection to the database.
    pub(crate) const UPLOADS_MAX: usize = 16;
    /// Uploads of one user at the same time, of the nine or so that fit: two are as quick as more, and others
    /// find a slot.
    pub(crate) const UPLOADS_PER_USER_MAX: usize = 2;
    /// Bytes a second that an upload has on the whole, but for the time in which one may be silent: what any
    /// network has, so that nobody holds a place by sending little.
    pub(crate) const UPLOAD_RATE_MIN: usize = 32 * 1024;
    /// Files that a message names: what models get to read of as many texts fits one call.
    pub(crate) const FILE_PARTS_MAX: usize = 20;
    /// Bytes of a path that a message points at: what Linux takes.
    pub(crate) const PATH_BYTES_MAX: usize = 4096;

    /// How long these bytes take at the slowest rate that is taken.
    pub(crate) fn upload_time(bytes: usize) -> Duration {
        let ms = bytes.saturating_mul(1000) / UPLOAD_RATE_MIN;
        Duration::from_millis(u64::try_from(ms).unwrap_or(u64::MAX))
    }
}

/// A chat's title is cut to this many characters.
pub(crate) const TITLE_CHARS_MAX: usize = 80;
