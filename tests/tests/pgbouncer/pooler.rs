//! A PgBouncer of this test alone.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown},
    path::Path,
    process::{Child, Command, Stdio},
};

use chatplane_tests::{Database, eventually};
use sqlx::{Connection as _, PgConnection, postgres::PgConnectOptions};
use tempfile::TempDir;

/// Where Debian puts it; elsewhere the path has it.
const PROGRAMS: [&str; 2] = ["/usr/sbin/pgbouncer", "pgbouncer"];

/// Only names its socket: each has a directory of its own.
const PORT: u16 = 6432;

/// A running PgBouncer. It is killed when it is dropped.
pub(crate) struct Pooler {
    program: &'static str,
    database: String,
    directory: TempDir,
    /// PostgreSQL's socket is for the user that runs it.
    user: Option<String>,
    child: Child,
}

impl Pooler {
    /// Starts one before a database; none where PgBouncer is not installed.
    pub(crate) async fn start(database: &Database, pool_size: i64) -> Option<Self> {
        let is_there = |program: &&str| Command::new(program).arg("--version").output().is_ok();
        let program = PROGRAMS.into_iter().find(is_there)?;
        let socket = database.socket().await;
        let directory = TempDir::new().expect("a directory for the pooler");
        let configuration = configuration(database.name(), &socket, directory.path(), pool_size);
        let file = directory.path().join("pgbouncer.ini");
        fs::write(&file, configuration).expect("the configuration is written");
        let owner = fs::metadata(&socket).expect("PostgreSQL's socket is there").uid();
        let user = (owner != rustix::process::geteuid().as_raw()).then(|| user_name(owner));
        if user.is_some() {
            chown(directory.path(), Some(owner), None).expect("the directory is given away");
        }
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).expect("it is opened");
        let child = spawn(program, user.as_deref(), directory.path());
        let pooler = Self { program, database: database.name().to_owned(), directory, user, child };
        pooler.ready().await;
        Some(pooler)
    }

    /// Where the control plane finds the database behind it.
    pub(crate) fn url(&self) -> String {
        let (database, directory) = (&self.database, self.directory.path().display());
        format!("postgres://chatplane@localhost:{PORT}/{database}?host={directory}")
    }

    /// Kills it, and starts another in its place.
    pub(crate) async fn restart(&mut self) {
        self.child.kill().expect("it is ours");
        self.child.wait().expect("it ends");
        for left in [format!(".s.PGSQL.{PORT}"), "pgbouncer.pid".to_owned()] {
            // It may have come to clean up.
            let _ = fs::remove_file(self.directory.path().join(left));
        }
        self.child = spawn(self.program, self.user.as_deref(), self.directory.path());
        self.ready().await;
    }

    async fn ready(&self) {
        let options: PgConnectOptions = self.url().parse().expect("the URL is one");
        let options = options.extra_float_digits(None);
        eventually("PgBouncer answers", async || {
            let mut connection = PgConnection::connect_with(&options).await.ok()?;
            sqlx::raw_sql("select 1").execute(&mut connection).await.ok().map(|_| ())
        })
        .await;
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(program: &str, user: Option<&str>, directory: &Path) -> Child {
    let log = fs::File::create(directory.join("log")).expect("the log can be written");
    let mut command = Command::new(program);
    if let Some(user) = user {
        command.args(["-u", user]);
    }
    command.arg(directory.join("pgbouncer.ini")).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    command.spawn().expect("PgBouncer starts")
}

/// In transaction mode, with a pool that is smaller than what asks for connections.
fn configuration(database: &str, socket: &Path, directory: &Path, pool_size: i64) -> String {
    let host = socket.parent().unwrap_or(Path::new("/")).display();
    let directory = directory.display();
    format!(
        "[databases]
{database} = host={host} port=5432 dbname={database} user=chatplane connect_query='set application_name = pooled'
[pgbouncer]
listen_addr =
listen_port = {PORT}
unix_socket_dir = {directory}
auth_type = any
pool_mode = transaction
default_pool_size = {pool_size}
max_client_conn = 200
"
    )
}

/// The name of a user, as PgBouncer asks for it.
fn user_name(id: u32) -> String {
    let users = fs::read_to_string("/etc/passwd").expect("there are users");
    let name = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(id)).then(|| name.to_owned())
    });
    name.expect("PostgreSQL runs as somebody")
}
