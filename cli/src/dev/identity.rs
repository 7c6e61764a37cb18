//! Who `dev` is: its user, its workspaces and their tokens, made once and kept.
//!
//! ```text
//! identity/
//!   user-id  user-token  worker-token      0600
//!   workspaces/<workspace id>/path         the directory it stands for
//!   workspaces/<workspace id>/token        0600
//! ```
//!
//! Every file appears by a rename, so it is whole, and what is missing is made anew: a start that was cut
//! short is repaired by the next one. What the files name may still be unknown to the database (it was thrown
//! away, or another one is used now); the control plane is asked, and then everything is made anew.

use std::{
    ffi::OsStr,
    fs,
    io::ErrorKind,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use chatplane_control_plane::admin::{Admin, AdminError, TokenKind};
use chatplane_domain::{UserId, WorkspaceId};
use uuid::Uuid;

use crate::{
    dev::{DevError, error::failed},
    files::{make_private, write_private},
};

/// The name of the user that `dev` acts as.
const USER_NAME: &str = "dev";

/// What the roles and the prompt need to know.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) user_token_file: PathBuf,
    pub(crate) worker_token_file: PathBuf,
    pub(crate) workspace_id: WorkspaceId,
    pub(crate) workspace_token_file: PathBuf,
}

impl Identity {
    /// The token of the user, for requests.
    pub(crate) fn user_token(&self) -> Result<String, DevError> {
        let path = &self.user_token_file;
        fs::read_to_string(path).map(|token| token.trim().to_owned()).map_err(failed("read", path))
    }
}

/// Reads who we are from `dir`, and makes what is missing.
pub(crate) async fn ensure(dir: &Path, admin: &Admin, workspace: &Path) -> Result<Identity, DevError> {
    let user_id_file = dir.join("user-id");
    let user = match read_id(&user_id_file)? {
        Some(id) => UserId(id),
        None => {
            // Whatever else is here belongs to a user that is not known any more.
            forget(dir)?;
            let user = create_user(admin).await?;
            write_private(&user_id_file, user.to_string().as_bytes())?;
            user
        }
    };
    let user_token_file = dir.join("user-token");
    ensure_token(&user_token_file, admin, TokenKind::User(user)).await?;
    let worker_token_file = dir.join("worker-token");
    ensure_token(&worker_token_file, admin, TokenKind::Worker).await?;

    let workspaces = dir.join("workspaces");
    make_private(&workspaces)?;
    let workspace_id = match find_workspace(&workspaces, workspace)? {
        Some(id) => id,
        None => create_workspace(&workspaces, admin, user, workspace).await?,
    };
    let workspace_token_file = workspaces.join(workspace_id.to_string()).join("token");
    ensure_token(&workspace_token_file, admin, TokenKind::WorkspaceAgent(workspace_id)).await?;
    Ok(Identity { user_token_file, worker_token_file, workspace_id, workspace_token_file })
}

/// Forgets everything, for the database does not know it.
pub(crate) fn forget(dir: &Path) -> Result<(), DevError> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed("remove", dir)(error)),
        _ => {}
    }
    Ok(make_private(dir)?)
}

/// A start that was cut short may have left a user of that name, whom nobody can be any more.
async fn create_user(admin: &Admin) -> Result<UserId, AdminError> {
    match admin.create_user(USER_NAME, true).await {
        Err(AdminError::NameTaken) => {
            admin.create_user(&format!("{USER_NAME}-{}", Uuid::now_v7()), true).await
        }
        created => created,
    }
}

/// A directory has one workspace for ever, so that its chats find their files again.
fn find_workspace(workspaces: &Path, directory: &Path) -> Result<Option<WorkspaceId>, DevError> {
    for entry in fs::read_dir(workspaces).map_err(failed("list", workspaces))? {
        let entry = entry.map_err(failed("list", workspaces))?;
        let path_file = entry.path().join("path");
        let is_it = read(&path_file)?.is_some_and(|path| OsStr::from_bytes(&path) == directory.as_os_str());
        let id = entry.file_name().to_str().and_then(|name| Uuid::try_parse(name).ok());
        if let (true, Some(id)) = (is_it, id) {
            return Ok(Some(WorkspaceId(id)));
        }
    }
    Ok(None)
}

async fn create_workspace(
    workspaces: &Path,
    admin: &Admin,
    user: UserId,
    directory: &Path,
) -> Result<WorkspaceId, DevError> {
    let name = directory.file_name().unwrap_or(directory.as_os_str()).to_string_lossy();
    let id = admin.create_workspace(user, &workspace_name(&name)).await?;
    let dir = workspaces.join(id.to_string());
    make_private(&dir)?;
    write_private(&dir.join("path"), directory.as_os_str().as_bytes())?;
    Ok(id)
}

/// A directory's name may be longer than a workspace's, and may hold what a name may not.
fn workspace_name(directory_name: &str) -> String {
    const NAME_CHARACTERS_MAX: usize = 64;
    let name: String = directory_name
        .chars()
        .filter(|character| !character.is_control())
        .take(NAME_CHARACTERS_MAX)
        .collect();
    if name.trim().is_empty() { "workspace".to_owned() } else { name }
}

async fn ensure_token(path: &Path, admin: &Admin, kind: TokenKind) -> Result<(), DevError> {
    if read(path)?.is_some_and(|token| !token.is_empty()) {
        return Ok(());
    }
    let token = admin.create_token(kind).await?;
    Ok(write_private(path, format!("{token}\n").as_bytes())?)
}

fn read_id(path: &Path) -> Result<Option<Uuid>, DevError> {
    let content = read(path)?.unwrap_or_default();
    Ok(std::str::from_utf8(&content).ok().and_then(|text| Uuid::try_parse(text.trim()).ok()))
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, DevError> {
    match fs::read(path) {
        Ok(content) => Ok(Some(content)),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(failed("read", path)(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workspace_is_found_again_by_its_directory_only() {
        let dir = tempfile::tempdir().unwrap();
        let id = Uuid::now_v7();
        fs::create_dir(dir.path().join(id.to_string())).unwrap();
        fs::write(dir.path().join(id.to_string()).join("path"), "/home/me/project").unwrap();
        fs::create_dir(dir.path().join("half-made")).unwrap();

        let found = |path: &str| find_workspace(dir.path(), Path::new(path)).unwrap();

        assert_eq!(found("/home/me/project"), Some(WorkspaceId(id)));
        assert_eq!(found("/home/me/project2"), None);
    }

    #[test]
    fn every_directory_gives_a_name_for_its_workspace() {
        assert_eq!(workspace_name("project"), "project");
        assert_eq!(workspace_name("/"), "/");
        assert_eq!(workspace_name("a\u{1b}[1mb"), "a[1mb");
        assert_eq!(workspace_name("\n"), "workspace");
        assert_eq!(workspace_name(&"ü".repeat(200)).chars().count(), 64);
    }
}
