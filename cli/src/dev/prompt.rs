//! The one turn of `--prompt`.

use chatplane_domain::WorkspaceId;
use chatplane_proto::chat::v1::CreateChatRequest;
use tokio::select;
use tokio_util::sync::CancellationToken;

use crate::{
    client::{
        connection::{ChatClient, new_request_id},
        exchange::{Delivery, End, Exchange, Format},
        text,
        transcript::Outcome,
        words::{self, Advice},
    },
    dev::{DevError, stack::Stack},
    exit::{Exit, say},
};

/// What is asked, and of whom.
pub(crate) struct Prompt {
    pub(crate) client: ChatClient,
    pub(crate) workspace: WorkspaceId,
    pub(crate) advice: Advice,
    pub(crate) text: String,
}

/// Runs the prompt to the end of its turn.
pub(crate) async fn answer(
    prompt: Prompt,
    stack: &mut Stack,
    shutdown: &CancellationToken,
) -> Result<Exit, DevError> {
    let Prompt { client, workspace, advice, text } = prompt;
    let delivery = Delivery::New(CreateChatRequest {
        request_id: new_request_id(),
        parts: text::parts(text),
        workspace_id: workspace.to_string(),
        ..Default::default()
    });
    let mut exchange = Exchange::new(client, delivery, advice, Format::Text);
    let never = CancellationToken::new();
    let result = select! {
        end = exchange.run(&never) => end.map_err(DevError::from),
        () = shutdown.cancelled() => Err(DevError::Interrupted),
        error = stack.failed() => Err(error),
    };
    match result {
        Ok(End::Turn(Outcome::Answered)) => Ok(Exit::Done),
        Ok(End::Turn(Outcome::Failed(error))) => {
            say(&words::failure(&error, advice));
            Ok(Exit::ChatFailed)
        }
        // Nobody else has the token, but a person may have copied it.
        Ok(End::Turn(Outcome::Interrupted)) => {
            say(words::INTERRUPTED);
            Ok(Exit::ChatFailed)
        }
        Ok(End::Removed) => {
            say(words::REMOVED);
            Ok(Exit::ChatFailed)
        }
        Err(error) => {
            exchange.abandon().await;
            Err(error)
        }
    }
}
