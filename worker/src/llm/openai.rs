//! OpenAI's Chat Completions over server-sent events, as OpenAI and many servers
//! that speak like it have them.
//!
//! The base URL includes the version (`https://api.openai.com/v1`), as OpenAI's SDKs
//! have it.

mod assembly;
mod details;
mod failure;
mod fragment;
mod history;
mod object_end;
mod parts;
mod request;
mod usage;
mod wire;

use std::time::Duration;

use reqwest::Url;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};

use self::assembly::ChatAssembly;
use super::call::WireFormat;
use super::failure::Reported;
use super::intake::Intake;
use super::state::Format;
use super::{CallLimits, ModelCall};

/// Marks what must go back to a server that speaks Chat Completions.
pub(super) const FORMAT: Format = Format { name: "openai.chat_completions", version: 1 };

/// The wire format.
#[derive(Debug)]
pub(super) struct OpenAi;

impl WireFormat for OpenAi {
    const NAME: &'static str = "openai";
    const PATH: &'static [&'static str] = &["chat", "completions"];
    type Assembly = ChatAssembly;

    fn headers(api_key: &str) -> Option<HeaderMap> {
        let mut headers = HeaderMap::new();
        // A server of one's own may want no key.
        if !api_key.is_empty() {
            let mut key = HeaderValue::from_str(&format!("Bearer {api_key}")).ok()?;
            key.set_sensitive(true);
            headers.insert(AUTHORIZATION, key);
        }
        Some(headers)
    }

    fn body(call: &ModelCall, url: &Url) -> String {
        request::body(call, request::Server::of(url))
    }

    fn intake(url: &Url, model: &str) -> Intake {
        request::intake(model, request::Server::of(url))
    }

    fn reported(body: &[u8]) -> Option<Reported> {
        failure::reported(body)
    }

    /// Servers that hide what a model thinks send nothing meanwhile, so that the first token
    /// may take as long as a silence may.
    fn first_token_timeout(limits: &CallLimits) -> Duration {
        limits.first_token_timeout.max(limits.silence_timeout)
    }

    fn assembly(model: String, answer_bytes_max: usize) -> ChatAssembly {
        ChatAssembly::new(model, answer_bytes_max)
    }
}
