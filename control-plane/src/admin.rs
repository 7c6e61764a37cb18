//! What operators do straight in the database until the API can.

use std::fmt::Write as _;

use chatplane_domain::{UserId, WorkspaceId};
use uuid::Uuid;

use crate::{
    app::hash_token,
    limits::Limits,
    store::{self, DEFAULT_ORGANIZATION, Database, Store},
};

pub use crate::store::TokenKind;

/// Connections that an administrative command needs.
const CONNECTIONS: u32 = 2;
/// Random bytes of a token: nobody guesses 256 bits.
const TOKEN_BYTES: usize = 32;

/// An open database.
#[derive(Debug)]
pub struct Admin {
    store: Store,
}

/// Why nothing was created.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The database did not do it.
    #[error("the database did not do it, check --database-url")]
    Store(#[source] store::Error),
    /// The name is taken.
    #[error("there is a user with that name already")]
    NameTaken,
    /// A name that cannot be stored.
    #[error("a name has 1 to 200 characters, none of them a control character")]
    NameInvalid,
    /// Its subject does not exist.
    #[error("{0}")]
    Missing(String),
}

impl From<store::Error> for AdminError {
    fn from(error: store::Error) -> Self {
        match error {
            store::Error::NameTaken => Self::NameTaken,
            store::Error::Unusable(sentence) => Self::Missing(sentence),
            other => Self::Store(other),
        }
    }
}

/// Connects, and brings the schema up to date.
///
/// # Errors
///
/// What the database says.
pub async fn connect(database_url: &str) -> Result<Admin, AdminError> {
    let store =
        Store::connect(Database::at(database_url, CONNECTIONS, Limits::default().database_use_max)).await?;
    Store::migrate(database_url).await?;
    Ok(Admin { store })
}

impl Admin {
    /// Closes the connections; a database that is copied must have none.
    pub async fn close(self) {
        self.store.close().await;
    }

    /// Creates a user.
    ///
    /// # Errors
    ///
    /// `NameTaken`, `NameInvalid`.
    pub async fn create_user(&self, name: &str, is_owner: bool) -> Result<UserId, AdminError> {
        check_name(name)?;
        let id = UserId(Uuid::now_v7());
        self.store.create_user(id, DEFAULT_ORGANIZATION, name, is_owner).await?;
        Ok(id)
    }

    /// Creates a workspace of a user.
    ///
    /// # Errors
    ///
    /// `Missing` when there is no such user, `NameInvalid`.
    pub async fn create_workspace(&self, owner: UserId, name: &str) -> Result<WorkspaceId, AdminError> {
        check_name(name)?;
        let id = WorkspaceId(Uuid::now_v7());
        self.store.create_workspace(id, owner, name).await?;
        Ok(id)
    }

    /// Creates a token, which is shown this once: only its hash is stored.
    ///
    /// # Errors
    ///
    /// `Missing` when there is no such user or workspace.
    pub async fn create_token(&self, kind: TokenKind) -> Result<String, AdminError> {
        let token = random_token(kind);
        self.store.create_token(Uuid::now_v7(), &hash_token(&token), kind).await?;
        Ok(token)
    }
}

fn check_name(name: &str) -> Result<(), AdminError> {
    let length = name.chars().count();
    let valid = (1..=200).contains(&length) && !name.chars().any(char::is_control);
    if valid { Ok(()) } else { Err(AdminError::NameInvalid) }
}

/// The prefix tells people, and scanners of leaked secrets, what they look at.
fn random_token(kind: TokenKind) -> String {
    let prefix = match kind {
        TokenKind::User(_) => "chatplane_user_",
        TokenKind::Worker => "chatplane_worker_",
        TokenKind::WorkspaceAgent(_) => "chatplane_workspace_",
    };
    let bytes: [u8; TOKEN_BYTES] = rand::random();
    bytes.iter().fold(prefix.to_owned(), |mut token, byte| {
        write!(token, "{byte:02x}").expect("writing to a String cannot fail");
        token
    })
}
