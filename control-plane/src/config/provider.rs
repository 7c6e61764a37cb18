//! The providers that flags can name.

use super::{Config, ConfigError, given};

/// Anthropic's own address.
pub(super) const ANTHROPIC_BASE_URL: &str = "https://api.anthropic.com";
/// OpenAI's own address, with the version as its SDKs have it.
pub(super) const OPENAI_BASE_URL: &str = "https://api.openai.com/v1";

/// Tokens of an answer where Anthropic's API must be told a bound and the operator sets none:
/// what every model since Claude 4 can write.
const ANTHROPIC_OUTPUT_TOKENS: i64 = 32_000;

/// A provider, as the model's row and its credential name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProviderName {
    /// Anthropic's Messages.
    Anthropic,
    /// OpenAI's Chat Completions.
    OpenAi,
}

impl ProviderName {
    /// All of them.
    pub(super) const ALL: [Self; 2] = [Self::Anthropic, Self::OpenAi];

    /// The provider with this name.
    pub(super) fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|provider| provider.name() == name)
    }

    /// Its name.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Anthropic => "anthropic",
            Self::OpenAi => "openai",
        }
    }

    /// Its key, if one is given.
    pub(super) fn key(self, config: &Config) -> Option<&str> {
        let key = match self {
            Self::Anthropic => &config.anthropic_api_key,
            Self::OpenAi => &config.openai_api_key,
        };
        given(key.as_ref()).map(|key| key.trim())
    }

    /// The variable that its key comes in.
    pub(super) fn key_variable(self) -> &'static str {
        match self {
            Self::Anthropic => "ANTHROPIC_API_KEY",
            Self::OpenAi => "OPENAI_API_KEY",
        }
    }

    /// Tokens that an answer of its model may have.
    pub(super) fn output_tokens_max(self, config: &Config) -> i64 {
        match (self, config.model_output_tokens) {
            (Self::Anthropic, 0) => ANTHROPIC_OUTPUT_TOKENS,
            (Self::OpenAi, 0) => chatplane_domain::OUTPUT_TOKENS_UNBOUNDED,
            (Self::Anthropic | Self::OpenAi, tokens) => tokens,
        }
    }

    /// Its base URL, without a trailing slash.
    pub(super) fn endpoint(self, config: &Config) -> Result<String, ConfigError> {
        let (url, own, flag, variable) = match self {
            Self::Anthropic => {
                (&config.anthropic_base_url, ANTHROPIC_BASE_URL, "--anthropic-base-url", "ANTHROPIC_BASE_URL")
            }
            Self::OpenAi => {
                (&config.openai_base_url, OPENAI_BASE_URL, "--openai-base-url", "OPENAI_BASE_URL")
            }
        };
        let url = given(Some(url)).map_or(own, |url| url.trim());
        let host = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
        if host.is_none_or(|host| host.trim_matches('/').is_empty()) {
            return Err(ConfigError::BaseUrl { flag, variable });
        }
        Ok(url.trim_end_matches('/').to_owned())
    }
}
