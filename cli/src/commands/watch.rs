//! `chatplane watch`: what happens in a chat, as it happens.

use chatplane_proto::chat::v1::WatchChatRequest;
use tokio::select;

use super::{CommandError, chats::chosen, credentials, observation::Observation, report};
use crate::{
    arguments::client::Watch,
    client::{
        ClientError,
        exchange::Format,
        transcript::Outcome,
        words::{self, Advice},
    },
    exit::Exit,
    signals::Signals,
};

/// Prints a chat until it is stopped.
pub(crate) async fn watch(watch: Watch, signals: &Signals) -> Exit {
    report("watch", run(watch, signals)).await
}

async fn run(watch: Watch, signals: &Signals) -> Result<Exit, CommandError> {
    let chat_id = chosen(watch.chat.chat, &watch.connection, &watch.output, "", signals).await?;
    let client = credentials::client(&watch.connection)?;
    let format = watch.output.format();
    let request = WatchChatRequest {
        chat_id,
        cursor: watch.cursor.unwrap_or_default(),
        history_limit: Some(watch.history),
    };
    let mut observation = Observation::begin(client, request, format);
    let shutdown = signals.shutdown();
    loop {
        let outcome = select! {
            outcome = observation.next_picture() => outcome?,
            () = shutdown.cancelled() => {
                let _ = observation.printer().end_line().await;
                return Err(ClientError::Interrupted.into());
            }
        };
        if format == Format::Text {
            tell(&mut observation, outcome).await?;
        }
    }
}

async fn tell(observation: &mut Observation, outcome: Option<Outcome>) -> Result<(), CommandError> {
    let Some(outcome) = outcome else { return Ok(()) };
    observation.printer().end_line().await.map_err(ClientError::Output)?;
    match outcome {
        Outcome::Answered => {}
        Outcome::Interrupted => observation.printer().note(words::INTERRUPTED).await,
        Outcome::Failed(error) => {
            observation.printer().note(&words::failure(&error, Advice::Operator)).await;
        }
    }
    Ok(())
}
