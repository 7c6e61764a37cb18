//! The lines between processes.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use chatplane_tests::{
    Database, free_port,
    tcp_proxy::{Mode, TcpProxy, Upstream},
};
use tonic::transport::{Channel, Endpoint};

use crate::{AGENTS, REPLICAS, WORKERS, plan::Line};

/// A client's connection is asked so often whether it lives.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(2);
/// And has so long to answer: the machine is busy.
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(4);
/// A connection is there at once, or the line is down.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(3);

/// Every line, and where the replicas listen behind them.
pub(super) struct Lines {
    lines: BTreeMap<Line, TcpProxy>,
    replicas: Vec<SocketAddr>,
}

impl Lines {
    pub(super) async fn start(database: &Database) -> Self {
        let replicas: Vec<SocketAddr> = (0..REPLICAS).map(|_| free_port()).collect();
        let socket = database.socket().await;
        let mut lines = BTreeMap::new();
        let to = |replica: usize| Upstream::Tcp(vec![replicas[replica]]);
        for replica in 0..REPLICAS {
            lines.insert(Line::Clients(replica), TcpProxy::start(to(replica)).await);
            lines.insert(Line::Peers(replica), TcpProxy::start(to(replica)).await);
            let database = TcpProxy::start(Upstream::Unix(socket.clone())).await;
            lines.insert(Line::Database(replica), database);
            for worker in 0..WORKERS {
                lines.insert(Line::Worker(worker, replica), TcpProxy::start(to(replica)).await);
            }
        }
        for agent in 0..AGENTS {
            // An agent knows one address: that of a load balancer.
            lines.insert(Line::Agent(agent), TcpProxy::start(Upstream::Tcp(replicas.clone())).await);
        }
        Self { lines, replicas }
    }

    /// Where a replica listens.
    pub(super) fn replica(&self, replica: usize) -> SocketAddr {
        self.replicas[replica]
    }

    pub(super) fn address(&self, line: Line) -> SocketAddr {
        self.lines[&line].address()
    }

    pub(super) fn url(&self, line: Line) -> String {
        self.lines[&line].url()
    }

    pub(super) fn channel(&self, line: Line) -> Channel {
        Endpoint::from_shared(self.url(line))
            .expect("the URL is one")
            .connect_timeout(CONNECT_TIME_MAX)
            .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
            .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
            .connect_lazy()
    }

    pub(super) fn set(&self, line: Line, mode: Mode) {
        self.lines[&line].set(mode);
    }

    pub(super) fn heal(&self) {
        for line in self.lines.values() {
            line.set(Mode::Pass);
        }
    }
}
