//! Users and tokens.

use chatplane_domain::{OrganizationId, UserId, WorkspaceId};
use sqlx::error::DatabaseError;
use uuid::Uuid;

use super::{Error, Store};

/// For whom a token is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKind {
    /// A user.
    User(UserId),
    /// Any worker.
    Worker,
    /// The agent of one workspace.
    WorkspaceAgent(WorkspaceId),
}

/// Whom a token stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TokenSubject {
    /// The stored hash, for the comparison.
    pub token_sha256: Vec<u8>,
    /// For whom it was made.
    pub kind: TokenKind,
    /// The user's organization.
    pub organization: Option<OrganizationId>,
    /// Whether the user owns the deployment.
    pub is_owner: bool,
}

impl Store {
    /// Finds whom a token stands for by its hash.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub(crate) async fn token_subject(&self, token_sha256: &[u8; 32]) -> Result<Option<TokenSubject>, Error> {
        let row = sqlx::query!(
            r#"select t.token_sha256, t.kind, t.user_id, t.workspace_id,
                   u.organization_id as "organization_id?", u.is_owner as "is_owner?"
               from tokens t
               left join users u on u.user_id = t.user_id
               where t.token_sha256 = $1"#,
            &token_sha256[..],
        )
        .fetch_optional(&self.connections)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let kind = match (row.kind.as_str(), row.user_id, row.workspace_id) {
            ("user", Some(user), None) => TokenKind::User(UserId(user)),
            ("worker", None, None) => TokenKind::Worker,
            ("workspace_agent", None, Some(workspace)) => TokenKind::WorkspaceAgent(WorkspaceId(workspace)),
            _ => return Err(Error::RowInvalid),
        };
        Ok(Some(TokenSubject {
            token_sha256: row.token_sha256,
            kind,
            organization: row.organization_id.map(OrganizationId),
            is_owner: row.is_owner.unwrap_or(false),
        }))
    }

    /// Stores the hash of a new token.
    ///
    /// # Errors
    ///
    /// `Unusable` when its subject does not exist.
    pub(crate) async fn create_token(
        &self,
        id: Uuid,
        token_sha256: &[u8; 32],
        kind: TokenKind,
    ) -> Result<(), Error> {
        let (name, user, workspace) = match kind {
            TokenKind::User(user) => ("user", Some(user.0), None),
            TokenKind::Worker => ("worker", None, None),
            TokenKind::WorkspaceAgent(workspace) => ("workspace_agent", None, Some(workspace.0)),
        };
        sqlx::query!(
            "insert into tokens (token_id, token_sha256, kind, user_id, workspace_id) \
             values ($1, $2, $3, $4, $5)",
            id,
            &token_sha256[..],
            name,
            user,
            workspace,
        )
        .execute(&self.connections)
        .await
        .map_err(|error| missing_subject(error, "there is no user or workspace with that id"))?;
        Ok(())
    }

    /// Creates a user.
    ///
    /// # Errors
    ///
    /// `NameTaken`.
    pub(crate) async fn create_user(
        &self,
        id: UserId,
        organization: OrganizationId,
        name: &str,
        is_owner: bool,
    ) -> Result<(), Error> {
        sqlx::query!(
            "insert into users (user_id, organization_id, name, is_owner) \
             values ($1, $2, $3, $4)",
            id.0,
            organization.0,
            name,
            is_owner,
        )
        .execute(&self.connections)
        .await
        .map_err(|error| {
            let taken = error.as_database_error().and_then(DatabaseError::constraint);
            if taken == Some("users_name_key") { Error::NameTaken } else { error.into() }
        })?;
        Ok(())
    }

    /// Creates a workspace of a user.
    ///
    /// # Errors
    ///
    /// `Unusable` when there is no such user.
    pub(crate) async fn create_workspace(
        &self,
        id: WorkspaceId,
        owner: UserId,
        name: &str,
    ) -> Result<(), Error> {
        let created = sqlx::query!(
            "insert into workspaces (workspace_id, organization_id, owner_id, name) \
             select $1, u.organization_id, u.user_id, $3 \
             from users u \
             where u.user_id = $2",
            id.0,
            owner.0,
            name,
        )
        .execute(&self.connections)
        .await?;
        if created.rows_affected() == 0 {
            return Err(Error::Unusable("there is no user with that id".to_owned()));
        }
        Ok(())
    }
}

fn missing_subject(error: sqlx::Error, sentence: &str) -> Error {
    let foreign = error.as_database_error().is_some_and(DatabaseError::is_foreign_key_violation);
    if foreign { Error::Unusable(sentence.to_owned()) } else { error.into() }
}
