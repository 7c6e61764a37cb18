//! The gRPC surface: thin handlers, conversions, and the one place that makes statuses.

mod auth;
mod chat_service;
mod convert;
mod convert_peer;
mod convert_worker;
mod deadline;
mod debug;
mod file_service;
mod list_chats;
mod page_token;
mod peer_client;
mod peer_service;
mod settings_service;
mod status;
mod update_chat;
mod watch_chat;
mod watch_chats;
mod worker_service;
mod workspace_service;

use std::time::Duration;

use chatplane_proto::{
    FILE_DESCRIPTOR_SET,
    chat::v1::{
        chat_service_server::ChatServiceServer, file_service_server::FileServiceServer,
        settings_service_server::SettingsServiceServer,
    },
    peer::v1::peer_service_server::PeerServiceServer,
    worker::v1::worker_service_server::WorkerServiceServer,
    workspace::v1::workspace_service_server::WorkspaceServiceServer,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Identity, Server, ServerTlsConfig, server::TcpIncoming};
use tonic_health::{ServingStatus, server::HealthReporter};

use crate::app::App;
use auth::Authenticate;
use chat_service::ChatHandlers;
pub(crate) use deadline::Deadline;
use file_service::FileHandlers;
pub(crate) use peer_client::PeerClient;
use peer_service::PeerHandlers;
use settings_service::SettingsHandlers;
use worker_service::WorkerHandlers;
use workspace_service::WorkspaceHandlers;

/// A peer that is gone without a word is noticed after two of these.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// How long a ping of the transport may go unanswered.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Larger messages are refused by the transport; ours stay under 3 MiB.
const DECODED_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Streams of one connection: a worker has one session and a call per running tool.
const STREAMS_PER_CONNECTION_MAX: u32 = 2048;

/// Streams that may be given up before a paused replica has seen them: as many as a
/// connection has, or a proxy's whole connection would be cut.
const RESET_STREAMS_MAX: usize = STREAMS_PER_CONNECTION_MAX as usize;

/// How the server is reached.
pub(crate) struct Serving {
    pub(crate) listener: TcpListener,
    pub(crate) tls: Option<Identity>,
    /// How long calls may take until their answers begin.
    pub(crate) deadline: Deadline,
    /// Cancelled when the server shall take no more calls and end.
    pub(crate) stop: CancellationToken,
}

/// Answers calls until `stop`, then until open streams have ended.
pub(crate) async fn serve(
    app: App,
    serving: Serving,
    health: &HealthReporter,
) -> Result<(), tonic::transport::Error> {
    let Serving { listener, tls, deadline, stop } = serving;
    let authenticate = Authenticate::new(app.clone());
    let mut server = Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .max_concurrent_streams(Some(STREAMS_PER_CONNECTION_MAX))
        .http2_max_pending_accept_reset_streams(Some(RESET_STREAMS_MAX))
        .layer(deadline)
        .layer(authenticate);
    if let Some(identity) = tls {
        server = server.tls_config(ServerTlsConfig::new().identity(identity))?;
    }
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let health_service = tonic_health::server::HealthService::from_health_reporter(health.clone());
    let router = server
        .add_service(tonic_health::pb::health_server::HealthServer::new(health_service))
        .add_service(reflection().build_v1().expect("the descriptors were compiled with this program"))
        .add_service(reflection().build_v1alpha().expect("the descriptors were compiled with this program"))
        .add_service(
            ChatServiceServer::new(ChatHandlers::new(app.clone()))
                .max_decoding_message_size(DECODED_BYTES_MAX),
        )
        .add_service(
            FileServiceServer::new(FileHandlers::new(app.clone()))
                .max_decoding_message_size(DECODED_BYTES_MAX),
        )
        .add_service(
            SettingsServiceServer::new(SettingsHandlers::new(app.clone()))
                .max_decoding_message_size(DECODED_BYTES_MAX),
        )
        .add_service(
            PeerServiceServer::new(PeerHandlers::new(app.clone()))
                .max_decoding_message_size(DECODED_BYTES_MAX),
        )
        .add_service(
            WorkerServiceServer::new(WorkerHandlers::new(app.clone()))
                .max_decoding_message_size(DECODED_BYTES_MAX),
        )
        .add_service(
            WorkspaceServiceServer::new(WorkspaceHandlers::new(app))
                .max_decoding_message_size(DECODED_BYTES_MAX),
        );
    // Answers and parts are small and awaited: none may wait for the one before it to be acknowledged.
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    router.serve_with_incoming_shutdown(incoming, stop.cancelled_owned()).await
}

/// Says whether this replica takes calls. The overall service is "".
pub(crate) async fn set_health(health: &HealthReporter, status: ServingStatus) {
    health.set_service_status("", status).await;
    health.set_service_status("chatplane.chat.v1.ChatService", status).await;
    health.set_service_status("chatplane.chat.v1.FileService", status).await;
    health.set_service_status("chatplane.chat.v1.SettingsService", status).await;
    health.set_service_status("chatplane.peer.v1.PeerService", status).await;
    health.set_service_status("chatplane.worker.v1.WorkerService", status).await;
    health.set_service_status("chatplane.workspace.v1.WorkspaceService", status).await;
}
