//! What an autoscaler and an operator look at: gauges for Prometheus, on a listener of their own.
//!
//! They are of this replica, but for what waits: that is of the database, and the same on each.

use std::net::SocketAddr;

use futures::future::BoxFuture;
use metrics::{Gauge, Key, KeyName, Level, Metadata, Recorder as _, SharedString, Unit};
use metrics_exporter_prometheus::{BuildError, ExporterFuture, PrometheusBuilder, PrometheusRecorder};

/// The gauges of a replica.
pub(crate) struct Metrics {
    /// Chats that wait for a worker.
    pub(crate) runnable_chats: Gauge,
    /// How long the one that waits longest has waited, in seconds.
    pub(crate) runnable_oldest_wait: Gauge,
    /// Workers that are connected to this replica.
    pub(crate) sessions: Gauge,
    /// Chats that these can run at a time.
    pub(crate) slots: Gauge,
    /// How many of those could be taken now.
    pub(crate) slots_free: Gauge,
}

/// Answers whoever asks for the gauges, until it is dropped. Ends only when its socket fails.
pub(crate) type Exporter = BoxFuture<'static, ()>;

impl Metrics {
    /// Gauges, and what serves them at `http://ADDRESS/metrics`.
    ///
    /// # Errors
    ///
    /// The address cannot be listened on.
    pub(crate) fn listen(address: SocketAddr) -> Result<(Self, Exporter), BuildError> {
        let (recorder, exporter): (PrometheusRecorder, ExporterFuture) =
            PrometheusBuilder::new().with_http_listener(address).build()?;
        let metrics = Self::of(&recorder);
        let exporter = async move {
            if exporter.await.is_err() {
                tracing::error!("the metrics' listener has failed; restart the replica to have them again");
            }
            // The gauges write into what the recorder keeps.
            drop(recorder);
        };
        Ok((metrics, Box::pin(exporter)))
    }

    fn of(recorder: &PrometheusRecorder) -> Self {
        let gauge = |name: &'static str, unit: Unit, description: &'static str| {
            let name = KeyName::from_const_str(name);
            recorder.describe_gauge(name.clone(), Some(unit), SharedString::const_str(description));
            let metadata = Metadata::new(module_path!(), Level::INFO, None);
            recorder.register_gauge(&Key::from_name(name), &metadata)
        };
        Self {
            runnable_chats: gauge(
                "chatplane_runnable_chats",
                Unit::Count,
                "Chats that wait for a worker and for no cap, of the whole deployment; the first 100000 are looked at.",
            ),
            runnable_oldest_wait: gauge(
                "chatplane_runnable_oldest_wait_seconds",
                Unit::Seconds,
                "How long the chat has waited that waits longest, of the whole deployment; 0 if none does.",
            ),
            sessions: gauge("chatplane_sessions", Unit::Count, "Workers that are connected to this replica."),
            slots: gauge(
                "chatplane_slots",
                Unit::Count,
                "Chats that the workers connected to this replica can run at a time.",
            ),
            slots_free: gauge(
                "chatplane_slots_free",
                Unit::Count,
                "Chats that the workers connected to this replica could take now.",
            ),
        }
    }
}
