//! Where things are: the workspace, and the data directory, which never lies inside it.
//!
//! An agent reads its workspace, and will write to it: the database and the tokens must be out of its reach.

use std::{
    env,
    ffi::OsString,
    path::{Component, Path, PathBuf},
};

use crate::{
    dev::{DevError, Options},
    system,
};

/// The two directories of a run, both without links and `..`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Places {
    pub(crate) workspace: PathBuf,
    pub(crate) data: PathBuf,
}

impl Places {
    /// Finds both, and refuses one inside the other.
    pub(crate) fn find(options: &Options) -> Result<Self, DevError> {
        let workspace = options
            .dir
            .canonicalize()
            .ok()
            .filter(|path| path.is_dir())
            .ok_or_else(|| DevError::WorkspaceUnusable { dir: options.dir.clone() })?;
        let data = match &options.data_dir {
            Some(dir) => dir.clone(),
            None => Surroundings::of_this_process().data_dir().ok_or(DevError::DataDirUnknown)?,
        };
        let data = real_path(&data).ok_or(DevError::DataDirUnknown)?;
        Self { workspace, data }.kept_apart()
    }

    fn kept_apart(self) -> Result<Self, DevError> {
        let Self { workspace, data } = self;
        if data.starts_with(&workspace) {
            return Err(DevError::DataDirInside { data, workspace });
        }
        if workspace.starts_with(&data) {
            return Err(DevError::WorkspaceInside { data, workspace });
        }
        Ok(Self { workspace, data })
    }
}

/// What the default depends on.
struct Surroundings {
    is_root: bool,
    xdg_data_home: Option<OsString>,
    home: Option<OsString>,
    home_from_user_database: fn() -> Option<PathBuf>,
}

impl Surroundings {
    fn of_this_process() -> Self {
        Self {
            is_root: rustix::process::geteuid().is_root(),
            xdg_data_home: env::var_os("XDG_DATA_HOME"),
            home: env::var_os("HOME"),
            home_from_user_database: system::home_from_user_database,
        }
    }

    /// As root the home is closed to the user who runs PostgreSQL, so the data of the system is used.
    fn data_dir(self) -> Option<PathBuf> {
        if self.is_root {
            return Some("/var/lib/chatplane".into());
        }
        let absolute = |value: Option<OsString>| value.map(PathBuf::from).filter(|path| path.is_absolute());
        let user_data = absolute(self.xdg_data_home).or_else(|| {
            let home = absolute(self.home).or_else(self.home_from_user_database)?;
            Some(home.join(".local/share"))
        })?;
        Some(user_data.join("chatplane"))
    }
}

/// The path without links and `..`, also when its end does not exist yet.
fn real_path(path: &Path) -> Option<PathBuf> {
    let path = std::path::absolute(path).ok()?;
    for existing in path.ancestors() {
        let Ok(real) = existing.canonicalize() else {
            continue;
        };
        let missing = path.strip_prefix(existing).ok()?;
        return missing.components().try_fold(real, |real, step| match step {
            Component::Normal(name) => Some(real.join(name)),
            // What `..` leads to cannot be said before the steps before it exist.
            _ => None,
        });
    }
    None
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    fn surroundings() -> Surroundings {
        Surroundings {
            is_root: false,
            xdg_data_home: None,
            home: None,
            home_from_user_database: || Some("/home/from-database".into()),
        }
    }

    #[test]
    fn the_data_directory_is_the_users_own_or_as_root_the_systems() {
        let of = |surroundings: Surroundings| surroundings.data_dir().unwrap();

        assert_eq!(
            of(Surroundings {
                xdg_data_home: Some("/xdg".into()),
                home: Some("/h".into()),
                ..surroundings()
            }),
            Path::new("/xdg/chatplane")
        );
        assert_eq!(
            of(Surroundings {
                xdg_data_home: Some("relative".into()),
                home: Some("/h".into()),
                ..surroundings()
            }),
            Path::new("/h/.local/share/chatplane")
        );
        assert_eq!(of(surroundings()), Path::new("/home/from-database/.local/share/chatplane"));
        assert_eq!(
            of(Surroundings { is_root: true, home: Some("/root".into()), ..surroundings() }),
            Path::new("/var/lib/chatplane")
        );
    }

    #[test]
    fn without_any_home_no_directory_is_guessed() {
        let nowhere = Surroundings { home_from_user_database: || None, ..surroundings() };

        assert_eq!(nowhere.data_dir(), None);
    }

    #[test]
    fn neither_directory_may_lie_in_the_other() {
        let places = |workspace: &str, data: &str| {
            Places { workspace: workspace.into(), data: data.into() }.kept_apart()
        };

        assert!(matches!(places("/w", "/w/data"), Err(DevError::DataDirInside { .. })));
        assert!(matches!(places("/w", "/w"), Err(DevError::DataDirInside { .. })));
        assert!(matches!(places("/d/w", "/d"), Err(DevError::WorkspaceInside { .. })));
        assert!(places("/w", "/w2").is_ok());
    }

    #[test]
    fn a_link_does_not_hide_where_a_missing_directory_would_be() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        fs::create_dir(root.join("real")).unwrap();
        symlink(root.join("real"), root.join("link")).unwrap();

        assert_eq!(real_path(&root.join("link/a/b")), Some(root.join("real/a/b")));
        assert_eq!(real_path(&root.join("missing/../x")), None);
    }
}
