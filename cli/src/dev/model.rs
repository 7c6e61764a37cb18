//! Which model answers: the provider's, when there is a key, or the built-in demo model.

use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use crate::{
    demo_model,
    dev::{DevError, Options},
};

/// A capable model at a moderate price, for those who name none.
const ANTHROPIC_MODEL_DEFAULT: &str = "claude-sonnet-4-6";
const ANTHROPIC_BASE_URL: &str = "https://api.anthropic.com";
const DEMO_MODEL: &str = "demo";
/// The demo model takes any key; this one is no secret.
const DEMO_KEY: &str = "demo";

/// What `serve` is told about the model.
pub(crate) struct Endpoint {
    pub(crate) base_url: String,
    pub(crate) api_key: String,
    pub(crate) model: String,
}

/// The model of this run.
pub(crate) enum Model {
    /// Anthropic, or a server that speaks like it.
    Anthropic(Endpoint),
    /// The demo model, inside this process.
    Demo {
        /// A name that was given without a key.
        ignored: Option<String>,
    },
}

impl Model {
    /// Chooses by the key. An empty variable counts as none: compose files set them so.
    pub(crate) fn choose(options: &Options) -> Self {
        let given = |value: &Option<String>| value.clone().filter(|value| !value.trim().is_empty());
        let Some(api_key) = given(&options.anthropic_api_key) else {
            return Self::Demo { ignored: given(&options.model) };
        };
        Self::Anthropic(Endpoint {
            base_url: given(&options.anthropic_base_url).unwrap_or_else(|| ANTHROPIC_BASE_URL.to_owned()),
            api_key,
            model: given(&options.model).unwrap_or_else(|| ANTHROPIC_MODEL_DEFAULT.to_owned()),
        })
    }

    /// The first line that a person gets to read.
    pub(crate) fn first_line(&self) -> String {
        match self {
            Self::Anthropic(endpoint) if endpoint.base_url == ANTHROPIC_BASE_URL => {
                format!("Anthropic's {} answers (ANTHROPIC_API_KEY is set).", endpoint.model)
            }
            Self::Anthropic(endpoint) => format!(
                "Anthropic's {} at {} answers (ANTHROPIC_API_KEY is set).",
                endpoint.model,
                without_credentials(&endpoint.base_url)
            ),
            Self::Demo { ignored: None } => {
                "No ANTHROPIC_API_KEY: the built-in demo model answers.".to_owned()
            }
            Self::Demo { ignored: Some(model) } => {
                format!("No ANTHROPIC_API_KEY: the built-in demo model answers, and not {model}.")
            }
        }
    }

    /// Starts what has to be started, and says where the model is.
    pub(crate) async fn start(self) -> Result<RunningModel, DevError> {
        match self {
            Self::Anthropic(endpoint) => Ok(RunningModel { endpoint, server: None }),
            Self::Demo { .. } => {
                let listener =
                    TcpListener::bind(("127.0.0.1", 0)).await.map_err(DevError::DemoModelUnavailable)?;
                let address = listener.local_addr().map_err(DevError::DemoModelUnavailable)?;
                let shutdown = CancellationToken::new();
                let server = tokio::spawn(demo_model::serve(listener, shutdown.clone()));
                let endpoint = Endpoint {
                    base_url: format!("http://{address}"),
                    api_key: DEMO_KEY.to_owned(),
                    model: DEMO_MODEL.to_owned(),
                };
                Ok(RunningModel { endpoint, server: Some(AbortOnDropHandle::new(server)) })
            }
        }
    }
}

/// The model, ready to be called.
pub(crate) struct RunningModel {
    pub(crate) endpoint: Endpoint,
    /// The demo model's server ends with this.
    #[expect(dead_code, reason = "held for its drop")]
    server: Option<AbortOnDropHandle<std::io::Result<()>>>,
}

/// An address may hold a user and a password; a terminal's history is no place for them.
fn without_credentials(url: &str) -> String {
    match url.split_once("://") {
        Some((scheme, rest)) => {
            let authority_end = rest.find('/').unwrap_or(rest.len());
            let (authority, path) = rest.split_at(authority_end);
            let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
            format!("{scheme}://{host}{path}")
        }
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        options: Options,
    }

    fn choose(flags: &[&str]) -> Model {
        let flags = [&["dev", "--anthropic-base-url", "https://u:secret@host/v"], flags].concat();
        Model::choose(&Program::try_parse_from(flags).unwrap().options)
    }

    #[test]
    fn without_a_key_the_demo_model_answers_and_the_first_line_says_so() {
        let model = choose(&["--anthropic-api-key", " "]);

        assert_eq!(model.first_line(), "No ANTHROPIC_API_KEY: the built-in demo model answers.");
    }

    #[test]
    fn with_a_key_the_first_line_names_provider_and_model_and_no_secret() {
        let line = choose(&["--anthropic-api-key", "sk-1", "--model", "big"]).first_line();

        assert_eq!(line, "Anthropic's big at https://host/v answers (ANTHROPIC_API_KEY is set).");
    }

    #[test]
    fn a_model_by_name_without_a_key_is_not_ignored_in_silence() {
        let line = choose(&["--anthropic-api-key", "", "--model", "big"]).first_line();

        assert_eq!(line, "No ANTHROPIC_API_KEY: the built-in demo model answers, and not big.");
    }
}
