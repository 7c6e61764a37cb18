//! Anthropic's Messages API over server-sent events.
//!
//! A thin client of our own: one POST a call, never repeated, since a repeat is
//! billed twice; whether to try again is the turn's decision. The stream is read
//! as its consumer asks for it, so that a slow consumer slows the provider down
//! and nothing piles up here; dropping it closes the connection.

mod assembly;
mod failure;
mod history;
mod request;
mod state;
mod wire;

use std::collections::VecDeque;
use std::time::SystemTime;

use bytes::Bytes;
use chatplane_domain::ErrorKind;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Client, Response, Url};
use tokio::time::{Instant, timeout_at};

use self::assembly::Assembly;
use self::failure::{Failures, Refusal};
use super::http::{self, Clients};
use super::{CallFailure, CallLimits, ModelCall, ModelEvent, Provider, sse};

/// The provider's name in a model's configuration, and in errors.
pub(super) const NAME: &str = "anthropic";
/// Version of the wire format.
const VERSION: &str = "2023-06-01";
/// What one event may have: far above any that carries a delta, and enough for
/// encrypted thinking, which comes in one piece.
const EVENT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The provider.
#[derive(Debug, Default)]
pub(super) struct Anthropic {
    clients: Clients,
}

impl Provider for Anthropic {
    fn call(&self, call: ModelCall) -> BoxStream<'static, Result<ModelEvent, CallFailure>> {
        let first = match Prepared::new(&self.clients, &call) {
            Ok(prepared) => Step::Open(Box::new(prepared)),
            Err(failure) => Step::Fail(Box::new(failure)),
        };
        stream::try_unfold(first, next).boxed()
    }
}

/// Where a call is.
enum Step {
    Open(Box<Prepared>),
    Read(Box<Reading>),
    Fail(Box<CallFailure>),
}

async fn next(step: Step) -> Result<Option<(ModelEvent, Step)>, CallFailure> {
    let mut reading = match step {
        Step::Open(prepared) => Box::new(prepared.open().await?),
        Step::Read(reading) => reading,
        Step::Fail(failure) => return Err(*failure),
    };
    let event = reading.next_event().await?;
    Ok(event.map(|event| (event, Step::Read(reading))))
}

/// A call that is ready to be sent.
struct Prepared {
    client: Client,
    url: Url,
    headers: HeaderMap,
    body: String,
    failures: Failures,
    model: String,
    limits: CallLimits,
}

impl Prepared {
    fn new(clients: &Clients, call: &ModelCall) -> Result<Self, CallFailure> {
        let url = Url::parse(&format!("{}/v1/messages", call.endpoint.trim_end_matches('/'))).ok();
        let url = url.filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        let host = url.as_ref().map(http::host_of).unwrap_or_default();
        let failures = Failures { host, api_key: call.api_key.clone() };
        let unusable = |detail: &str| failures.failure(ErrorKind::ModelUnusable, None, detail);
        let url = url.ok_or_else(|| unusable("the endpoint is not an http or https URL"))?;
        let headers = headers(&call.api_key)
            .ok_or_else(|| unusable("the key has characters that cannot be sent in a header"))?;
        // Fails where TLS is needed and the machine has no root certificates.
        let client = clients.get(&url).map_err(|error| unusable(&http::describe(error)))?.clone();
        let model = call.provider_model.clone();
        Ok(Self { client, url, headers, body: request::body(call), failures, model, limits: call.limits })
    }

    /// Sends the call and waits for the head of the answer.
    async fn open(self) -> Result<Reading, CallFailure> {
        let started = Instant::now();
        let first_token = started + self.limits.first_token_timeout;
        let body = Bytes::from(self.body);
        let send = self.client.post(self.url).headers(self.headers).body(body.clone()).send();
        let response = match timeout_at(first_token, send).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => {
                let detail = http::describe(error);
                return Err(self.failures.failure(ErrorKind::ProviderUnavailable, None, &detail));
            }
            Err(_) => {
                return Err(self.failures.failure(ErrorKind::Timeout, None, "no answer at all"));
            }
        };
        if !is_event_stream(&response) {
            return Err(refused(&self.failures, response, &body).await);
        }
        Ok(Reading {
            response,
            chunk: Bytes::new(),
            decoder: sse::Decoder::new(EVENT_BYTES_MAX),
            assembly: Assembly::new(self.model, self.limits.answer_bytes_max),
            events: VecDeque::new(),
            finished: false,
            first_token,
            answer_end: started + self.limits.answer_duration_max,
            limits: self.limits,
            failures: self.failures,
        })
    }
}

fn headers(api_key: &str) -> Option<HeaderMap> {
    let mut key = HeaderValue::from_str(api_key).ok()?;
    key.set_sensitive(true);
    let mut headers = HeaderMap::new();
    headers.insert("x-api-key", key);
    headers.insert("anthropic-version", HeaderValue::from_static(VERSION));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert("accept", HeaderValue::from_static("text/event-stream"));
    Some(headers)
}

fn content_type(headers: &HeaderMap) -> Option<&str> {
    headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok())
}

/// A success that does not say what it is gets the benefit of the doubt: the
/// decoder finds out.
fn is_event_stream(response: &Response) -> bool {
    response.status().as_u16() == 200
        && content_type(response.headers()).is_none_or(|kind| kind.starts_with("text/event-stream"))
}

async fn refused(failures: &Failures, response: Response, request: &[u8]) -> CallFailure {
    let headers = response.headers().clone();
    let status = response.status().as_u16();
    let body = http::error_body(response).await;
    let refusal = Refusal {
        status,
        body: &body,
        content_type: content_type(&headers).unwrap_or_default(),
        retry_after: http::retry_after(&headers, SystemTime::now()),
        never_retry: headers.get("x-should-retry").is_some_and(|value| value == "false"),
    };
    failures.refusal(&refusal, std::str::from_utf8(request).unwrap_or_default())
}

/// An answer that is coming.
struct Reading {
    response: Response,
    /// Bytes that have come and are not decoded yet.
    chunk: Bytes,
    decoder: sse::Decoder,
    assembly: Assembly,
    /// What the last event said; a few at most.
    events: VecDeque<ModelEvent>,
    finished: bool,
    first_token: Instant,
    answer_end: Instant,
    limits: CallLimits,
    failures: Failures,
}

impl Reading {
    async fn next_event(&mut self) -> Result<Option<ModelEvent>, CallFailure> {
        loop {
            if let Some(event) = self.events.pop_front() {
                self.finished = matches!(event, ModelEvent::Finished(_));
                return Ok(Some(event));
            }
            if self.finished {
                return Ok(None);
            }
            match self.decoder.next_event(&mut self.chunk) {
                Ok(Some(event)) => {
                    let events = self.assembly.event(&event);
                    self.events = events.map_err(|fault| self.failures.fault(&fault))?.into();
                }
                Ok(None) => self.chunk = self.read().await?,
                Err(error) => {
                    let detail = error.to_string();
                    return Err(self.failures.failure(ErrorKind::AnswerTooLarge, Some(200), &detail));
                }
            }
        }
    }

    /// Waits for bytes. Before the answer begins, the deadline of the first token
    /// counts and signs of life do not; afterwards any byte ends a silence, since
    /// a model that hides its thinking sends nothing but pings for minutes.
    async fn read(&mut self) -> Result<Bytes, CallFailure> {
        let deadline = match self.assembly.begun {
            true => Instant::now() + self.limits.silence_timeout,
            false => self.first_token,
        };
        let until = deadline.min(self.answer_end);
        // A read that is always ready would never let the deadline speak.
        let read = match Instant::now() < until {
            true => timeout_at(until, self.response.chunk()).await.ok(),
            false => None,
        };
        let fail = |kind, detail: &str| Err(self.failures.failure(kind, Some(200), detail));
        match read {
            Some(Ok(Some(chunk))) => Ok(chunk),
            Some(Ok(None)) => fail(ErrorKind::MalformedResponse, "the stream ended before the message did"),
            Some(Err(error)) => fail(ErrorKind::ProviderUnavailable, &http::describe(error)),
            None if deadline > self.answer_end => {
                fail(ErrorKind::AnswerTooLarge, "the answer took longer than allowed")
            }
            None if self.assembly.begun => fail(ErrorKind::Timeout, "the stream fell silent"),
            None => fail(ErrorKind::Timeout, "no first token"),
        }
    }
}

#[cfg(test)]
#[path = "anthropic/tests.rs"]
mod tests;
