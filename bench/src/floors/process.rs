//! What a process takes that does nothing: to start, and to sit there.

use std::{
    io::{Read as _, Write as _},
    path::Path,
    process::Stdio,
    time::Instant,
};

use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    net::TcpListener,
    process::Command,
    time::sleep,
};
use tonic_health::{ServingStatus, server::HealthReporter};

use super::grpc::serve_health;
use crate::{
    bench::Bench,
    database::connect,
    error::{Error, OrFailed as _, Result},
    proc::{Memory, memory},
    process::{Launch, Process},
    wait::{in_time, milliseconds},
};

/// What the idle process says when it sits there.
const READY: &str = "ready";

/// The time from the start of the binary to its end when it only says its version, in
/// milliseconds.
pub(crate) async fn spawn_ms(binary: &Path) -> Result<f64> {
    let start = Instant::now();
    let mut command = Command::new(binary);
    command.arg("--version").env_clear().stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
    let status = in_time("the end of a process", command.status()).await?.or_failed("start the binary")?;
    match status.success() {
        true => Ok(milliseconds(start.elapsed())),
        false => Err(Error::wrong("the binary does not say its version")),
    }
}

/// Memory of an idle process with a runtime, a bare gRPC server and a database connection:
/// this binary, started as [`sit`].
pub(crate) async fn idle_memory(bench: &Bench<'_>, database_url: &str) -> Result<Memory> {
    let program = std::env::current_exe().or_failed("find the benchmark's own path")?;
    let (mut process, output) = Process::start_and_read(&Launch {
        name: "floor",
        program: &program,
        arguments: &["--floor-process", database_url],
        variables: &[],
        logs: bench.scratch,
    })?;
    let mut line = String::new();
    let read = in_time("an idle process", BufReader::new(output).read_line(&mut line)).await?;
    read.or_failed("read what an idle process says")?;
    process.require_running()?;
    sleep(bench.scale.settle).await;
    let pid = process.pid().ok_or_else(|| Error::wrong("an idle process has ended"))?;
    let found = memory(pid)?;
    process.kill()?;
    process.ended().await?;
    Ok(found)
}

/// Is that idle process, until its standard input ends.
pub(crate) async fn sit(database_url: &str) -> Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.or_failed("listen")?;
    let reporter = HealthReporter::new();
    reporter.set_service_status("", ServingStatus::Serving).await;
    let _serving = serve_health(listener, &reporter);
    let _connection = connect(database_url).await?;
    let mut output = std::io::stdout();
    writeln!(output, "{READY}").and_then(|()| output.flush()).or_failed("say that all is ready")?;
    let wait = tokio::task::spawn_blocking(|| std::io::stdin().read(&mut [0]));
    // However the input ends, it has.
    let _ = wait.await;
    Ok(())
}
