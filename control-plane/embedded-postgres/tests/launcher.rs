//! The launcher against a real PostgreSQL: its whole life, and every way in which it may be cut short.

use std::fs::{self, Permissions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::thread;

use chatplane_embedded_postgres::{Postgres, Settings, StartError};

#[cfg(test)]
mod support;

use support::{
    OWNER_OF, Owner, children_of, directory_for, is_root, kept_unsynced, kill, query, query_at, runs, signal,
    wait_until,
};

/// Any number but root's does, whether the system knows it or not.
const ORDINARY_USER: u32 = 65534;

#[test]
fn from_nothing_postgres_accepts_clients_in_utf8_and_never_on_tcp() {
    let postgres = Postgres::start(Settings::temporary()).unwrap();

    let settings = query(
        &postgres,
        "select string_agg(name || '=' || setting, ' ' order by lower(name)) from pg_settings \
         where name in ('listen_addresses', 'server_encoding', 'TimeZone', 'fsync')",
    );
    assert_eq!(settings, "fsync=off listen_addresses= server_encoding=UTF8 TimeZone=UTC");
    assert_eq!(query(&postgres, "select convert_to('ü€🙂', 'UTF8')::text"), r"\xc3bce282acf09f9982");
    assert_eq!(fs::metadata(postgres.socket_dir()).unwrap().mode() & 0o777, 0o700);
}

#[test]
fn nothing_is_left_of_a_temporary_postgres_after_its_drop() {
    let postgres = Postgres::start(Settings::temporary()).unwrap();
    let pid = postgres.pid().unwrap();
    let home = postgres.socket_dir().parent().unwrap().to_owned();

    drop(postgres);

    assert!(!runs(pid));
    assert!(!home.exists());
}

#[test]
fn kept_data_is_there_again_after_a_stop_also_under_a_long_path() {
    let (_outer, dir) = directory_for(&"long".repeat(30));
    let mut first = Postgres::start(Settings::kept_in(&dir)).unwrap();
    let socket_dir = first.socket_dir().to_owned();
    query(&first, "create table notes as select 'still here' as note");
    assert_eq!(query(&first, "show fsync"), "on");

    first.stop();
    assert_eq!(first.pid(), None);
    drop(first);
    let second = Postgres::start(Settings::kept_in(&dir)).unwrap();

    assert_eq!(query(&second, "select note from notes"), "still here");
    assert!(!socket_dir.exists(), "a socket directory outside the data is removed");
    assert!(second.socket_dir().as_os_str().len() < 60);
}

#[test]
fn a_crash_loses_nothing_committed_and_keeps_the_address() {
    let mut postgres = Postgres::start(Settings::temporary()).unwrap();
    let (url, pid) = (postgres.url("postgres"), postgres.pid().unwrap());
    query(&postgres, "create table notes as select 'still here' as note");

    postgres.kill();
    assert!(!runs(pid));
    postgres.restart().unwrap();

    assert_eq!(postgres.url("postgres"), url);
    assert_eq!(query(&postgres, "select note from notes"), "still here");
}

#[test]
fn a_second_launcher_on_the_same_directory_is_refused_and_told_the_holder() {
    let (_outer, dir) = directory_for("postgres");
    let holder = Postgres::start(kept_unsynced(&dir)).unwrap();

    let refusal = Postgres::start(kept_unsynced(&dir)).unwrap_err();

    let StartError::InUse { holder: Some(pid), .. } = &refusal else { panic!("{refusal:?}") };
    assert_eq!(*pid, std::process::id());
    assert_eq!(query(&holder, "select 1"), "1");
}

#[test]
fn the_death_of_its_owner_takes_a_temporary_postgres_and_its_directory_along() {
    let mut owner = Owner::start(None);
    assert!(runs(owner.postgres));
    let home = owner.socket_dir.parent().unwrap().to_owned();

    owner.kill();

    wait_until("Postgres is gone", || !runs(owner.postgres));
    wait_until("its directory is gone", || !home.exists());
}

#[test]
fn postgres_goes_with_its_owner_even_when_the_guard_was_killed_first() {
    let (_outer, dir) = directory_for("postgres");
    let mut owner = Owner::start(Some(&dir));
    let guards = children_of(owner.pid()).into_iter().filter(|pid| *pid != owner.postgres);

    guards.for_each(kill);
    owner.kill();

    wait_until("Postgres is gone", || !runs(owner.postgres));
}

#[test]
fn a_successor_takes_over_at_once_when_everything_was_killed() {
    let (_outer, dir) = directory_for("postgres");
    let mut owner = Owner::start(Some(&dir));
    query_at(&owner.bin_dir, &owner.url, "create table notes as select 'still here' as note");

    let family = [children_of(owner.pid()), children_of(owner.postgres)].concat();
    owner.kill();
    for pid in family {
        kill(pid);
    }
    let successor = Postgres::start(kept_unsynced(&dir)).unwrap();

    assert!(!runs(owner.postgres));
    assert_eq!(query(&successor, "select note from notes"), "still here");
}

#[test]
fn a_successor_ends_the_postgres_that_a_dead_owner_left_running() {
    let (_outer, dir) = directory_for("postgres");
    let mut owner = Owner::start(Some(&dir));
    query_at(&owner.bin_dir, &owner.url, "create table notes as select 'still here' as note");

    // Stopped, it can follow neither the death signal nor the guard: it is still there when its owner's
    // lock is free. The successor must not start a second one beside it.
    signal(owner.postgres, "STOP");
    owner.kill();
    let resume = thread::spawn({
        let (postgres, lock) = (owner.postgres, dir.join("lock"));
        move || {
            let own = format!("{}\n", std::process::id());
            wait_until("the successor has the lock", || {
                fs::read_to_string(&lock).is_ok_and(|pid| pid == own)
            });
            signal(postgres, "CONT");
        }
    });
    let successor = Postgres::start(kept_unsynced(&dir)).unwrap();
    resume.join().unwrap();

    assert!(!runs(owner.postgres));
    assert_eq!(query(&successor, "select note from notes"), "still here");
}

#[test]
fn a_half_finished_initdb_is_repaired_by_the_next_start() {
    let (_outer, dir) = directory_for("postgres");
    fs::create_dir_all(dir.join("data.new/base")).unwrap();
    fs::write(dir.join("data.new/PG_VERSION"), "15\n").unwrap();

    let postgres = Postgres::start(kept_unsynced(&dir)).unwrap();

    assert_eq!(query(&postgres, "select 1"), "1");
    assert!(!dir.join("data.new").exists());
}

#[test]
fn data_of_another_major_version_is_refused_and_left_alone() {
    let (_outer, dir) = directory_for("postgres");
    fs::create_dir_all(dir.join("data")).unwrap();
    fs::write(dir.join("data/PG_VERSION"), "9\n").unwrap();

    let refusal = Postgres::start(kept_unsynced(&dir)).unwrap_err();

    let StartError::VersionMismatch { data_major: 9, .. } = refusal else { panic!("{refusal:?}") };
    assert_eq!(fs::read_to_string(dir.join("data/PG_VERSION")).unwrap(), "9\n");
}

#[test]
fn erased_data_is_gone_and_nothing_else() {
    let (outer, dir) = directory_for("postgres");
    drop(Postgres::start(kept_unsynced(&dir)).unwrap());

    assert!(Postgres::erase(&dir).unwrap());

    assert_eq!(fs::read_dir(outer.path()).unwrap().count(), 0);
    assert!(!Postgres::erase(&dir).unwrap(), "there is nothing left to erase");
}

#[test]
fn data_that_is_in_use_or_not_ours_alone_is_not_erased() {
    let (_outer, dir) = directory_for("postgres");
    let postgres = Postgres::start(kept_unsynced(&dir)).unwrap();

    let in_use = Postgres::erase(&dir).unwrap_err();
    query(&postgres, "create table notes as select 'still here' as note");
    drop(postgres);
    fs::write(dir.join("thesis.txt"), "years of work").unwrap();
    let foreign = Postgres::erase(&dir).unwrap_err();
    fs::remove_file(dir.join("thesis.txt")).unwrap();

    assert!(matches!(in_use, StartError::InUse { .. }), "{in_use:?}");
    assert!(matches!(foreign, StartError::ForeignFiles { .. }), "{foreign:?}");
    let postgres = Postgres::start(kept_unsynced(&dir)).unwrap();
    assert_eq!(query(&postgres, "select note from notes"), "still here");
}

#[test]
fn a_link_to_data_is_not_followed_to_erase_it() {
    let (outer, dir) = directory_for("postgres");
    drop(Postgres::start(kept_unsynced(&dir)).unwrap());
    let link = outer.path().join("link");
    std::os::unix::fs::symlink(&dir, &link).unwrap();

    let refusal = Postgres::erase(&link).unwrap_err();

    assert!(matches!(refusal, StartError::Link { .. }), "{refusal:?}");
    assert!(dir.join("data/PG_VERSION").is_file() && link.is_symlink());
}

#[test]
fn a_postgres_that_a_dead_owner_left_running_is_ended_before_its_data_is_erased() {
    let (_outer, dir) = directory_for("postgres");
    let mut owner = Owner::start(Some(&dir));
    signal(owner.postgres, "STOP");
    owner.kill();
    let resume = thread::spawn({
        let (postgres, lock) = (owner.postgres, dir.join("lock"));
        move || {
            let own = format!("{}\n", std::process::id());
            wait_until("we have the lock", || fs::read_to_string(&lock).is_ok_and(|pid| pid == own));
            signal(postgres, "CONT");
        }
    });

    assert!(Postgres::erase(&dir).unwrap());
    resume.join().unwrap();

    assert!(!runs(owner.postgres));
    assert!(!dir.exists());
}

#[test]
fn a_failed_start_tells_the_last_words_of_postgres_and_leaves_nothing() {
    let (_outer, dir) = directory_for("postgres");
    let settings = Settings { max_connections: 0, ..kept_unsynced(&dir) };

    let refusal = Postgres::start(settings).unwrap_err();

    let StartError::Exited { log_tail } = refusal else { panic!("{refusal:?}") };
    assert!(log_tail.contains("max_connections"), "{log_tail}");
    assert!(!dir.join("data/postmaster.pid").exists());
}

#[test]
fn a_directory_of_binaries_without_a_server_is_refused() {
    let (_outer, dir) = directory_for("empty");
    fs::create_dir(&dir).unwrap();

    let refusal = Postgres::start(Settings { bin_dir: Some(dir), ..Settings::temporary() }).unwrap_err();

    assert!(matches!(refusal, StartError::BinDirUnusable { .. }), "{refusal:?}");
}

#[test]
fn root_is_told_which_directory_is_closed_to_the_user_of_postgres() {
    if !is_root() {
        return; // An ordinary user's Postgres goes where the user goes.
    }
    let (outer, dir) = directory_for("postgres");
    fs::set_permissions(outer.path(), Permissions::from_mode(0o700)).unwrap();

    let refusal = Postgres::start(kept_unsynced(&dir)).unwrap_err();

    let StartError::Unreachable { ancestor, .. } = &refusal else { panic!("{refusal:?}") };
    assert_eq!(*ancestor, outer.path());
}

#[test]
fn root_never_runs_postgres_as_root() {
    if !is_root() {
        return; // Every other test shows it for an ordinary user.
    }
    let postgres = Postgres::start(Settings::temporary()).unwrap();

    let process = fs::metadata(format!("/proc/{}", postgres.pid().unwrap())).unwrap();

    assert_ne!(process.uid(), 0);
}

#[test]
fn an_ordinary_user_needs_neither_a_home_nor_an_environment() {
    if !is_root() {
        return; // Every other test runs as an ordinary user then.
    }
    let (outer, dir) = directory_for("owned");
    fs::create_dir(&dir).unwrap();
    std::os::unix::fs::chown(&dir, Some(ORDINARY_USER), Some(ORDINARY_USER)).unwrap();
    // The build's directory may be closed to that user.
    let program = outer.path().join("launcher-test");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let mut command = Command::new(&program);
    command.uid(ORDINARY_USER).gid(ORDINARY_USER);

    let mut owner = Owner::start_with(command, Some(&dir.join("postgres")));

    assert_eq!(fs::metadata(format!("/proc/{}", owner.postgres)).unwrap().uid(), ORDINARY_USER);
    assert_eq!(query_at(&owner.bin_dir, &owner.url, "select current_user"), "chatplane");
    owner.end();
    assert!(!runs(owner.postgres));
}

/// Not a test: the process that others of this file start, and kill, as the owner of a Postgres.
#[test]
#[ignore = "a process of its own, started by other tests"]
fn owner_process() {
    let Some(dir) = std::env::var_os(OWNER_OF) else {
        return;
    };
    let settings = if dir.is_empty() { Settings::temporary() } else { kept_unsynced(dir) };
    let postgres = Postgres::start(settings).unwrap();

    let mut report = std::io::stdout().lock();
    let (pid, url) = (postgres.pid().unwrap(), postgres.url("postgres"));
    let (socket_dir, bin_dir) = (postgres.socket_dir().display(), postgres.bin_dir().display());
    writeln!(report, "\nreport {pid} {url} {socket_dir} {bin_dir}").unwrap();
    drop(report);

    // Until the test ends it in order, by closing the pipe, or by force.
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
}
