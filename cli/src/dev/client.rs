//! `dev` as a client of its own control plane.

use std::{net::SocketAddr, time::Duration};

use chatplane_domain::WorkspaceId;
use chatplane_proto::chat::v1::{ListWorkspacesRequest, Workspace, chat_service_client::ChatServiceClient};
use tonic::{
    Code, Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, Endpoint},
};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use crate::dev::environment;

/// A request on this machine that takes longer is taken for lost.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(10);
const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);
/// The most that a page may have.
const PAGE_SIZE: i32 = 200;

/// The client of `ChatService`, which sends the user's token.
pub(crate) type ChatClient = ChatServiceClient<InterceptedService<Channel, Bearer>>;

/// A connection that is made when it is first used, and again when it was lost.
pub(crate) fn channel(address: SocketAddr) -> Channel {
    Endpoint::from_shared(environment::url(address))
        .expect("an address and a port make a URL")
        .connect_timeout(CONNECT_TIME_MAX)
        .connect_lazy()
}

/// The client of a user.
pub(crate) fn chat_client(channel: Channel, user_token: &str) -> Result<ChatClient, Status> {
    Ok(ChatServiceClient::with_interceptor(channel, Bearer::new(user_token)?))
}

/// Adds the token to every request.
#[derive(Clone)]
pub(crate) struct Bearer(MetadataValue<Ascii>);

impl Bearer {
    fn new(token: &str) -> Result<Self, Status> {
        let mut value = MetadataValue::try_from(format!("Bearer {token}"))
            .map_err(|_| Status::new(Code::Unauthenticated, "the kept token is damaged"))?;
        value.set_sensitive(true);
        Ok(Self(value))
    }
}

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("authorization", self.0.clone());
        Ok(request)
    }
}

/// A request with the deadline of ordinary calls.
pub(crate) fn with_deadline<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(REQUEST_TIME_MAX);
    request
}

/// Whether the control plane says that it serves.
pub(crate) async fn is_serving(channel: Channel) -> bool {
    let request = with_deadline(HealthCheckRequest { service: String::new() });
    match HealthClient::new(channel).check(request).await {
        Ok(reply) => reply.into_inner().status() == ServingStatus::Serving,
        Err(_) => false,
    }
}

/// The workspace, if the user has it.
pub(crate) async fn find_workspace(
    client: &mut ChatClient,
    id: WorkspaceId,
) -> Result<Option<Workspace>, Status> {
    let id = id.to_string();
    let mut page_token = String::new();
    loop {
        let request = ListWorkspacesRequest { page_size: PAGE_SIZE, page_token };
        let page = client.list_workspaces(with_deadline(request)).await?.into_inner();
        if let Some(found) = page.workspaces.into_iter().find(|workspace| workspace.workspace_id == id) {
            return Ok(Some(found));
        }
        if page.next_page_token.is_empty() {
            return Ok(None);
        }
        page_token = page.next_page_token;
    }
}
