//! Bounds every call until its answer begins: a request whose body never ends, or a handler
//! that never does, would hold its memory for ever. What streams is not touched once it has
//! begun.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Response};
use tokio::time::timeout;
use tonic::{body::Body, server::NamedService};
use tower::{Layer, Service};

use super::status;

/// Adds the bound to a service.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline {
    answer_begins: Duration,
}

impl Deadline {
    pub(crate) fn new(answer_begins: Duration) -> Self {
        Self { answer_begins }
    }
}

impl<S> Layer<S> for Deadline {
    type Service = Bounded<S>;

    fn layer(&self, inner: S) -> Bounded<S> {
        Bounded { answer_begins: self.answer_begins, inner }
    }
}

/// A service whose answers begin in time.
#[derive(Clone, Debug)]
pub(crate) struct Bounded<S> {
    answer_begins: Duration,
    inner: S,
}

impl<S: NamedService> NamedService for Bounded<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<Request<Body>> for Bounded<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let limit = self.answer_begins;
        let path = request.uri().path().to_owned();
        let answered = timeout(limit, self.inner.call(request));
        Box::pin(async move {
            answered.await.unwrap_or_else(|_| {
                tracing::info!(path, ?limit, "a call was given up before its answer began");
                Ok(status::too_late(limit).into_http())
            })
        })
    }
}
