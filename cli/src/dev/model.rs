//! Which model answers: a provider's, when there is a key, or the built-in demo model.

use hyper::Uri;
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use crate::{
    client::words::Advice,
    demo_model,
    dev::{DevError, Options},
};

const DEMO_MODEL: &str = "demo";
/// The demo model takes any key; this one is no secret.
const DEMO_KEY: &str = "demo-key";

/// Who answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Provider {
    /// Anthropic, or a server that speaks like it.
    Anthropic,
    /// OpenAI, or a server that speaks like it.
    OpenAi,
    /// The demo model, inside this process. It speaks like Anthropic.
    Demo,
}

impl Provider {
    /// The name of the wire format.
    pub(crate) fn wire_format(self) -> &'static str {
        match self {
            Self::Anthropic | Self::Demo => "anthropic",
            Self::OpenAi => "openai",
        }
    }

    /// What its person can do about a failure.
    pub(crate) fn advice(self) -> Advice {
        match self {
            Self::Anthropic | Self::OpenAi => {
                Advice::Variables { key: self.key_variable(), base_url: self.base_url_variable() }
            }
            Self::Demo => Advice::Nothing,
        }
    }

    /// The variable that holds the key.
    pub(crate) fn key_variable(self) -> &'static str {
        match self {
            Self::Anthropic | Self::Demo => "ANTHROPIC_API_KEY",
            Self::OpenAi => "OPENAI_API_KEY",
        }
    }

    /// The variable that holds the address.
    pub(crate) fn base_url_variable(self) -> &'static str {
        match self {
            Self::Anthropic | Self::Demo => "ANTHROPIC_BASE_URL",
            Self::OpenAi => "OPENAI_BASE_URL",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Anthropic => "Anthropic",
            Self::OpenAi => "OpenAI",
            Self::Demo => "chatplane",
        }
    }

    fn base_url_default(self) -> &'static str {
        match self {
            Self::Anthropic | Self::Demo => "https://api.anthropic.com",
            Self::OpenAi => "https://api.openai.com/v1",
        }
    }

    /// A capable model at a moderate price, for those who name none.
    fn model_default(self) -> &'static str {
        match self {
            Self::Anthropic => "claude-sonnet-4-6",
            Self::OpenAi => "gpt-5.1",
            Self::Demo => DEMO_MODEL,
        }
    }
}

/// What `serve` is told about the model.
pub(crate) struct Endpoint {
    pub(crate) provider: Provider,
    pub(crate) base_url: String,
    pub(crate) api_key: String,
    pub(crate) model: String,
}

/// The model of this run.
pub(crate) enum Model {
    /// A provider's.
    Provided {
        endpoint: Endpoint,
        /// The variable of a key that is set too, and is not used.
        unused_key: Option<&'static str>,
    },
    /// The demo model.
    Demo {
        /// What was asked for and cannot be had without a key.
        ignored: Option<String>,
    },
}

impl Model {
    /// Chooses by the key. An empty variable counts as none: compose files set them so.
    pub(crate) fn choose(options: &Options) -> Self {
        let anthropic_key = given(options.anthropic_api_key.as_ref());
        let openai_key = given(options.openai_api_key.as_ref());
        let unused_key =
            (anthropic_key.is_some() && openai_key.is_some()).then_some(Provider::OpenAi.key_variable());
        let (provider, api_key, base_url) = match (anthropic_key, openai_key) {
            (Some(key), _) => (Provider::Anthropic, key, &options.anthropic_base_url),
            (None, Some(key)) => (Provider::OpenAi, key, &options.openai_base_url),
            (None, None) => return Self::Demo { ignored: wanted_without_key(options) },
        };
        let endpoint = Endpoint {
            provider,
            base_url: given(base_url.as_ref()).unwrap_or_else(|| provider.base_url_default().to_owned()),
            api_key,
            model: given(options.model.as_ref()).unwrap_or_else(|| provider.model_default().to_owned()),
        };
        Self::Provided { endpoint, unused_key }
    }

    /// The first line that a person gets to read.
    pub(crate) fn first_line(&self) -> String {
        match self {
            Self::Provided { endpoint, unused_key } => {
                let Endpoint { provider, base_url, model, .. } = endpoint;
                let place = match base_url == provider.base_url_default() {
                    true => String::new(),
                    false => format!(" at {}", shown(base_url, provider.base_url_variable())),
                };
                let unused = unused_key.map_or_else(String::new, |name| format!("; {name} is not used"));
                let (name, key) = (provider.name(), provider.key_variable());
                format!("{name}'s {model}{place} answers ({key} is set{unused}).")
            }
            Self::Demo { ignored } => {
                let ignored = ignored.as_ref().map_or_else(String::new, |what| format!(", and not {what}"));
                format!("No ANTHROPIC_API_KEY or OPENAI_API_KEY: the built-in demo model answers{ignored}.")
            }
        }
    }

    /// Starts what has to be started, and says where the model is.
    pub(crate) async fn start(self) -> Result<RunningModel, DevError> {
        match self {
            Self::Provided { endpoint, .. } => Ok(RunningModel { endpoint, server: None }),
            Self::Demo { .. } => {
                let listener =
                    TcpListener::bind(("127.0.0.1", 0)).await.map_err(DevError::DemoModelUnavailable)?;
                let address = listener.local_addr().map_err(DevError::DemoModelUnavailable)?;
                let server = tokio::spawn(demo_model::serve(listener, CancellationToken::new()));
                let endpoint = Endpoint {
                    provider: Provider::Demo,
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

fn given(value: Option<&String>) -> Option<String> {
    value.filter(|value| !value.trim().is_empty()).cloned()
}

/// Servers on one's own machine often want no key, and their users may set none.
fn wanted_without_key(options: &Options) -> Option<String> {
    let addresses =
        [(Provider::Anthropic, &options.anthropic_base_url), (Provider::OpenAi, &options.openai_base_url)];
    let address = addresses.into_iter().find_map(|(provider, url)| {
        let url = given(url.as_ref())?;
        Some(shown(&url, provider.base_url_variable()))
    });
    match (given(options.model.as_ref()), address) {
        (Some(model), None) => Some(model),
        (Some(model), Some(url)) => Some(format!("{model} at {url}")),
        (None, Some(url)) => Some(format!("the one at {url}")),
        (None, None) => None,
    }
}

/// What may be shown of an address: it may hold a password or a key, and a terminal's history is no place for
/// them. Of what is no address nothing is shown, for nobody knows what it is.
fn shown(url: &str, variable: &str) -> String {
    let parsed = url.trim().parse::<Uri>().ok();
    let plain = parsed.as_ref().and_then(|uri| {
        let authority = uri.authority()?.as_str();
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        Some(format!("{}://{host}{}", uri.scheme_str()?, uri.path().trim_end_matches('/')))
    });
    plain.unwrap_or_else(|| format!("the address in {variable}"))
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

    /// The tests' own environment may hold keys, so every flag is given.
    fn choose(anthropic_key: &str, openai_key: &str, model: &str) -> Model {
        let flags = [
            ["--anthropic-api-key", anthropic_key],
            ["--anthropic-base-url", "https://u:secret@host/v"],
            ["--openai-api-key", openai_key],
            ["--openai-base-url", ""],
            ["--model", model],
        ];
        let flags = std::iter::once("dev").chain(flags.into_iter().flatten());
        Model::choose(&Program::try_parse_from(flags).unwrap().options)
    }

    #[test]
    fn without_a_key_the_demo_model_answers_and_the_first_line_says_so() {
        let flags = ["--anthropic-api-key", "--openai-api-key", "--anthropic-base-url", "--openai-base-url"];
        let flags = flags.into_iter().chain(["--model"]).flat_map(|flag| [flag, " "]);
        let options = Program::try_parse_from(std::iter::once("dev").chain(flags)).unwrap().options;

        let line = Model::choose(&options).first_line();

        assert_eq!(line, "No ANTHROPIC_API_KEY or OPENAI_API_KEY: the built-in demo model answers.");
    }

    #[test]
    fn with_a_key_the_first_line_names_provider_and_model_and_no_secret() {
        assert_eq!(
            choose("sk-1", "", "big").first_line(),
            "Anthropic's big at https://host/v answers (ANTHROPIC_API_KEY is set)."
        );
        assert_eq!(choose("", "sk-2", "").first_line(), "OpenAI's gpt-5.1 answers (OPENAI_API_KEY is set).");
    }

    #[test]
    fn of_two_keys_anthropics_is_used_and_the_first_line_says_so() {
        let model = choose("sk-1", "sk-2", "big");

        assert_eq!(
            model.first_line(),
            "Anthropic's big at https://host/v answers (ANTHROPIC_API_KEY is set; OPENAI_API_KEY is not used)."
        );
        let Model::Provided { endpoint, .. } = model else { panic!("a key was given") };
        assert_eq!((endpoint.provider, endpoint.api_key.as_str()), (Provider::Anthropic, "sk-1"));
    }

    #[test]
    fn of_an_address_only_what_can_be_no_secret_is_shown() {
        let shown = |url| shown(url, "OPENAI_BASE_URL");

        assert_eq!(shown("https://u:p@host:8443/v1/?api-key=secret#secret"), "https://host:8443/v1");
        assert_eq!(shown("http://127.0.0.1:80"), "http://127.0.0.1:80");
        for odd in
            ["secret", "secret@host", "https//u:secret@host", "https://", "//u:secret@h", "ht tp://secret"]
        {
            assert_eq!(shown(odd), "the address in OPENAI_BASE_URL", "{odd}");
        }
    }

    #[test]
    fn what_was_asked_for_without_a_key_is_not_ignored_in_silence() {
        let line = choose("", "", "big").first_line();

        assert!(line.ends_with("the built-in demo model answers, and not big at https://host/v."), "{line}");
    }
}
