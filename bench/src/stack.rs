//! A control plane with workers, as child processes of the binary that is measured, on a
//! database of their own.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    time::Duration,
};

use tokio::{net::TcpStream, time::sleep};
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use crate::{
    bench::Bench,
    client::Client,
    database::Database,
    error::{Error, OrFailed as _, Result},
    model_server::ModelServer,
    process::{Launch, Process},
    wait::in_time,
};

/// Between two tries to connect to, or to ask, a replica that starts: what its start is known to.
pub(crate) const CONNECT_EVERY: Duration = Duration::from_millis(1);

/// The processes of one measurement. They are killed when this is dropped.
pub(crate) struct Stack<'a> {
    bench: &'a Bench<'a>,
    pub(crate) database: Database,
    pub(crate) address: SocketAddr,
    pub(crate) control_plane: Process,
    /// Further ones, which none of our workers is connected to.
    other_replicas: Vec<Replica>,
    pub(crate) workers: Vec<Process>,
    workers_started: usize,
}

/// One of several.
struct Replica {
    address: SocketAddr,
    process: Process,
}

/// What a replica is told.
#[derive(Clone, Copy)]
pub(crate) struct Serve<'a> {
    pub(crate) address: SocketAddr,
    pub(crate) database_url: &'a str,
    /// Where it is another: hints do not go where round trips are counted.
    pub(crate) listener_database_url: Option<&'a str>,
    pub(crate) model: Option<&'a ModelServer>,
    pub(crate) company: Company,
}

/// Whether there are other replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Company {
    Alone,
    /// Others reach it at its address.
    OneOfSeveral,
}

impl<'a> Stack<'a> {
    /// A control plane whose model is at this server, or nowhere.
    pub(crate) async fn start(bench: &'a Bench<'a>, model: Option<&ModelServer>) -> Result<Self> {
        let database = Database::create(bench).await?;
        let url = database.url().to_owned();
        Self::start_on(bench, model, database, &url).await
    }

    /// The same with another way to the database.
    pub(crate) async fn start_on(
        bench: &'a Bench<'a>,
        model: Option<&ModelServer>,
        database: Database,
        database_url: &str,
    ) -> Result<Self> {
        let address = free_address()?;
        let direct = database.url().to_owned();
        let listener_database_url = (direct != database_url).then_some(direct.as_str());
        let company = Company::Alone;
        let serve = Serve { address, database_url, listener_database_url, model, company };
        Self::start_with(bench, database, serve).await
    }

    /// Two replicas. Workers are connected to the first.
    pub(crate) async fn start_two(bench: &'a Bench<'a>, model: Option<&ModelServer>) -> Result<Self> {
        let database = Database::create(bench).await?;
        let url = database.url().to_owned();
        let (listener_database_url, company) = (None, Company::OneOfSeveral);
        let serve =
            Serve { address: free_address()?, database_url: &url, listener_database_url, model, company };
        let mut stack = Self::start_with(bench, database, serve).await?;
        let another = Serve { address: free_address()?, ..serve };
        let mut process = start_serve(bench, &another)?;
        wait_until_serving(another.address, &mut process).await?;
        stack.other_replicas.push(Replica { address: another.address, process });
        Ok(stack)
    }

    async fn start_with(bench: &'a Bench<'a>, database: Database, serve: Serve<'_>) -> Result<Self> {
        let mut control_plane = start_serve(bench, &serve)?;
        wait_until_serving(serve.address, &mut control_plane).await?;
        let (address, other_replicas, workers) = (serve.address, Vec::new(), Vec::new());
        Ok(Self { bench, database, address, control_plane, other_replicas, workers, workers_started: 0 })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Starts a worker and waits until it has a session.
    pub(crate) async fn add_worker(&mut self, slots: u32) -> Result<()> {
        let name = format!("worker-{}", self.workers_started);
        let variables = [
            ("CHATPLANE_CONTROL_PLANE".to_owned(), self.url()),
            ("CHATPLANE_WORKER_TOKEN".to_owned(), self.database.worker_token.clone()),
            ("CHATPLANE_WORKER_SLOTS".to_owned(), slots.to_string()),
            ("CHATPLANE_WORKER_NAME".to_owned(), name.clone()),
        ];
        let worker = Process::start(&Launch {
            name: &name,
            program: self.bench.chatplane,
            arguments: &["worker"],
            variables: &variables,
            logs: self.bench.scratch,
        })?;
        self.workers.push(worker);
        self.workers_started += 1;
        let running = i64::try_from(self.workers.len()).unwrap_or(i64::MAX);
        self.database.wait_for_sessions(running).await
    }

    /// A connection of its own.
    pub(crate) async fn channel(&self) -> Result<Channel> {
        connect(self.address).await
    }

    /// A client of the user, on a connection of its own.
    pub(crate) async fn client(&self) -> Result<Client> {
        Client::new(self.channel().await?, &self.database.user_token)
    }

    /// A connection of its own to a replica that has no worker.
    pub(crate) async fn channel_elsewhere(&self) -> Result<Channel> {
        let another = self.other_replicas.first().ok_or_else(|| Error::wrong("there is one replica only"))?;
        connect(another.address).await
    }

    /// A client of the user at a replica that has no worker, on a connection of its own.
    pub(crate) async fn client_elsewhere(&self) -> Result<Client> {
        Client::new(self.channel_elsewhere().await?, &self.database.user_token)
    }

    /// An error when a process has ended by itself.
    pub(crate) fn require_running(&mut self) -> Result<()> {
        self.control_plane.require_running()?;
        self.other_replicas.iter_mut().try_for_each(|replica| replica.process.require_running())?;
        self.workers.iter_mut().try_for_each(Process::require_running)
    }

    /// Ends everything and removes the database. Nothing may have ended before.
    pub(crate) async fn end(self) -> Result<()> {
        let bench = self.bench;
        self.stop().await?.remove(bench).await
    }

    /// Ends everything and leaves the database. Nothing may have ended before.
    pub(crate) async fn stop(mut self) -> Result<Database> {
        self.require_running()?;
        let others = self.other_replicas.iter_mut().map(|replica| &mut replica.process);
        for process in self.workers.iter_mut().chain(others).chain([&mut self.control_plane]) {
            process.kill()?;
            process.ended().await?;
        }
        Ok(self.database)
    }
}

/// Starts `serve` as an operator would, with its defaults but for titles, and with the
/// settings that shall be tried out.
pub(crate) fn start_serve(bench: &Bench<'_>, serve: &Serve<'_>) -> Result<Process> {
    let mut variables = vec![
        ("CHATPLANE_LISTEN".to_owned(), serve.address.to_string()),
        ("CHATPLANE_DATABASE_URL".to_owned(), serve.database_url.to_owned()),
        ("CHATPLANE_MODEL".to_owned(), "bench".to_owned()),
        ("ANTHROPIC_API_KEY".to_owned(), "bench-key".to_owned()),
        // A model call beside each new chat would be measured with whatever runs then.
        ("CHATPLANE_GENERATE_TITLES".to_owned(), "false".to_owned()),
    ];
    let told = [
        ("CHATPLANE_LISTENER_DATABASE_URL", serve.listener_database_url.map(str::to_owned)),
        ("ANTHROPIC_BASE_URL", serve.model.map(ModelServer::url)),
        ("CHATPLANE_ADVERTISE", serve.advertised()),
    ];
    variables.extend(told.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
    variables.extend(bench.arguments.serve_env.iter().cloned());
    Process::start(&Launch {
        name: "serve",
        program: bench.chatplane,
        arguments: &["serve"],
        variables: &variables,
        logs: bench.scratch,
    })
}

impl Serve<'_> {
    fn advertised(&self) -> Option<String> {
        (self.company == Company::OneOfSeveral).then(|| format!("http://{}", self.address))
    }
}

/// An address that nobody listens on just now.
pub(crate) fn free_address() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).or_failed("find a free port")?;
    listener.local_addr().or_failed("find a free port")
}

/// Waits until a replica says that it takes calls: tries to connect each millisecond, and
/// then asks as often on one connection.
pub(crate) async fn wait_until_serving(address: SocketAddr, replica: &mut Process) -> Result<()> {
    let listening = async {
        while TcpStream::connect(address).await.is_err() {
            replica.require_running()?;
            sleep(CONNECT_EVERY).await;
        }
        Ok(())
    };
    in_time("a replica listens", listening).await??;
    let channel = connect(address).await?;
    let serving = async {
        loop {
            replica.require_running()?;
            let checked = HealthClient::new(channel.clone()).check(HealthCheckRequest::default()).await;
            let status = checked.map(|response| response.into_inner().status());
            if status.is_ok_and(|status| status == ServingStatus::Serving) {
                return Ok(());
            }
            sleep(CONNECT_EVERY).await;
        }
    };
    in_time("a replica serves", serving).await?
}

async fn connect(address: SocketAddr) -> Result<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).or_failed("make a URL")?;
    endpoint.connect().await.or_failed("connect to the control plane")
}
