//! Taking a file from a client.
//!
//! Its bytes are held in memory until they are all there, so that one statement stores the file or
//! nothing: a client, a network or a replica that goes in the middle leaves no trace. How many are held at
//! a time is bounded, and so is the time that each may take.

use std::{pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use chatplane_domain::{FileId, UserId};
use futures::{Stream, StreamExt};
use sha2::{Digest, Sha256};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task,
    time::timeout,
};

use super::media_type::{MediaType, TAKEN};
use crate::{
    app::{App, Error, new_id},
    authz::{self, Action, Actor, Resource},
    limits::{
        Limits,
        files::{UPLOAD_TIME_MAX, UPLOADS_BYTES_MAX, UPLOADS_MAX},
    },
    store::{FileView, NewFile},
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
    slots: Arc<Semaphore>,
    bytes_max: usize,
    wait: Duration,
    idle: Duration,
}

/// A file's bytes; while they are held, so is one of the slots.
struct Received {
    content: Vec<u8>,
    slot: OwnedSemaphorePermit,
}

impl Uploads {
    /// As many as fit, if each is as large as it may be.
    pub(crate) fn new(limits: &Limits) -> Self {
        let bytes_max = limits.file_bytes_max;
        let slots = (UPLOADS_BYTES_MAX / bytes_max.max(1)).clamp(1, UPLOADS_MAX);
        let slots = Arc::new(Semaphore::new(slots));
        Self { slots, bytes_max, wait: limits.upload_wait, idle: limits.upload_idle }
    }

    async fn receive(
        &self,
        pieces: impl Stream<Item = Result<Bytes, Error>> + Send,
    ) -> Result<Received, Error> {
        let Ok(Ok(slot)) = timeout(self.wait, Arc::clone(&self.slots).acquire_owned()).await else {
            let sentence = "as many files are being uploaded as this replica takes at a time; try again";
            return Err(Error::LimitExceeded(sentence.to_owned()));
        };
        let content = timeout(UPLOAD_TIME_MAX, self.content(pieces)).await.map_err(|_| too_slow())??;
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
        while let Some(piece) = timeout(self.idle, pieces.next()).await.map_err(|_| too_slow())? {
            let piece = piece?;
            if content.len() + piece.len() > self.bytes_max {
                let sentence = format!("a file has at most {} bytes; send a smaller one", self.bytes_max);
                return Err(Error::LimitExceeded(sentence));
            }
            content.extend_from_slice(&piece);
        }
        Ok(content)
    }
}

fn too_slow() -> Error {
    Error::LimitExceeded("the file's bytes came too slowly; send it again".to_owned())
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
    /// `LimitExceeded` for a file that is too large, too slow, or one too many at a time; `FieldInvalid` for
    /// what is not taken; `ShuttingDown`; and what the stream says.
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
            received = self.inner.uploads.receive(pieces) => received?,
        };
        let stored = self.store_file(owner, upload.name, content).await;
        drop(slot);
        stored
    }

    async fn store_file(&self, owner: UserId, name: String, content: Vec<u8>) -> Result<FileView, Error> {
        let Inspected { name, content, sha256, media_type } = inspect(name, content).await?;
        let media_type = media_type.ok_or_else(|| {
            Error::invalid("data", format!("what the file has in it is not taken; taken are {TAKEN}"))
        })?;
        let file = NewFile {
            id: FileId(new_id()),
            owner,
            name: &name,
            media_type: media_type.as_str(),
            sha256,
            content: &content,
        };
        Ok(self.inner.store.put_file(&file).await?)
    }
}

/// A content with what is to be known of it.
struct Inspected {
    name: String,
    content: Vec<u8>,
    sha256: [u8; 32],
    media_type: Option<MediaType>,
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

    use super::*;

    /// Takes three files of four bytes at a time; waits end in a moment.
    fn uploads() -> Uploads {
        let limits = Limits {
            file_bytes_max: UPLOADS_BYTES_MAX / 3,
            upload_wait: Duration::from_millis(1),
            upload_idle: Duration::from_millis(1),
            ..Limits::default()
        };
        Uploads { bytes_max: 4, ..Uploads::new(&limits) }
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

        let fits = uploads.receive(pieces(&["ab", "", "cd"])).await.expect("it fits");

        assert_eq!(fits.content, b"abcd");
        assert_eq!(uploads.receive(pieces(&[])).await.expect("it fits").content, b"");
        assert!(sentence(uploads.receive(pieces(&["abc", "de"])).await).contains("at most 4 bytes"));
    }

    #[tokio::test]
    async fn a_client_that_falls_silent_is_not_waited_for() {
        let silent = pieces(&["ab"]).chain(stream::pending());

        assert!(sentence(uploads().receive(silent).await).contains("too slowly"));
    }

    #[tokio::test]
    async fn what_a_broken_stream_says_is_the_answer() {
        let broken = pieces(&["ab"]).chain(stream::iter([Err(Error::invalid("data", "broke off"))]));

        assert!(matches!(uploads().receive(broken).await, Err(Error::FieldInvalid(_))));
    }

    #[tokio::test]
    async fn uploads_beyond_those_that_fit_wait_for_a_slot() {
        let uploads = uploads();
        let mut held = Vec::new();
        for _ in 0..3 {
            held.push(uploads.receive(pieces(&["ab"])).await.expect("there is a slot"));
        }

        let refused = uploads.receive(pieces(&["ab"])).await;
        held.pop();

        assert!(sentence(refused).contains("try again"));
        assert!(uploads.receive(pieces(&["ab"])).await.is_ok());
    }

    #[test]
    fn a_setting_of_any_size_leaves_a_slot() {
        for file_bytes_max in [0, 1, 10 * 1024 * 1024, usize::MAX] {
            let slots = Uploads::new(&Limits { file_bytes_max, ..Limits::default() }).slots;
            assert!((1..=UPLOADS_MAX).contains(&slots.available_permits()));
        }
    }
}
