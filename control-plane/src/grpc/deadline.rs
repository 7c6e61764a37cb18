//! Bounds every call until its answer begins: a request whose body never ends, or a handler
//! that never does, would hold its memory for ever. What streams is not touched once it has
//! begun. The answer to an upload begins after its last byte, so that it has as long as its
//! own limits leave the largest file on the slowest line: they end it before this does, and
//! say why.

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
use crate::limits::Limits;

/// The one call that may take as long as its client's line needs.
const UPLOAD: &str = "/chatplane.chat.v1.FileService/UploadFile";

/// Adds the bound to a service.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline {
    answer_begins: Duration,
    upload_ends: Duration,
}

impl Deadline {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self { answer_begins: limits.answer_begins, upload_ends: limits.upload_ends() }
    }

    fn of(self, path: &str) -> Duration {
        if path == UPLOAD { self.upload_ends } else { self.answer_begins }
    }
}

impl<S> Layer<S> for Deadline {
    type Service = Bounded<S>;

    fn layer(&self, inner: S) -> Bounded<S> {
        Bounded { deadline: *self, inner }
    }
}

/// A service whose answers begin in time.
#[derive(Clone, Debug)]
pub(crate) struct Bounded<S> {
    deadline: Deadline,
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
        let path = request.uri().path().to_owned();
        let limit = self.deadline.of(&path);
        let answered = timeout(limit, self.inner.call(request));
        Box::pin(async move {
            answered.await.unwrap_or_else(|_| {
                tracing::info!(path, ?limit, "a call was given up before its answer began");
                Ok(status::too_late(limit).into_http())
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upload_has_the_time_that_the_slowest_line_needs_and_other_calls_have_not() {
        let deadline = Deadline::new(&Limits::default());
        let endless = Deadline::new(&Limits { file_bytes_max: usize::MAX, ..Limits::default() });

        // 320 s for 10 MiB at 32 KiB/s, and to be silent, to wait, and to be stored.
        assert_eq!(deadline.of(UPLOAD), Duration::from_secs(320 + 30 + 30 + 30 + 60));
        assert_eq!(deadline.of("/chatplane.chat.v1.FileService/GetFile"), Duration::from_secs(60));
        assert!(endless.of(UPLOAD) > Duration::from_secs(1 << 38));
    }
}
