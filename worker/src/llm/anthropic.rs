//! Anthropic's Messages API over server-sent events.

mod assembly;
mod failure;
mod history;
mod request;
mod wire;

use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderValue};

use self::assembly::MessageAssembly;
use super::ModelCall;
use super::call::WireFormat;
use super::failure::Reported;
use super::intake::Intake;
use super::state::Format;

/// Marks what must go back to Anthropic.
pub(super) const FORMAT: Format = Format { name: "anthropic.messages", version: 1 };
/// Version of the wire format.
const VERSION: &str = "2023-06-01";

/// The wire format.
#[derive(Debug)]
pub(super) struct Anthropic;

impl WireFormat for Anthropic {
    const NAME: &'static str = "anthropic";
    const PATH: &'static [&'static str] = &["v1", "messages"];
    type Assembly = MessageAssembly;

    fn headers(api_key: &str) -> Option<HeaderMap> {
        let mut key = HeaderValue::from_str(api_key).ok()?;
        key.set_sensitive(true);
        let mut headers = HeaderMap::new();
        headers.insert("x-api-key", key);
        headers.insert("anthropic-version", HeaderValue::from_static(VERSION));
        Some(headers)
    }

    fn body(call: &ModelCall, _: &Url) -> String {
        request::body(call)
    }

    fn intake(_: &Url, model: &str) -> Intake {
        request::intake(model)
    }

    fn reported(body: &[u8]) -> Option<Reported> {
        failure::reported(body)
    }

    fn assembly(model: String, answer_bytes_max: usize) -> MessageAssembly {
        MessageAssembly::new(model, answer_bytes_max)
    }
}
