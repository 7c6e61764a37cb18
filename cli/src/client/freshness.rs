//! Signs that something has changed among a user's chats, for who shows a list of them and can read it anew.
//! Nothing is said when they cannot be had: a list that does not move is still one.

use std::time::Duration;

use chatplane_proto::chat::v1::{WatchChatsRequest, WatchChatsResponse, watch_chats_response::Event};
use futures::stream::{self, BoxStream, StreamExt as _};
use tokio::{
    pin, select,
    time::{sleep, timeout},
};
use tonic::{Code, Status, Streaming};

use super::{connection::ChatClient, watch::SILENCE_TIME_MAX};

/// Signs come no faster: for each of them a list is read.
const PAUSE: Duration = Duration::from_millis(500);
/// A stream that has ended is opened again after this.
const AGAIN_PAUSE: Duration = Duration::from_secs(5);

/// A sign for all that changes after the cursor, as long as this is read. Dropping a wait loses nothing.
pub(crate) fn signs(client: ChatClient, cursor: String) -> BoxStream<'static, ()> {
    let follower = Follower { client, cursor, stream: None };
    let next = |mut follower: Follower| async move {
        follower.wait_for_change().await;
        Some(((), follower))
    };
    stream::unfold(follower, next).boxed()
}

struct Follower {
    client: ChatClient,
    /// Of the last event.
    cursor: String,
    stream: Option<Streaming<WatchChatsResponse>>,
}

/// What is learnt from a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Learnt {
    Change,
    Nothing,
}

impl Follower {
    /// Waits until something has changed, and a little longer: changes come in flocks.
    async fn wait_for_change(&mut self) {
        while self.learn().await == Learnt::Nothing {}
        let pause = sleep(PAUSE);
        pin!(pause);
        loop {
            select! {
                () = &mut pause => return,
                _ = self.learn() => {}
            }
        }
    }

    async fn learn(&mut self) -> Learnt {
        let status = match self.event().await {
            Ok(Some(Event::Progress(_)) | None) => return Learnt::Nothing,
            Ok(Some(Event::ChatChanged(_) | Event::ChatDeleted(_))) => return Learnt::Change,
            Err(status) => status,
        };
        self.stream = None;
        // A database that was set back does not know what has changed.
        let is_expired = status.code() == Code::OutOfRange;
        if is_expired {
            self.cursor.clear();
        }
        sleep(AGAIN_PAUSE).await;
        if is_expired { Learnt::Change } else { Learnt::Nothing }
    }

    async fn event(&mut self) -> Result<Option<Event>, Status> {
        let silence = |_| Status::deadline_exceeded("no sign of life");
        let stream = match &mut self.stream {
            Some(stream) => stream,
            None => {
                let request = WatchChatsRequest { cursor: self.cursor.clone() };
                let opened = timeout(SILENCE_TIME_MAX, self.client.watch_chats(request)).await;
                self.stream.insert(opened.map_err(silence)??.into_inner())
            }
        };
        let response = timeout(SILENCE_TIME_MAX, stream.message()).await.map_err(silence)??;
        let response = response.ok_or_else(|| Status::unavailable("the stream has ended"))?;
        self.cursor = response.cursor;
        Ok(response.event)
    }
}
