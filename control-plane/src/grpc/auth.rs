//! Turns the bearer token of a call into an `Actor`, or refuses the call.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use http::{Request, Response};
use tonic::{Status, body::Body, server::NamedService};
use tower::{Layer, Service};

use super::status;
use crate::{
    app::{App, Error},
    authz::{self, Action, Actor, Resource},
};

/// Calls that need no token: health and reflection.
const ANONYMOUS: [&str; 2] = ["/grpc.health.v1.Health/", "/grpc.reflection."];

/// Adds authentication to a service.
#[derive(Clone)]
pub(crate) struct Authenticate {
    app: App,
}

impl Authenticate {
    pub(crate) fn new(app: App) -> Self {
        Self { app }
    }
}

impl<S> Layer<S> for Authenticate {
    type Service = Authenticated<S>;

    fn layer(&self, inner: S) -> Authenticated<S> {
        Authenticated { app: self.app.clone(), inner }
    }
}

/// A service whose calls carry an `Actor`.
#[derive(Clone)]
pub(crate) struct Authenticated<S> {
    app: App,
    inner: S,
}

impl<S: NamedService> NamedService for Authenticated<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<Request<Body>> for Authenticated<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        // The clone takes the place of the service that is ready, as tower asks.
        let next = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, next);
        let app = self.app.clone();
        Box::pin(async move {
            let path = request.uri().path();
            if ANONYMOUS.iter().any(|prefix| path.starts_with(prefix)) {
                return inner.call(request).await.map(status::with_sentence);
            }
            let action = action_of(path);
            let token = bearer(&request);
            match enter(&app, action, token.as_deref()).await {
                Ok(actor) => {
                    request.extensions_mut().insert(actor);
                    inner.call(request).await.map(status::with_reason)
                }
                Err(error) => Ok(Status::from(error).into_http()),
            }
        })
    }
}

fn bearer(request: &Request<Body>) -> Option<String> {
    let header = request.headers().get(http::header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = header.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then(|| token.to_owned())
}

/// Who calls, if they may call this method at all. What they may do it to is asked
/// again where the resource is known.
async fn enter(app: &App, action: Option<Action>, token: Option<&str>) -> Result<Actor, Error> {
    let missing = Error::CredentialsInvalid("send a token as `authorization: Bearer TOKEN` metadata");
    let actor = app.authenticate(token.ok_or(missing)?).await?;
    if let Some(action) = action {
        authz::may(&actor, action, Resource::Deployment).map_err(Error::chat_denied)?;
    }
    Ok(actor)
}

/// The action that an RPC names. A method that is none of ours gets UNIMPLEMENTED
/// behind the door.
fn action_of(path: &str) -> Option<Action> {
    let (service, method) = path.strip_prefix("/chatplane.")?.split_once('/')?;
    match (service, method) {
        ("chat.v1.ChatService", method) => chat_action(method),
        ("chat.v1.FileService", method) => file_action(method),
        ("chat.v1.SettingsService", method) => settings_action(method),
        ("peer.v1.PeerService", _) => Some(Action::Peer),
        ("worker.v1.WorkerService", _) => Some(Action::Dispatch),
        ("workspace.v1.WorkspaceService", _) => Some(Action::AttachWorkspace),
        _ => None,
    }
}

fn chat_action(method: &str) -> Option<Action> {
    match method {
        // A fork also needs its source to be readable, which is asked where the source is known.
        "CreateChat" | "ForkChat" => Some(Action::CreateChat),
        "GetChat"
        | "ListChats"
        | "ListChatsByWorkspace"
        | "ListMessages"
        | "ListPrompts"
        | "ListQueuedMessages"
        | "MarkRead"
        | "WatchChat"
        | "WatchChats"
        | "ListDebugRuns"
        | "GetDebugRun" => Some(Action::ReadChat),
        "SendMessage"
        | "InterruptChat"
        | "EditMessage"
        | "ConfigureChat"
        | "SubmitToolResults"
        | "CompactChat"
        | "ClearContext"
        | "EditQueuedMessage"
        | "DeleteQueuedMessage"
        | "PromoteQueuedMessage"
        | "MoveQueuedMessage"
        | "RegenerateTitle"
        | "ArchiveChat"
        | "UnarchiveChat"
        | "UpdateChat" => Some(Action::WriteChat),
        "ListModels" => Some(Action::ListModels),
        "ListWorkspaces" => Some(Action::ListWorkspaces),
        _ => None,
    }
}

fn file_action(method: &str) -> Option<Action> {
    match method {
        "UploadFile" => Some(Action::CreateFile),
        "GetFile" | "DownloadFile" => Some(Action::ReadFile),
        _ => None,
    }
}

fn settings_action(method: &str) -> Option<Action> {
    match method {
        "GetDeploymentPrompt"
        | "GetUserInstructions"
        | "ListCompactionThresholds"
        | "GetRetention"
        | "GetDebugRecording" => Some(Action::ReadSettings),
        "UpdateDeploymentPrompt" => Some(Action::WriteDeploymentPrompt),
        "UpdateRetention" => Some(Action::WriteRetention),
        // Whether the policy may be changed, too, is asked where it is known that it shall be.
        "UpdateUserInstructions"
        | "SetCompactionThreshold"
        | "DeleteCompactionThreshold"
        | "UpdateDebugRecording" => Some(Action::WriteSettings),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use chatplane_proto::FILE_DESCRIPTOR_SET;
    use prost::Message;
    use prost_types::FileDescriptorSet;

    use super::*;

    #[test]
    fn every_rpc_names_its_action() {
        let set = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).expect("the descriptors are well formed");
        let mut methods = 0;
        for file in &set.file {
            for service in &file.service {
                for method in &service.method {
                    let path = format!("/{}.{}/{}", file.package(), service.name(), method.name());
                    assert!(action_of(&path).is_some(), "{path} names no action");
                    methods += 1;
                }
            }
        }
        assert!(methods > 20);
    }
}
