//! Taking a file from a client.
//!
//! Its bytes are held in memory until they are all there, so that one statement stores the file or
//! nothing: a client, a network or a replica that goes in the middle leaves no trace. How many are held at
//! a time is bounded, all in all and for each user, and so is the time that each may take.

use std::{pin::pin, time::Duration};

use bytes::Bytes;
use chatplane_domain::{FileId, UserId};
use futures::{Stream, StreamExt};
use sha2::{Digest, Sha256};
use tokio::{
    task,
    time::{Instant, timeout, timeout_at},
};

use super::{
    media_type::{MediaType, NotTaken},
    slots::{Slot, Slots},
};
use crate::{
    app::{App, Error, new_id},
    authz::{self, Action, Actor, Resource},
    limits::{
        Limits,
        files::{UPLOADS_BYTES_MAX, UPLOADS_MAX, upload_time},
    },
    store::{FileBounds, FileView, NewFile, PutFile},
};

/// What is uploaded.
#[derive(Clone, Debug)]
pub(crate) struct UploadFile {
    /// Its name.
    pub(crate) name: String,
}

/// The uploads whose bytes are in memory, and what each of them may take.
#[derive(Debug)]
pub(crate) struct Uploads {
    slots: Slots,
    bytes_max: usize,
    wait: Duration,
    idle: Duration,
}

/// A file's bytes; while they are held, so is one of the slots.
struct Received {
    content: Vec<u8>,
    slot: Slot,
}

impl Uploads {
    /// As many as fit, if each is as large as it may be.
    pub(crate) fn new(limits: &Limits) -> Self {
        let bytes_max = limits.file_bytes_max;
        let slots = Slots::new((UPLOADS_BYTES_MAX / bytes_max.max(1)).clamp(1, UPLOADS_MAX));
        Self { slots, bytes_max, wait: limits.upload_wait, idle: limits.upload_idle }
    }

    async fn receive(
        &self,
        owner: UserId,
        pieces: impl Stream<Item = Result<Bytes, Error>> + Send,
    ) -> Result<Received, Error> {
        let slot = self.slots.take(owner, self.wait).await?;
        let content = self.content(pieces).await?;
        // A client that has cancelled the call looks like one that has come to the end of its file. Whoever
        // drives this call learns of it now, and drops it.
        task::yield_now().await;
        Ok(Received { content, slot })
    }

    async fn content(
        &self,
        pieces: impl Stream<Item = Result<Bytes, Error>> + Send,
    ) -> Result<Vec<u8>, Error> {
        let mut pieces = pin!(pieces);
        let mut content = Vec::new();
        let begun = Instant::now();
        loop {
            let now = Instant::now();
            let due = next_due(self.idle, begun, now, content.len());
            // What is there already is never waited for, and does not make a slow client quick.
            if now > due {
                return Err(too_slow());
            }
            let next = timeout_at(due, pieces.next()).await.map_err(|_| too_slow())?;
            let Some(piece) = next.transpose()? else { return Ok(content) };
            if content.len() + piece.len() > self.bytes_max {
                let sentence = format!("a file has at most {} bytes; send a smaller one", self.bytes_max);
                return Err(Error::LimitExceeded(sentence));
            }
            content.extend_from_slice(&piece);
        }
    }
}

/// When the next piece is there, or the client is silent, or too slow on the whole.
fn next_due(idle: Duration, begun: Instant, now: Instant, received: usize) -> Instant {
    (begun + idle + upload_time(received)).min(now + idle)
}

fn too_slow() -> Error {
    Error::LimitExceeded("the file's bytes came too slowly; send it again".to_owned())
}

/// There is no call that deletes a file: it goes when nothing refers to it.
fn too_many(most: &str) -> Error {
    Error::LimitExceeded(format!(
        "a user has at most {most}, and you have as many; edit messages that refer to files you do not need, and \
         try again a day later"
    ))
}

impl App {
    /// What a client says first in an upload.
    ///
    /// # Errors
    ///
    /// `LimitExceeded` for a client that is silent; `ShuttingDown`.
    pub(crate) async fn first_of_upload<T>(
        &self,
        saying: impl Future<Output = T> + Send,
    ) -> Result<T, Error> {
        tokio::select! {
            () = self.inner.shutdown.cancelled() => Err(Error::ShuttingDown),
            said = timeout(self.inner.limits.upload_idle, saying) => said.map_err(|_| too_slow()),
        }
    }

    /// Stores a file once its bytes are all there.
    ///
    /// # Errors
    ///
    /// `LimitExceeded` for a file that is too large, too slow, or one too many, at a time or for its owner;
    /// `FieldInvalid` for what is not taken; `ShuttingDown`; and what the stream says.
    pub(crate) async fn upload_file(
        &self,
        actor: &Actor,
        upload: UploadFile,
        pieces: impl Stream<Item = Result<Bytes, Error>> + Send,
    ) -> Result<FileView, Error> {
        authz::may(actor, Action::CreateFile, Resource::Deployment).map_err(Error::file_denied)?;
        let Actor::User { id: owner, .. } = *actor else {
            return Err(Error::wrong_kind());
        };
        let Received { content, slot } = tokio::select! {
            () = self.inner.shutdown.cancelled() => return Err(Error::ShuttingDown),
            received = self.inner.uploads.receive(owner, pieces) => received?,
        };
        let stored = self.store_file(owner, upload.name, content).await;
        drop(slot);
        stored
    }

    async fn store_file(&self, owner: UserId, name: String, content: Vec<u8>) -> Result<FileView, Error> {
        let Inspected { name, content, sha256, media_type } = inspect(name, content).await?;
        let media_type = media_type.map_err(|not_taken| Error::invalid("data", not_taken.to_string()))?;
        let file = NewFile {
            id: FileId(new_id()),
            owner,
            name: &name,
            media_type: media_type.as_str(),
            sha256,
            content: &content,
        };
        let limits = &self.inner.limits;
        let bounds =
            FileBounds { files_max: limits.files_per_owner_max, bytes_max: limits.file_bytes_per_owner_max };
        match self.inner.store.put_file(&file, bounds).await? {
            PutFile::Stored(file) => Ok(file),
            PutFile::TooManyFiles => Err(too_many(&format!("{} files", bounds.files_max))),
            PutFile::TooManyBytes => Err(too_many(&format!("{} bytes of files", bounds.bytes_max))),
        }
    }
}

/// A content with what is to be known of it.
struct Inspected {
    name: String,
    content: Vec<u8>,
    sha256: [u8; 32],
    media_type: Result<MediaType, NotTaken>,
}

/// Reads the content from end to end, where that holds up nobody.
async fn inspect(name: String, content: Vec<u8>) -> Result<Inspected, Error> {
    let inspecting = task::spawn_blocking(move || {
        let sha256 = Sha256::digest(&content).into();
        let media_type = MediaType::of(&content, &name);
        Inspected { name, content, sha256, media_type }
    });
    // It does not panic, so it was given up: the runtime is about to end.
    inspecting.await.map_err(|_| Error::ShuttingDown)
}

#[cfg(test)]
mod tests {
    use futures::stream;
    use uuid::Uuid;

    use super::*;
    use crate::limits::files::UPLOAD_RATE_MIN;

    fn ada() -> UserId {
        UserId(Uuid::from_u128(1))
    }

    /// Takes files of four bytes.
    fn uploads() -> Uploads {
        Uploads { bytes_max: 4, ..Uploads::new(&Limits::default()) }
    }

    /// The same, and waits no longer than a moment for anybody.
    fn impatient() -> Uploads {
        Uploads { idle: Duration::from_millis(1), ..uploads() }
    }

    fn pieces(pieces: &'static [&'static str]) -> impl Stream<Item = Result<Bytes, Error>> + Send {
        stream::iter(pieces.iter().map(|piece| Ok(Bytes::from_static(piece.as_bytes()))))
    }

    fn sentence(refused: Result<Received, Error>) -> String {
        match refused {
            Err(Error::LimitExceeded(sentence)) => sentence,
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("it is taken"),
        }
    }

    #[tokio::test]
    async fn a_file_is_taken_up_to_its_limit() {
        let uploads = uploads();

        let fits = uploads.receive(ada(), pieces(&["ab", "", "cd"])).await.expect("it fits");

        assert_eq!(fits.content, b"abcd");
        assert_eq!(uploads.receive(ada(), pieces(&[])).await.expect("it fits").content, b"");
        assert!(sentence(uploads.receive(ada(), pieces(&["abc", "de"])).await).contains("at most 4 bytes"));
    }

    #[tokio::test]
    async fn a_client_that_falls_silent_is_not_waited_for() {
        let silent = pieces(&["ab"]).chain(stream::pending());

        assert!(sentence(impatient().receive(ada(), silent).await).contains("too slowly"));
    }

    #[tokio::test]
    async fn what_a_broken_stream_says_is_the_answer() {
        let broken = pieces(&["ab"]).chain(stream::iter([Err(Error::invalid("data", "broke off"))]));

        assert!(matches!(uploads().receive(ada(), broken).await, Err(Error::FieldInvalid(_))));
    }

    #[tokio::test]
    async fn a_client_that_sends_and_sends_and_brings_nothing_does_not_keep_its_slot() {
        let nothing = stream::repeat_with(|| Ok(Bytes::new()));

        assert!(sentence(impatient().receive(ada(), nothing).await).contains("too slowly"));
    }

    #[test]
    fn an_upload_has_as_much_time_as_its_bytes_have_earned_and_no_silence_is_long() {
        let idle = Duration::from_secs(30);
        let begun = Instant::now();
        let due = |after: u64, received: usize| {
            let due = next_due(idle, begun, begun + Duration::from_secs(after), received);
            (due - begun).as_secs()
        };

        assert_eq!(due(0, 0), 30);
        assert_eq!(due(29, 29), 30, "a byte a second");
        assert_eq!(due(100, 100 * UPLOAD_RATE_MIN), 130, "the slowest that is taken");
        assert_eq!(due(1, 100 * UPLOAD_RATE_MIN), 31, "quick at first, and then silent");
    }

    #[test]
    fn a_setting_of_any_size_leaves_a_slot() {
        for file_bytes_max in [0, 1, 10 * 1024 * 1024, usize::MAX] {
            let slots = Uploads::new(&Limits { file_bytes_max, ..Limits::default() }).slots;
            assert!((1..=UPLOADS_MAX).contains(&slots.available()));
        }
    }
}
