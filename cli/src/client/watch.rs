//! The events of a chat, in order, over broken connections: whoever reads them sees a pause, not a loss.

use std::time::Duration;

use chatplane_proto::chat::v1::{WatchChatRequest, WatchChatResponse};
use tokio::{sync::mpsc, task::JoinHandle, time::timeout};
use tonic::Status;

use crate::client::{ClientError, connection::ChatClient, outage::Outage, requests::Caller};

/// Each event is either something new or the sign of life that comes every 15 s.
pub(super) const SILENCE_TIME_MAX: Duration = Duration::from_secs(45);
/// Events that wait to be read; the control plane keeps the others.
const EVENTS_MAX: usize = 16;

type Received = Result<WatchChatResponse, ClientError>;

/// A chat that is watched until this is dropped.
pub(crate) struct Watch {
    events: mpsc::Receiver<Received>,
    task: JoinHandle<()>,
}

impl Watch {
    /// Begins to watch. The request says from where.
    pub(crate) fn open(caller: &Caller, request: WatchChatRequest) -> Self {
        let (sender, events) = mpsc::channel(EVENTS_MAX);
        let outage = Outage::new("watch the chat", caller.notes().clone());
        let follower = Follower { client: caller.client().clone(), request, outage, events: sender };
        Self { events, task: tokio::spawn(follower.run()) }
    }

    /// The next event. Dropping the wait loses nothing.
    pub(crate) async fn next(&mut self) -> Received {
        // It ends with an error, and only then.
        self.events.recv().await.unwrap_or(Err(ClientError::Interrupted))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Follows the chat, from the cursor of the last event that was handed on.
struct Follower {
    client: ChatClient,
    request: WatchChatRequest,
    outage: Outage,
    events: mpsc::Sender<Received>,
}

/// Nobody reads the events any more.
struct Unread;

impl Follower {
    async fn run(mut self) {
        loop {
            let Ok(status) = self.follow().await else { return };
            if let Err(error) = self.outage.endure(status).await {
                // When nobody reads it, nobody wants to know.
                let _ = self.events.send(Err(error)).await;
                return;
            }
        }
    }

    /// Follows one stream as long as it lasts, and says why it has ended.
    async fn follow(&mut self) -> Result<Status, Unread> {
        let opened = timeout(SILENCE_TIME_MAX, self.client.watch_chat(self.request.clone())).await;
        let mut stream = match opened {
            Ok(Ok(reply)) => reply.into_inner(),
            Ok(Err(status)) => return Ok(status),
            Err(_) => return Ok(silence()),
        };
        loop {
            let response = match timeout(SILENCE_TIME_MAX, stream.message()).await {
                Ok(Ok(Some(response))) => response,
                Ok(Ok(None)) => return Ok(Status::unavailable("the stream has ended")),
                Ok(Err(status)) => return Ok(status),
                Err(_) => return Ok(silence()),
            };
            self.outage.is_over();
            let cursor = response.cursor.clone();
            self.events.send(Ok(response)).await.map_err(|_| Unread)?;
            self.request.cursor = cursor;
        }
    }
}

fn silence() -> Status {
    Status::deadline_exceeded("no sign of life")
}
