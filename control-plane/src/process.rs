//! A replica's life: connect, serve, and leave in two acts.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use chatplane_domain::ReplicaId;
use futures::{FutureExt as _, future};
use tokio::{
    net::TcpListener,
    time::{self, Instant},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use tonic_health::{ServingStatus, server::HealthReporter};
use uuid::Uuid;

use crate::{
    app::{App, AppParts},
    config::{Config, ConfigError},
    grpc::{self, Deadline, PeerClient, Serving},
    limits::Limits,
    metrics::Metrics,
    peers::{Peers, PeersParts, Transport},
    pubsub::{Hub, Wire},
    relay::Relay,
    scheduler::{Scheduler, SchedulerLimits},
    store::{self, DEFAULT_ORGANIZATION, Store},
};

/// Tasks have this long to end, also where calls have used up the time to drain.
const LAST_MOMENT: Duration = Duration::from_secs(1);

/// Why a replica ended.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A setting cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The database cannot be used.
    #[error("the database cannot be used, check --database-url (CHATPLANE_DATABASE_URL)")]
    Store(#[from] store::Error),
    /// The metrics' address cannot be used.
    #[error("{0} cannot be listened on, check --metrics-listen (CHATPLANE_METRICS_LISTEN)")]
    Metrics(SocketAddr),
    /// The socket cannot be used.
    #[error("the socket cannot be used")]
    Socket(#[source] io::Error),
    /// The server failed.
    #[error("the server failed")]
    Transport(#[from] tonic::transport::Error),
}

/// Runs a replica on a socket that the caller owns, until `shutdown`.
///
/// # Errors
///
/// What kept it from starting, or ended it.
pub async fn run(config: Config, listener: TcpListener, shutdown: CancellationToken) -> Result<(), RunError> {
    let limits = Limits {
        queue_max: usize::from(config.queue_max),
        file_bytes_max: config.file_bytes_max as usize,
        files_per_chat_max: usize::from(config.files_per_chat_max),
        caps: config.caps(),
        drain: Duration::from_secs(config.drain_timeout),
        ..Limits::default()
    };
    let scheduler = SchedulerLimits {
        close_grace: Duration::from_millis(config.session_grace_ms),
        ..SchedulerLimits::default()
    };
    run_with(config, limits, scheduler, listener, shutdown).await
}

/// As `run`, with limits that tests shorten.
///
/// # Errors
///
/// What kept it from starting, or ended it.
pub async fn run_with(
    config: Config,
    limits: Limits,
    scheduler_limits: SchedulerLimits,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> Result<(), RunError> {
    let address = listener.local_addr().map_err(RunError::Socket)?;
    let tls = config.identity(address)?;
    let model = config.model()?;
    let replica = ReplicaId(Uuid::now_v7());
    let (hub, relay) = (Hub::default(), Relay::default());
    let (peers, peer_client) = peers(&config, replica, &relay, &hub)?;
    let store = Store::connect(config.database(&limits)).await?;
    let listener_url = config.listener_database_url();
    let hints = config.hints()?;
    Store::migrate(listener_url).await?;
    store.begin_bucket().await?;
    if let Some(model) = &model {
        store.put_model(DEFAULT_ORGANIZATION, model).await?;
    }
    let streams_end = CancellationToken::new();
    let (drain, deadline) = (limits.drain, Deadline::new(&limits));
    let app = App::new(AppParts {
        replica,
        store: store.clone(),
        hub: hub.clone(),
        relay,
        peers,
        peer_tools: Some(peer_client),
        scheduler: Scheduler::new(scheduler_limits),
        credentials: config.credentials(),
        limits,
        titles: config.titles(),
        shutdown: streams_end.clone(),
    });
    let (metrics, exporter) = match config.metrics_listen {
        Some(address) => {
            let (metrics, exporter) = Metrics::listen(address).map_err(|_| RunError::Metrics(address))?;
            (Some(metrics), exporter)
        }
        None => (None, future::pending().boxed()),
    };
    let _exporter = AbortOnDropHandle::new(tokio::spawn(exporter));
    let wire = Wire { replica, hub, target: hints };
    let background = app.start_background(wire, metrics);
    let health = HealthReporter::new();
    grpc::set_health(&health, ServingStatus::Serving).await;
    let stop = CancellationToken::new();
    tracing::info!(%address, replica = %replica, "the control plane takes calls");
    let serving = Serving { listener, tls, deadline, stop: stop.clone() };
    let serve = grpc::serve(app.clone(), serving, &health);
    tokio::pin!(serve);
    let (served, leave_by) = tokio::select! {
        served = &mut serve => (served, Instant::now() + drain),
        () = shutdown.cancelled() => {
            let leave_by = Instant::now() + drain;
            // First act: nobody is sent here any more, workers are asked to leave, streams end.
            grpc::set_health(&health, ServingStatus::NotServing).await;
            app.drain();
            streams_end.cancel();
            stop.cancel();
            // Second act: what is open gets a moment.
            let served = time::timeout_at(leave_by, &mut serve).await.unwrap_or_else(|_| {
                tracing::warn!("calls were still open when the drain timeout ended");
                Ok(())
            });
            (served, leave_by)
        }
    };
    streams_end.cancel();
    background.stop(leave_by.max(Instant::now() + LAST_MOMENT)).await;
    // It has a deadline of its own: connections may be silent for ever.
    store.close().await;
    tracing::info!("the control plane has stopped");
    Ok(served?)
}

/// The other replicas, and how they are reached.
fn peers(
    config: &Config,
    own: ReplicaId,
    relay: &Relay,
    hub: &Hub,
) -> Result<(Peers, Arc<PeerClient>), ConfigError> {
    let address = config.advertise()?;
    let client = Arc::new(PeerClient::new(config.peer_ca_cert()?.as_deref(), config.allow_plaintext));
    let transport: Arc<dyn Transport> = client.clone();
    let (relay, hub) = (relay.clone(), hub.clone());
    Ok((Peers::new(PeersParts { own, address, transport: Some(transport), relay, hub }), client))
}
