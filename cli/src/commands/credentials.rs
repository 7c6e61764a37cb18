//! Which address and token count, and the file in which `chatplane login` keeps them.
//!
//! The file is `credentials.json` in the user's configuration, mode 0600. One that others may read is closed to
//! them before it is read, and that is said; one that belongs to somebody else, or that a link leads to, is not
//! used. Its token goes to the address that it was given for, and to no other.

use std::{
    env,
    fs::{self, OpenOptions, Permissions},
    io::{ErrorKind, Read as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use super::CommandError;
use crate::{
    arguments::client::{Address, Connection},
    client::connection::{Bearer, ChatClient, FileClient, Plaintext, Server, chat_client, file_client},
    exit::say,
    files::{failed, make_private, write_private},
    system,
};

const SERVER_DEFAULT: &str = "http://127.0.0.1:7400";
const TOKEN_VARIABLE: &str = "CHATPLANE_TOKEN";
/// No token is as long.
pub(super) const TOKEN_BYTES_MAX: u64 = 4 * 1024;
/// An address, a token and a path.
const FILE_BYTES_MAX: u64 = 64 * 1024;
const PRIVATE_MODE: u32 = 0o600;
const OTHERS: u32 = 0o077;

/// What is kept. It has no `Debug`, so that no log can hold the token.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) server: Server,
    pub(super) token: String,
}

/// The client that the flags, the environment and what is kept lead to, in this order.
pub(crate) fn client(connection: &Connection) -> Result<ChatClient, CommandError> {
    let (server, bearer) = connect(connection)?;
    Ok(chat_client(server.channel()?, bearer))
}

/// The same, with the client for files: each has a connection of its own, so that nothing waits behind a file.
pub(super) fn clients(connection: &Connection) -> Result<(ChatClient, FileClient), CommandError> {
    let (server, bearer) = connect(connection)?;
    let chats = chat_client(server.channel()?, bearer.clone());
    Ok((chats, file_client(server.file_channel()?, bearer)))
}

fn connect(connection: &Connection) -> Result<(Server, Bearer), CommandError> {
    let kept = || match file() {
        Some(path) => read(&path),
        None => Ok(None),
    };
    let given = match &connection.token_file {
        Some(path) => Some((token_of_file(path)?, "--token-file (CHATPLANE_TOKEN_FILE)")),
        None => token_of_environment().map(|token| (token, TOKEN_VARIABLE)),
    };
    let (server, token, origin) = match given {
        // What is kept is not even read for it, but for the address.
        Some((token, origin)) => match &connection.address.server {
            Some(_) => (server(&connection.address, None), token, origin),
            None => (server(&connection.address, kept()?.as_ref()), token, origin),
        },
        None => {
            let kept = kept()?.ok_or(CommandError::TokenMissing)?;
            let server = server(&connection.address, Some(&kept));
            if server.address != kept.server.address {
                let asked = server.address;
                return Err(CommandError::TokenOfAnotherServer { kept: kept.server.address, asked });
            }
            (server, kept.token, "`chatplane login`")
        }
    };
    Ok((server, Bearer::new(&token, origin)?))
}

/// The address that was asked for, or is kept, or is usual. How to talk to it is kept with it.
pub(super) fn server(address: &Address, kept: Option<&Kept>) -> Server {
    let kept = kept.map(|kept| &kept.server);
    let chosen = match (&address.server, kept) {
        (Some(asked), _) => asked.trim().trim_end_matches('/').to_owned(),
        (None, Some(kept)) => kept.address.clone(),
        (None, None) => SERVER_DEFAULT.to_owned(),
    };
    let kept = kept.filter(|kept| kept.address == chosen);
    let plaintext = match (address.allow_plaintext, kept) {
        (true, _) => Plaintext::Everywhere,
        (false, Some(kept)) => kept.plaintext,
        (false, None) => Plaintext::OnThisHost,
    };
    let ca_cert = address.ca_cert.clone().or_else(|| kept.and_then(|kept| kept.ca_cert.clone()));
    Server { address: chosen, ca_cert, plaintext }
}

fn token_of_environment() -> Option<String> {
    env::var(TOKEN_VARIABLE).ok().map(|token| token.trim().to_owned()).filter(|token| !token.is_empty())
}

fn token_of_file(path: &Path) -> Result<String, CommandError> {
    let unreadable = |source| CommandError::TokenFileUnreadable { path: path.to_owned(), source };
    let mut token = String::new();
    let file = fs::File::open(path).map_err(unreadable)?;
    let count = file.take(TOKEN_BYTES_MAX + 1).read_to_string(&mut token).map_err(unreadable)?;
    let token = token.trim().to_owned();
    if token.is_empty() || count as u64 > TOKEN_BYTES_MAX {
        return Err(CommandError::TokenFileUnusable { path: path.to_owned() });
    }
    Ok(token)
}

/// Where it is kept, if there is a place for it.
pub(super) fn file() -> Option<PathBuf> {
    file_in(env::var_os("XDG_CONFIG_HOME").map(PathBuf::from), env::var_os("HOME").map(PathBuf::from))
}

fn file_in(config_home: Option<PathBuf>, home: Option<PathBuf>) -> Option<PathBuf> {
    let absolute = |path: Option<PathBuf>| path.filter(|path| path.is_absolute());
    let config_home = absolute(config_home).or_else(|| {
        let home = absolute(home).or_else(system::home_from_user_database)?;
        Some(home.join(".config"))
    })?;
    Some(config_home.join("chatplane").join("credentials.json"))
}

/// Keeps them, for this user alone.
pub(super) fn write(path: &Path, kept: &Kept) -> Result<(), CommandError> {
    if let Some(dir) = path.parent() {
        make_private(dir)?;
    }
    let ca_cert = kept.server.ca_cert.as_ref().and_then(|path| std::path::absolute(path).ok());
    let content = json!({
        "server": kept.server.address,
        "token": kept.token,
        "caCert": ca_cert,
        "allowPlaintext": kept.server.plaintext == Plaintext::Everywhere,
    });
    Ok(write_private(path, format!("{content:#}\n").as_bytes())?)
}

/// What is kept, if anything is.
pub(super) fn read(path: &Path) -> Result<Option<Kept>, CommandError> {
    let damaged = || CommandError::FileDamaged { path: path.to_owned() };
    let opened = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW).open(path);
    let file = match opened {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) if error.raw_os_error() == Some(libc::ELOOP) => return Err(damaged()),
        Err(error) => return Err(failed("open", path)(error).into()),
    };
    let metadata = file.metadata().map_err(failed("look at", path))?;
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        return Err(CommandError::FileOfAnotherUser { path: path.to_owned() });
    }
    if metadata.mode() & OTHERS != 0 {
        file.set_permissions(Permissions::from_mode(PRIVATE_MODE))
            .map_err(failed("close to others", path))?;
        say(&format!(
            "Others could read {path:?}, which holds your token; they cannot any more. If somebody may have, \
             have the token replaced."
        ));
    }
    let mut content = String::new();
    file.take(FILE_BYTES_MAX).read_to_string(&mut content).map_err(|_| damaged())?;
    let content: Value = serde_json::from_str(&content).map_err(|_| damaged())?;
    let text = |name: &str| content[name].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    let plaintext = match content["allowPlaintext"].as_bool() {
        Some(true) => Plaintext::Everywhere,
        Some(false) | None => Plaintext::OnThisHost,
    };
    let server = Server {
        address: text("server").ok_or_else(damaged)?,
        ca_cert: text("caCert").map(PathBuf::from),
        plaintext,
    };
    Ok(Some(Kept { server, token: text("token").ok_or_else(damaged)? }))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn kept(address: &str) -> Kept {
        let server = Server {
            address: address.to_owned(),
            ca_cert: Some("/etc/ca.pem".into()),
            plaintext: Plaintext::Everywhere,
        };
        Kept { server, token: "chatplane_user_abc".to_owned() }
    }

    fn address(server: Option<&str>) -> Address {
        Address { server: server.map(str::to_owned), ca_cert: None, allow_plaintext: false }
    }

    #[test]
    fn what_is_written_is_read_again_and_nobody_else_may() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config/chatplane/credentials.json");

        write(&path, &kept("http://10.0.0.1:7400")).unwrap();

        assert!(read(&path).unwrap() == Some(kept("http://10.0.0.1:7400")));
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().mode() & 0o777, 0o700);
        assert!(read(&dir.path().join("none")).unwrap().is_none());
    }

    #[test]
    fn a_file_that_others_may_read_is_closed_to_them() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("credentials.json");
        write(&path, &kept("http://10.0.0.1:7400")).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();

        let read = read(&path).unwrap();

        assert!(read.is_some());
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_link_or_a_damaged_file_is_refused_with_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("credentials.json");
        let link = dir.path().join("link.json");
        write(&path, &kept("http://10.0.0.1:7400")).unwrap();
        symlink(&path, &link).unwrap();

        assert!(matches!(read(&link), Err(CommandError::FileDamaged { .. })));
        for content in ["", "{}", "{\"server\":\"x\",\"token\":\"\"}", "[1]"] {
            fs::write(&path, content).unwrap();
            let error = read(&path).err().unwrap();
            assert!(error.to_string().contains("run `chatplane login`"), "{content}: {error}");
        }
    }

    #[test]
    fn what_was_agreed_for_one_address_does_not_hold_for_another() {
        let kept = kept("http://10.0.0.1:7400");

        assert!(server(&address(None), Some(&kept)) == kept.server);
        assert!(server(&address(Some("http://10.0.0.1:7400/")), Some(&kept)) == kept.server);
        let other = server(&address(Some("http://10.0.0.2:7400")), Some(&kept));
        assert_eq!((other.ca_cert, other.plaintext), (None, Plaintext::OnThisHost));
        assert_eq!(server(&address(None), None).address, SERVER_DEFAULT);
    }

    #[test]
    fn the_file_is_in_the_users_configuration() {
        let found = |config: Option<&str>, home: Option<&str>| {
            file_in(config.map(PathBuf::from), home.map(PathBuf::from)).unwrap()
        };

        assert_eq!(found(Some("/c"), Some("/h")), Path::new("/c/chatplane/credentials.json"));
        assert_eq!(found(Some("relative"), Some("/h")), Path::new("/h/.config/chatplane/credentials.json"));
        assert!(found(None, None).is_absolute());
    }
}
