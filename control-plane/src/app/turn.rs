//! Reading a turn for its lease holder.

use chatplane_domain::{
    Chat, ChatError, ChatId, Command, Context, ErrorKind, HolderCommand, HolderWrite, MessageId, SessionId,
    WriteHeader, decide,
};
use futures::{Stream, StreamExt, TryStreamExt, future, stream};

use super::{App, Error, chain};
use crate::{
    authz::{self, Action, Actor, Resource},
    scheduler::{LeaseKey, ModelConfig, SettingsMark, Turn, TurnHeader, TurnInput, TurnModel},
    store::{self, Ask, MessageView, TurnBounds},
};

/// A piece of a turn's input has at most this many bytes of content, or one message. The
/// store bounds its messages too.
const PIECE_BYTES_MAX: i64 = 1024 * 1024;

/// Asks for a turn's input.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GetTurn {
    /// The session that holds the lease.
    pub(crate) session: SessionId,
    /// The lease.
    pub(crate) key: LeaseKey,
    /// Only messages with a higher revision.
    pub(crate) after_revision: i64,
}

/// A piece of a turn's input.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum TurnPiece {
    /// First: everything but the messages.
    Header(Box<TurnHeader>),
    /// Messages with this id or a higher one that the caller may hold are gone.
    DeletedFrom(MessageId),
    /// Messages in order.
    Messages(Vec<MessageView>),
}

/// A turn that was read, with the mark of the settings it was read with.
#[derive(Debug)]
pub(crate) struct ReadTurn {
    pub(crate) turn: Box<Turn>,
    pub(crate) settings: SettingsMark,
}

/// Why there is no turn to hand out.
#[derive(Debug)]
pub(crate) enum NoTurn {
    /// The lease has ended.
    LeaseLost,
    /// It could not be read now.
    Failed(Error),
}

impl From<NoTurn> for Error {
    fn from(none: NoTurn) -> Self {
        match none {
            NoTurn::LeaseLost => Self::LeaseLost,
            NoTurn::Failed(error) => error,
        }
    }
}

impl App {
    /// Makes a lease's turn from what was read with it, or reads it.
    pub(crate) async fn turn_of(
        &self,
        session: SessionId,
        key: LeaseKey,
        prepared: Option<Box<TurnInput>>,
    ) -> Result<ReadTurn, NoTurn> {
        let input = match prepared {
            Some(input) => *input,
            None => self.turn_input(session, key, Some(self.inner.limits.lease_input_bytes_max)).await?,
        };
        let model = self.model_or_fail(session, key, &input.chat).await?;
        Ok(ReadTurn { settings: input.settings_mark(), turn: Box::new(input.turn(key, model)) })
    }

    /// Streams a turn's input to the holder of its lease.
    ///
    /// # Errors
    ///
    /// `LeaseLost`; in the stream `Superseded`, when the history changes while it is read.
    pub(crate) async fn get_turn(
        &self,
        actor: &Actor,
        get: GetTurn,
    ) -> Result<impl Stream<Item = Result<TurnPiece, Error>> + Send + use<>, Error> {
        authz::may(actor, Action::Dispatch, Resource::Deployment).map_err(Error::chat_denied)?;
        let GetTurn { session, key, after_revision } = get;
        // What is small comes with the header's own statement.
        let bytes_max = (after_revision == 0).then_some(PIECE_BYTES_MAX);
        let mut input = self.turn_input(session, key, bytes_max).await?;
        let model = self.model_or_fail(session, key, &input.chat).await?;
        let mut first = vec![TurnPiece::Header(Box::new(input.header(model)))];
        let rest = match input.messages.take() {
            Some(messages) => {
                first.push(TurnPiece::Messages(messages));
                None
            }
            None => {
                let resent_from = match after_revision {
                    0 => None,
                    _ => self.inner.store.deleted_from(key.chat, after_revision).await?,
                };
                first.extend(resent_from.map(TurnPiece::DeletedFrom));
                let bounds = TurnBounds {
                    chat: key.chat,
                    fence: key.fence,
                    session,
                    history_version: input.chat.versions.history,
                    after_revision,
                    resent_from,
                };
                Some(self.clone().turn_pages(bounds))
            }
        };
        let rest = stream::iter(rest).flatten();
        Ok(stream::iter(first.into_iter().map(Ok)).chain(rest))
    }

    fn turn_pages(self, bounds: TurnBounds) -> impl Stream<Item = Result<TurnPiece, Error>> + Send {
        let first = Some(MessageId(0));
        let pages = stream::try_unfold((self, first), move |(app, after)| async move {
            let Some(after) = after else { return Ok(None) };
            let page = match app.inner.store.turn_page(bounds, after, PIECE_BYTES_MAX).await {
                Ok(page) => page,
                Err(error) => {
                    let key = LeaseKey { chat: bounds.chat, fence: bounds.fence };
                    return Err(app.not_read(bounds.session, key, error).await.into());
                }
            };
            // Whether the lease or only the history went, asking again will tell.
            let page = page.ok_or(Error::Superseded)?;
            let last = page.messages.last().map(|message| message.id);
            let next = last.filter(|_| !page.is_last);
            Ok::<_, Error>(Some((page.messages, (app, next))))
        });
        pages.try_filter(|messages| future::ready(!messages.is_empty())).map_ok(TurnPiece::Messages)
    }

    /// What a turn is made from, as of one version in which the lease still lives.
    async fn turn_input(
        &self,
        session: SessionId,
        key: LeaseKey,
        bytes_max: Option<i64>,
    ) -> Result<TurnInput, NoTurn> {
        let ask = Ask { turn_bytes_max: bytes_max, for_holder: true, ..Ask::default() };
        let snapshot = match self.inner.store.read(key.chat, &ask).await {
            Ok(snapshot) => snapshot.ok_or(NoTurn::LeaseLost)?,
            Err(error) => return Err(self.not_read(session, key, error).await),
        };
        let input = TurnInput::read(snapshot);
        if input.is_leased(session, key.fence) { Ok(input) } else { Err(NoTurn::LeaseLost) }
    }

    /// Ends a turn whose history this release does not understand: reading it again would
    /// not help. Whatever else went wrong may pass.
    async fn not_read(&self, session: SessionId, key: LeaseKey, cause: store::Error) -> NoTurn {
        match cause {
            store::Error::ContentVersion { .. }
            | store::Error::ContentMalformed
            | store::Error::RowInvalid => {}
            store::Error::Unavailable(_)
            | store::Error::NameTaken
            | store::Error::Unusable(_)
            | store::Error::Sql(_)
            | store::Error::Migrate(_) => return NoTurn::Failed(cause.into()),
        }
        let cause = chain(&cause);
        tracing::error!(chat_id = %key.chat, %cause, "a turn ended because its history cannot be read");
        let error = ChatError {
            kind: ErrorKind::Internal,
            message: "The chat's history cannot be read; the control plane's log says why.".to_owned(),
            detail: String::new(),
            provider: String::new(),
            status_code: None,
            retryable: false,
        };
        match self.fail_lease(session, key, error).await {
            Ok(()) => NoTurn::LeaseLost,
            Err(error) => NoTurn::Failed(error),
        }
    }

    /// The model of a leased chat. A lease that cannot be built ends the turn with an
    /// error that says what is missing, or it would be tried for ever.
    async fn model_or_fail(
        &self,
        session: SessionId,
        key: LeaseKey,
        chat: &Chat,
    ) -> Result<TurnModel, NoTurn> {
        match self.turn_model(chat).await {
            Ok(Ok(model)) => Ok(model),
            Ok(Err(unusable)) => {
                tracing::warn!(chat_id = %key.chat, "a turn ended because its model cannot be used");
                self.fail_lease(session, key, unusable).await.map_err(NoTurn::Failed)?;
                Err(NoTurn::LeaseLost)
            }
            Err(error) => Err(NoTurn::Failed(error)),
        }
    }

    /// The model of a chat with its key, or what to tell the user when there is none.
    pub(crate) async fn turn_model(&self, chat: &Chat) -> Result<Result<TurnModel, ChatError>, Error> {
        let name = &chat.settings.model;
        let row = match self.model(chat.organization, Some(name)).await {
            Ok(row) => row,
            Err(Error::ModelNotFound) => {
                let sentence = format!("The model {name} is gone; choose another one for the next message.");
                return Ok(Err(unusable(sentence, String::new())));
            }
            Err(error) => return Err(error),
        };
        let Some(key) = self.inner.models.key(&row) else {
            let sentence = format!(
                "The control plane has no key for the model {name}; ask its operator to give it one."
            );
            return Ok(Err(unusable(sentence, row.provider)));
        };
        let config = ModelConfig::of(row.clone(), key.to_owned());
        Ok(Ok(TurnModel { config, row }))
    }

    /// Ends a turn in its holder's name: a worker cannot, which was never told of it.
    async fn fail_lease(&self, session: SessionId, key: LeaseKey, error: ChatError) -> Result<(), Error> {
        let command = |chat: &Chat| {
            let last_write = chat.last_lease.as_ref().and_then(|lease| lease.last_write);
            let header = WriteHeader {
                session,
                fence: key.fence,
                write_no: last_write.map_or(0, |write| write.write_no) + 1,
                history_version: chat.versions.history,
            };
            Command::Holder(HolderCommand { header, write: HolderWrite::Fail(error.clone()) })
        };
        match self.act(key.chat, command).await {
            // It went on without us: nothing is left to end.
            Ok(_) | Err(Error::LeaseLost | Error::ChatNotFound) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// A command of the control plane itself, with its effects.
    pub(crate) async fn act(&self, chat: ChatId, command: impl Fn(&Chat) -> Command) -> Result<(), Error> {
        let queue_max = self.inner.limits.queue_max;
        let transacted = self
            .inner
            .store
            .transact(
                chat,
                &Ask::default(),
                |_| Ok(()),
                |snapshot| {
                    let context = Context { now: snapshot.now, queue_max, lease_offer: None };
                    Ok::<_, Error>(decide(&snapshot.chat, command(&snapshot.chat), context)?)
                },
            )
            .await?;
        if let store::Transacted::Applied(applied) = transacted {
            self.after_commit(&applied, None).await;
        }
        Ok(())
    }
}

fn unusable(message: String, provider: String) -> ChatError {
    ChatError {
        kind: ErrorKind::ModelUnusable,
        message,
        detail: String::new(),
        provider,
        status_code: None,
        retryable: false,
    }
}
