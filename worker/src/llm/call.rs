//! A model call over HTTP, for every wire format that streams server-sent events.
//!
//! A thin client of our own: one POST a call, never repeated, since a repeat is
//! billed twice; whether to try again is the turn's decision. The stream is read
//! as its consumer asks for it, so that a slow consumer slows the provider down
//! and nothing piles up here; dropping it closes the connection. The request is made when the
//! stream is first asked, a large one aside.

use std::marker::PhantomData;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use chatplane_domain::ErrorKind;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Client, Response, Url};
use tokio::time::{Instant, timeout_at};

use super::assembly::Assembly;
use super::base64;
use super::failure::{Failures, Refusal, Reported};
use super::http::{self, Clients};
use super::intake::Intake;
use super::reading::{Reading, Times};
use super::{CallFailure, CallLimits, ModelCall, ModelEvent, Provider, size};
use crate::aside::computed;

/// The content type of server-sent events.
const EVENT_STREAM: &str = "text/event-stream";

/// What one wire format adds to a call.
pub(super) trait WireFormat: Send + Sync + 'static {
    /// The provider's name in a model's configuration, and in errors.
    const NAME: &'static str;
    /// Where calls go, below the base URL.
    const PATH: &'static [&'static str];
    /// Adds up a stream.
    type Assembly: Assembly;

    /// Headers that carry the key; `None` when a header cannot.
    fn headers(api_key: &str) -> Option<HeaderMap>;

    /// The request as JSON, for the server at `url`.
    fn body(call: &ModelCall, url: &Url) -> String;

    /// Which files a model of the server at `url` takes as they are.
    fn intake(url: &Url, model: &str) -> Intake;

    /// The error that the body of an answer reports; `None` when it is not the
    /// provider's language.
    fn reported(body: &[u8]) -> Option<Reported>;

    /// How long the first token may take.
    fn first_token_timeout(limits: &CallLimits) -> Duration {
        limits.first_token_timeout
    }

    /// The assembly of an answer of `model`.
    fn assembly(model: String, answer_bytes_max: usize) -> Self::Assembly;
}

/// A provider that is called over HTTP.
pub(super) struct HttpProvider<F> {
    clients: Clients,
    format: PhantomData<F>,
}

impl<F> Default for HttpProvider<F> {
    fn default() -> Self {
        Self { clients: Clients::default(), format: PhantomData }
    }
}

impl<F: WireFormat> Provider for HttpProvider<F> {
    fn call(&self, call: ModelCall) -> BoxStream<'static, Result<ModelEvent, CallFailure>> {
        let first = match Prepared::new::<F>(&self.clients, call) {
            Ok(prepared) => Step::<F>::Open(Box::new(prepared)),
            Err(failure) => Step::Fail(Box::new(failure)),
        };
        stream::try_unfold(first, next).boxed()
    }

    fn intake(&self, endpoint: &str, provider_model: &str) -> Intake {
        // A call to an endpoint that is none fails, whatever it has.
        let url = http::url_below(endpoint, F::PATH);
        url.map_or(Intake::WORDS, |url| F::intake(&url, provider_model))
    }
}

/// Where a call is.
enum Step<F: WireFormat> {
    Open(Box<Prepared>),
    Read(Box<Reading<F::Assembly>>),
    Fail(Box<CallFailure>),
}

async fn next<F: WireFormat>(step: Step<F>) -> Result<Option<(ModelEvent, Step<F>)>, CallFailure> {
    let mut reading = match step {
        Step::Open(prepared) => Box::new(prepared.open::<F>().await?),
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
    call: ModelCall,
    failures: Failures,
}

impl Prepared {
    fn new<F: WireFormat>(clients: &Clients, mut call: ModelCall) -> Result<Self, CallFailure> {
        let url = http::url_below(&call.endpoint, F::PATH);
        let host = url.as_ref().map(http::host_of).unwrap_or_default();
        let has_files = base64::files(&call).next().is_some();
        let failures = Failures { provider: F::NAME, host, api_key: call.api_key.clone(), has_files };
        let unusable = |detail: &str| failures.failure(ErrorKind::ModelUnusable, None, detail);
        let url = url.ok_or_else(|| unusable("the endpoint is not an http or https URL"))?;
        let mut headers = F::headers(&call.api_key)
            .ok_or_else(|| unusable("the key has characters that cannot be sent in a header"))?;
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(ACCEPT, HeaderValue::from_static(EVENT_STREAM));
        // Fails where TLS is needed and the machine has no root certificates.
        let client = clients.get(&url).map_err(|error| unusable(&http::describe(error)))?.clone();
        call.limits.first_token_timeout = F::first_token_timeout(&call.limits);
        Ok(Self { client, url, headers, call, failures })
    }

    /// Sends the call and waits for the head of the answer.
    async fn open<F: WireFormat>(self) -> Result<Reading<F::Assembly>, CallFailure> {
        let Self { client, url, headers, call, failures } = self;
        let (model, limits) = (call.provider_model.clone(), call.limits);
        let request = client.post(url.clone()).headers(headers);
        let body = computed(size::bytes(&call), move || F::body(&call, &url)).await;
        let body = Bytes::from(body);
        let times = Times::start(Instant::now(), &limits);
        let response = match timeout_at(times.first_token, request.body(body.clone()).send()).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => {
                let detail = http::describe(error);
                return Err(failures.failure(ErrorKind::ProviderUnavailable, None, &detail));
            }
            Err(_) => {
                return Err(failures.failure(ErrorKind::Timeout, None, "no answer at all"));
            }
        };
        if !is_event_stream(&response) {
            return Err(refused::<F>(failures, response, body).await);
        }
        let chunks = response.bytes_stream().map_err(http::describe).boxed();
        Ok(Reading::new(chunks, F::assembly(model, limits.answer_bytes_max), times, failures))
    }
}

fn content_type(headers: &HeaderMap) -> Option<&str> {
    headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok())
}

/// A success that does not say what it is gets the benefit of the doubt: the
/// decoder finds out.
fn is_event_stream(response: &Response) -> bool {
    let says_so = |kind: &str| kind.to_ascii_lowercase().starts_with(EVENT_STREAM);
    response.status().as_u16() == 200 && content_type(response.headers()).is_none_or(says_so)
}

async fn refused<F: WireFormat>(failures: Failures, response: Response, request: Bytes) -> CallFailure {
    let headers = response.headers().clone();
    let status = response.status().as_u16();
    let body = http::error_body(response).await;
    let request_bytes = request.len();
    let failure = move || {
        let refusal = Refusal {
            status,
            reported: F::reported(&body),
            content_type: content_type(&headers).unwrap_or_default(),
            retry_after: http::retry_after(&headers, SystemTime::now()),
            never_retry: headers.get("x-should-retry").is_some_and(|value| value == "false"),
        };
        let request = std::str::from_utf8(&request).unwrap_or_default();
        if failures.has_files {
            return failures.refusal(&refusal, &base64::without_files(request));
        }
        failures.refusal(&refusal, request)
    };
    // What the provider says is looked for in all that was sent.
    computed(request_bytes, failure).await
}
