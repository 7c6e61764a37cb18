//! A replica in this process, which sweeps all the time.

use std::{net::SocketAddr, time::Duration};

use chatplane_control_plane::{Config, Limits, RunError, SchedulerLimits, run_with};
use chatplane_tests::Database;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

/// A running replica.
pub(crate) struct Replica {
    address: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<Result<(), RunError>>,
}

impl Replica {
    /// One that keeps to these limits, but for how often it sweeps and how long it takes to stop.
    pub(crate) async fn start(database: &Database, limits: Limits) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port is free");
        let address = listener.local_addr().expect("it is bound");
        let limits = Limits {
            drain: Duration::from_secs(2),
            retention_sweep_interval: Duration::from_millis(50),
            ..limits
        };
        let stop = CancellationToken::new();
        let running =
            run_with(config(database, address), limits, SchedulerLimits::default(), listener, stop.clone());
        let task = tokio::spawn(async move {
            // A test that waits for a replica that did not start would say nothing of why.
            running.await.inspect_err(|error| eprintln!("the replica ended: {error:?}"))
        });
        Self { address, stop, task }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Stops, and waits until it has.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.task.await.expect("it does not panic").expect("it stops in order");
    }
}

fn config(database: &Database, address: SocketAddr) -> Config {
    Config {
        listen: address,
        database_url: database.url().to_owned(),
        listener_database_url: None,
        read_database_url: None,
        no_statement_cache: false,
        database_connections: 4,
        anthropic_api_key: Some("test-key".to_owned()),
        anthropic_base_url: "http://127.0.0.1:9".to_owned(),
        openai_api_key: None,
        openai_base_url: String::new(),
        provider: None,
        // The first replica says which models there are.
        model: None,
        model_context_tokens: 1000,
        model_output_tokens: 100,
        model_first_token_timeout: 1,
        model_silence_timeout: 2,
        queue_max: 50,
        owner_running_max: 0,
        organization_running_max: 0,
        file_bytes_max: 10_485_760,
        files_per_chat_max: 100,
        generate_titles: false,
        title_model: None,
        allow_plaintext: false,
        tls_cert: None,
        tls_key: None,
        advertise: None,
        peer_ca_cert: None,
        metrics_listen: None,
        drain_timeout: 1,
        session_grace_ms: 500,
    }
}
