//! What a command gets to see of the agent's environment: a list of harmless variables, and nothing else.
//!
//! A list of what is allowed, since nobody can list all that is secret. Proxy variables are not on it: their
//! values may hold a password.

use std::{env, ffi::OsString};

use crate::ConfigError;

/// Our own variables hold tokens, and the addresses of what they open.
const OUR_PREFIX: &str = "CHATPLANE_";

/// The variables of model providers hold their keys, or say where these go. Where the control plane runs in
/// the same process they are its own.
const PROVIDER_PREFIXES: [&str; 2] = ["ANTHROPIC_", "OPENAI_"];

/// No command has a terminal, and none shall think that it has.
const TERMINAL: (&str, &str) = ("TERM", "dumb");

/// The variables that commands get from the agent's environment, where it has them. `TERM` is set beside
/// them, and `--pass-env` adds others.
pub const TOOL_ENVIRONMENT: &[&str] = &[
    // Who and where.
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "TZ",
    "TMPDIR",
    // How people are spoken to.
    "LANG",
    "LANGUAGE",
    "LC_ALL",
    "LC_ADDRESS",
    "LC_COLLATE",
    "LC_CTYPE",
    "LC_IDENTIFICATION",
    "LC_MEASUREMENT",
    "LC_MESSAGES",
    "LC_MONETARY",
    "LC_NAME",
    "LC_NUMERIC",
    "LC_PAPER",
    "LC_TELEPHONE",
    "LC_TIME",
    // Where programs keep their files.
    "XDG_CACHE_HOME",
    "XDG_CONFIG_DIRS",
    "XDG_CONFIG_HOME",
    "XDG_DATA_DIRS",
    "XDG_DATA_HOME",
    "XDG_RUNTIME_DIR",
    "XDG_STATE_HOME",
    // Where toolchains are.
    "ANDROID_HOME",
    "BUN_INSTALL",
    "CARGO_HOME",
    "CARGO_TARGET_DIR",
    "CONDA_PREFIX",
    "DENO_DIR",
    "DOTNET_ROOT",
    "GEM_HOME",
    "GEM_PATH",
    "GOCACHE",
    "GOMODCACHE",
    "GOPATH",
    "GOROOT",
    "GRADLE_USER_HOME",
    "JAVA_HOME",
    "LD_LIBRARY_PATH",
    "LIBRARY_PATH",
    "MANPATH",
    "NIX_PATH",
    "NIX_PROFILES",
    "NODE_PATH",
    "NVM_DIR",
    "PKG_CONFIG_PATH",
    "PNPM_HOME",
    "PYENV_ROOT",
    "PYTHONPATH",
    "RBENV_ROOT",
    "RUSTUP_HOME",
    "RUSTUP_TOOLCHAIN",
    "SDKMAN_DIR",
    "VIRTUAL_ENV",
    "VOLTA_HOME",
    // What certificates are checked against.
    "CURL_CA_BUNDLE",
    "NIX_SSL_CERT_FILE",
    "NODE_EXTRA_CA_CERTS",
    "REQUESTS_CA_BUNDLE",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
];

/// The whole environment of every command.
#[derive(Clone)]
pub(crate) struct Environment {
    variables: Vec<(String, OsString)>,
}

impl Environment {
    /// Of this process's own environment, as it is now: what all commands get, and what the operator named.
    pub(crate) fn cleaned(pass: &[String]) -> Result<Self, ConfigError> {
        Self::of(pass, |name| env::var_os(name))
    }

    fn of(pass: &[String], value: impl Fn(&str) -> Option<OsString>) -> Result<Self, ConfigError> {
        let pass: Vec<_> = pass.iter().map(|name| name.trim()).filter(|name| !name.is_empty()).collect();
        if let Some(name) = pass.iter().find(|name| name.starts_with(OUR_PREFIX)) {
            return Err(ConfigError::PassEnvOurs { name: shown(name) });
        }
        let is_providers = |name: &&&str| PROVIDER_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
        if let Some(name) = pass.iter().find(is_providers) {
            return Err(ConfigError::PassEnvProvider { name: shown(name) });
        }
        // The words are not repeated: who gave `NAME=value` may have given a secret.
        if pass.iter().any(|name| name.contains(['=', '\0'])) {
            return Err(ConfigError::PassEnvMalformed);
        }
        let mut variables = vec![(TERMINAL.0.to_owned(), OsString::from(TERMINAL.1))];
        for name in TOOL_ENVIRONMENT.iter().chain(&pass) {
            if let Some(value) = value(name) {
                variables.push(((*name).to_owned(), value));
            }
        }
        Ok(Self { variables })
    }

    /// Names and values. Of a name that is here twice the last value counts.
    pub(crate) fn variables(&self) -> impl Iterator<Item = (&str, &OsString)> {
        self.variables.iter().map(|(name, value)| (name.as_str(), value))
    }
}

/// A name without the value that may have been given with it, which may be a secret.
fn shown(name: &str) -> String {
    name.split('=').next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(pass: &[&str]) -> Result<Vec<String>, ConfigError> {
        let pass: Vec<_> = pass.iter().map(|name| (*name).to_owned()).collect();
        let environment = Environment::of(&pass, |_| Some("value".into()))?;
        Ok(environment.variables().map(|(name, _)| name.to_owned()).collect())
    }

    #[test]
    fn no_name_on_the_list_is_that_of_a_secret() {
        for name in names(&[]).unwrap() {
            for word in ["KEY", "TOKEN", "SECRET", "PASS", "AUTH", "BASE_URL", "PROXY", "proxy", "CHATPLANE"]
            {
                assert!(!name.contains(word), "{name}");
            }
        }
    }

    #[test]
    fn the_terminal_is_always_a_dumb_one() {
        let environment = Environment::of(&[], |name| (name == "TERM").then(|| "xterm".into())).unwrap();

        let variables: Vec<_> = environment.variables().collect();
        assert_eq!(variables, [("TERM", &OsString::from("dumb"))]);
    }

    #[test]
    fn an_operator_may_add_names() {
        let all = names(&["HTTPS_PROXY", " SSH_AUTH_SOCK ", ""]).unwrap();

        assert!(all.ends_with(&["HTTPS_PROXY".to_owned(), "SSH_AUTH_SOCK".to_owned()]), "{all:?}");
    }

    #[test]
    fn our_own_variables_are_refused_by_name() {
        let error = names(&["FOO", "CHATPLANE_WORKSPACE_TOKEN"]).unwrap_err().to_string();

        assert!(error.contains("CHATPLANE_WORKSPACE_TOKEN") && error.contains("--pass-env"), "{error}");
    }

    #[test]
    fn variables_of_model_providers_are_refused_by_name_and_without_their_value() {
        for name in ["ANTHROPIC_API_KEY", "OPENAI_API_KEY", "OPENAI_BASE_URL"] {
            let error = names(&["FOO", &format!("{name}=sesame")]).unwrap_err().to_string();

            assert!(error.contains(name) && error.contains("--pass-env"), "{error}");
            assert!(!error.contains("sesame"), "{error}");
        }
    }

    #[test]
    fn a_value_instead_of_a_name_is_refused_and_not_repeated() {
        let error = names(&["FOO=sesame"]).unwrap_err().to_string();

        assert!(error.contains("names") && !error.contains("sesame"), "{error}");
    }
}
