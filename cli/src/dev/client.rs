//! `dev` as a client of its own control plane, while that starts.

use std::net::SocketAddr;

use chatplane_domain::WorkspaceId;
use chatplane_proto::chat::v1::{ListWorkspacesRequest, Workspace};
use tonic::{
    Status,
    transport::{Channel, Endpoint},
};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use crate::{
    client::connection::{CONNECT_TIME_MAX, ChatClient, with_deadline},
    dev::environment,
};

/// The most that a page may have.
const PAGE_SIZE: i32 = 200;

/// A connection that is made when it is first used, and again when it was lost.
pub(crate) fn channel(address: SocketAddr) -> Channel {
    Endpoint::from_shared(environment::url(address))
        .expect("an address and a port make a URL")
        .connect_timeout(CONNECT_TIME_MAX)
        .connect_lazy()
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
