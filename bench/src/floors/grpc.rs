//! A unary call and a streamed message over loopback.

use std::time::{Duration, Instant};

use tokio::{net::TcpListener, time::sleep};
use tokio_util::task::AbortOnDropHandle;
use tonic::transport::{Channel, Endpoint, Server, server::TcpIncoming};
use tonic_health::{
    ServingStatus,
    pb::{HealthCheckRequest, health_client::HealthClient, health_server::HealthServer},
    server::{HealthReporter, HealthService},
};

use crate::{
    bench::Bench,
    error::{Error, OrFailed as _, Result},
    samples::median,
    wait::{in_time, milliseconds},
};

/// Between two streamed messages: a paced stream is what is compared with.
const MESSAGE_EVERY: Duration = Duration::from_millis(2);
const SERVICE: &str = "floor";

/// The median round trip of a trivial call to the very server that is measured, one at a
/// time, in milliseconds.
pub(crate) async fn unary_ms(bench: &Bench<'_>, channel: Channel) -> Result<f64> {
    let mut client = HealthClient::new(channel);
    let mut times = Vec::with_capacity(bench.scale.floor_events);
    for number in 0..bench.scale.warm_up + bench.scale.floor_events {
        let start = Instant::now();
        client.check(HealthCheckRequest::default()).await.or_failed("ask for health")?;
        if number >= bench.scale.warm_up {
            times.push(milliseconds(start.elapsed()));
        }
    }
    median(times).ok_or_else(|| Error::wrong("nothing was called"))
}

/// The median time of a paced message on a server's stream, one way, in milliseconds.
/// The server is a bare one in this process.
pub(crate) async fn streamed_ms(bench: &Bench<'_>) -> Result<f64> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.or_failed("listen")?;
    let address = listener.local_addr().or_failed("listen")?;
    let reporter = HealthReporter::new();
    reporter.set_service_status(SERVICE, ServingStatus::Serving).await;
    let _serving = serve_health(listener, &reporter);
    let endpoint = Endpoint::from_shared(format!("http://{address}")).or_failed("make a URL")?;
    let channel = endpoint.connect().await.or_failed("connect")?;
    let request = HealthCheckRequest { service: SERVICE.to_owned() };
    let watched = HealthClient::new(channel).watch(request).await.or_failed("watch health")?;
    let mut stream = watched.into_inner();
    let mut times = Vec::with_capacity(bench.scale.floor_events);
    in_time("a first message", stream.message()).await?.or_failed("watch health")?;
    for number in 0..bench.scale.warm_up + bench.scale.floor_events {
        sleep(MESSAGE_EVERY).await;
        let next = if number % 2 == 0 { ServingStatus::NotServing } else { ServingStatus::Serving };
        let start = Instant::now();
        reporter.set_service_status(SERVICE, next).await;
        in_time("a message", stream.message()).await?.or_failed("watch health")?;
        if number >= bench.scale.warm_up {
            times.push(milliseconds(start.elapsed()));
        }
    }
    median(times).ok_or_else(|| Error::wrong("nothing was streamed"))
}

/// A bare server. It ends when the handle is dropped.
pub(crate) fn serve_health(listener: TcpListener, reporter: &HealthReporter) -> AbortOnDropHandle<()> {
    let service = HealthServer::new(HealthService::from_health_reporter(reporter.clone()));
    // The server's own setting of the same name does not reach a socket that it is given.
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let server = Server::builder().add_service(service);
    AbortOnDropHandle::new(tokio::spawn(async move {
        // Where it fails, its client says so.
        let _ = server.serve_with_incoming(incoming).await;
    }))
}
