//! Calls that are repeated, on any replica, until somebody answers.

use std::{fmt::Debug, time::Duration};

use chatplane_proto::chat::v1::{self as proto, ErrorReason};
use chatplane_tests::Client;
use rand::Rng;
use tokio::time::{Instant, sleep, timeout};
use tonic::{Response, Status};

use super::User;
use crate::told::{Told, told};

/// A call that lost its first try is answered.
pub(crate) const ANSWERED: &str = "client's call failed: it is answered";

/// A try that takes longer is given up; the next goes to any replica.
const TRY_TIME_MAX: Duration = Duration::from_secs(5);
/// Between two tries.
const PAUSE_MS: std::ops::Range<u64> = 10..150;
/// Who is not answered for so long never is: longer than any fault, and a minute.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(90);

/// A call that changes something, by the name of its RPC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    CreateChat,
    SendMessage,
    EditMessage,
    InterruptChat,
    SubmitToolResults,
}

/// What a user knows of a call that has ended.
pub(super) enum Answer<T> {
    /// It was done.
    Accepted(T),
    /// It was not done.
    Refused,
    /// An earlier try may be done yet.
    MayBeDone,
}

impl Operation {
    /// For which reasons others, who do things at the same time, may make it fail.
    fn may_be_refused_for(self) -> &'static [ErrorReason] {
        match self {
            Self::CreateChat => &[],
            Self::SendMessage => &[ErrorReason::QueueFull],
            // The message was deleted since it was listed.
            Self::EditMessage => &[ErrorReason::MessageNotFound],
            Self::InterruptChat => &[ErrorReason::StateForbids],
            // It goes on already, or another has handed in a result of the same call.
            Self::SubmitToolResults => &[ErrorReason::StateForbids, ErrorReason::FieldInvalid],
        }
    }
}

impl User {
    /// Calls until somebody answers. What was accepted is sometimes asked for again: then
    /// nothing happens, and the answer is the same.
    pub(super) async fn ask<T: Debug + PartialEq>(
        &mut self,
        operation: Operation,
        request_id: &str,
        mut call: impl AsyncFnMut(&mut Client) -> Result<Response<T>, Status>,
    ) -> Answer<T> {
        let (answer, tries) = self.answer(&format!("{operation:?}"), &mut call).await;
        let notes = &self.crowd.notes;
        match answer {
            Some(Ok(accepted)) => {
                notes.count(&format!("{operation:?}"));
                self.crowd.records.accepted(request_id);
                if self.random.random_ratio(1, 6)
                    && let (Some(again), _) =
                        self.answer(&format!("a repeated {operation:?}"), &mut call).await
                    && again.as_ref().ok() != Some(&accepted)
                {
                    let what = "is answered otherwise when it is repeated";
                    self.crowd
                        .notes
                        .found(format!("7: {operation:?} {request_id} {what}: {accepted:?}, {again:?}"));
                }
                Answer::Accepted(accepted)
            }
            Some(Err(reason)) => {
                notes.count(&format!("{operation:?}: {}", reason.as_str_name()));
                if !operation.may_be_refused_for().contains(&reason) {
                    notes.found(format!("{operation:?} {request_id} is refused for {reason:?}"));
                }
                if tries > 1 { Answer::MayBeDone } else { Answer::Refused }
            }
            None => Answer::MayBeDone,
        }
    }

    /// Reads until somebody answers.
    pub(super) async fn read<T: Debug>(
        &mut self,
        mut call: impl AsyncFnMut(&mut Client) -> Result<Response<T>, Status>,
    ) -> Option<T> {
        match self.answer("a read", &mut call).await.0? {
            Ok(read) => Some(read),
            Err(reason) => {
                self.crowd.notes.found(format!("a read is refused for {reason:?}"));
                None
            }
        }
    }

    /// What was answered in the end, and how many tries it took.
    async fn answer<T>(
        &mut self,
        what: &str,
        call: &mut impl AsyncFnMut(&mut Client) -> Result<Response<T>, Status>,
    ) -> (Option<Result<T, ErrorReason>>, usize) {
        let began = Instant::now();
        let mut tries = 0_usize;
        loop {
            tries += 1;
            let replica = self.random.random_range(0..self.clients.len());
            let tried = timeout(TRY_TIME_MAX, call(&mut self.clients[replica])).await;
            let answer = match tried {
                Ok(Ok(response)) => Some(Ok(response.into_inner())),
                Ok(Err(status)) => match told(&status) {
                    Told::TryAgain => None,
                    Told::Refused(reason) => Some(Err(reason)),
                    Told::Wrong(wrong) => {
                        self.crowd.notes.found(format!("{what}: {wrong}"));
                        None
                    }
                },
                Err(_) => None,
            };
            if let Some(answer) = answer {
                if tries > 1 {
                    self.crowd.notes.recovered(ANSWERED, began);
                }
                return (Some(answer), tries);
            }
            if began.elapsed() > ANSWER_TIME_MAX {
                self.crowd.notes.found(format!("{what} was never answered, in {tries} tries"));
                return (None, tries);
            }
            sleep(Duration::from_millis(self.random.random_range(PAUSE_MS))).await;
        }
    }

    /// The chat.
    pub(crate) async fn chat(&mut self, chat: &str) -> Option<proto::Chat> {
        let request = proto::GetChatRequest { chat_id: chat.to_owned() };
        self.read(async |client| client.chats.get_chat(request.clone()).await).await?.chat
    }

    /// A page of messages, newest first, and the queue.
    pub(crate) async fn page(&mut self, chat: &str, before_id: i64) -> Option<proto::ListMessagesResponse> {
        let request = proto::ListMessagesRequest {
            chat_id: chat.to_owned(),
            page_size: 200,
            before_id,
            ..Default::default()
        };
        self.read(async |client| client.chats.list_messages(request.clone()).await).await
    }
}
