//! `chatplane.worker.v1.WorkerService`: thin handlers that decode, name the use case, encode.

mod record_debug_step;

use std::{pin::Pin, time::Duration};

use chatplane_proto::worker::v1::{self as proto, worker_service_server::WorkerService};
use futures::{Stream, StreamExt as _, stream};
use tokio::time;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::{chat_service::take, convert_worker as convert, status};
use crate::{
    app::{App, Error, HolderCall},
    authz::Actor,
    scheduler::FromWorker,
};

/// A worker that has opened a stream says who it is within this time.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);

/// What a handler streams.
type Replies<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// The handlers.
pub(crate) struct WorkerHandlers {
    app: App,
}

impl WorkerHandlers {
    pub(crate) fn new(app: App) -> Self {
        Self { app }
    }

    async fn write(&self, actor: &Actor, call: HolderCall) -> Result<Option<proto::WriteOutcome>, Error> {
        let reply = self.app.holder_write(actor, call).await?;
        Ok(Some(convert::outcome(reply)))
    }
}

#[tonic::async_trait]
impl WorkerService for WorkerHandlers {
    type SessionStream = Replies<proto::SessionResponse>;
    type GetTurnStream = Replies<proto::GetTurnResponse>;
    type CallToolStream = Replies<proto::CallToolResponse>;
    type ReadFileStream = Replies<proto::ReadFileResponse>;

    async fn session(
        &self,
        request: Request<Streaming<proto::SessionRequest>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let (actor, mut requests) = take(request)?;
        let open = convert::open(first_of(&mut requests).await?)?;
        let to_worker = self.app.open_session(&actor, open, Box::pin(said(requests))).await?;
        let replies = ReceiverStream::new(to_worker)
            .map(|message| message.map(convert::to_worker).map_err(Status::from));
        Ok(Response::new(Box::pin(replies)))
    }

    async fn get_turn(
        &self,
        request: Request<proto::GetTurnRequest>,
    ) -> Result<Response<Self::GetTurnStream>, Status> {
        let (actor, request) = take(request)?;
        let pieces = self.app.get_turn(&actor, convert::get_turn(&request)?).await?;
        let replies = pieces.map(|piece| piece.map(convert::turn_piece).map_err(Status::from));
        Ok(Response::new(Box::pin(replies)))
    }

    async fn commit_step(
        &self,
        request: Request<proto::CommitStepRequest>,
    ) -> Result<Response<proto::CommitStepResponse>, Status> {
        let (actor, request) = take(request)?;
        let outcome = self.write(&actor, convert::commit_step(request)?).await?;
        Ok(Response::new(proto::CommitStepResponse { outcome }))
    }

    async fn commit_tool_results(
        &self,
        request: Request<proto::CommitToolResultsRequest>,
    ) -> Result<Response<proto::CommitToolResultsResponse>, Status> {
        let (actor, request) = take(request)?;
        let outcome = self.write(&actor, convert::commit_tool_results(request)?).await?;
        Ok(Response::new(proto::CommitToolResultsResponse { outcome }))
    }

    async fn record_retry(
        &self,
        request: Request<proto::RecordRetryRequest>,
    ) -> Result<Response<proto::RecordRetryResponse>, Status> {
        let (actor, request) = take(request)?;
        let outcome = self.write(&actor, convert::record_retry(request)?).await?;
        Ok(Response::new(proto::RecordRetryResponse { outcome }))
    }

    async fn finish_interruption(
        &self,
        request: Request<proto::FinishInterruptionRequest>,
    ) -> Result<Response<proto::FinishInterruptionResponse>, Status> {
        let (actor, request) = take(request)?;
        let outcome = self.write(&actor, convert::finish_interruption(request)?).await?;
        Ok(Response::new(proto::FinishInterruptionResponse { outcome }))
    }

    async fn fail(
        &self,
        request: Request<proto::FailRequest>,
    ) -> Result<Response<proto::FailResponse>, Status> {
        let (actor, request) = take(request)?;
        let outcome = self.write(&actor, convert::fail(request)?).await?;
        Ok(Response::new(proto::FailResponse { outcome }))
    }

    async fn release(
        &self,
        request: Request<proto::ReleaseRequest>,
    ) -> Result<Response<proto::ReleaseResponse>, Status> {
        let (actor, request) = take(request)?;
        let outcome = self.write(&actor, convert::release(request)?).await?;
        Ok(Response::new(proto::ReleaseResponse { outcome }))
    }

    async fn finish_job(
        &self,
        request: Request<proto::FinishJobRequest>,
    ) -> Result<Response<proto::FinishJobResponse>, Status> {
        let (actor, request) = take(request)?;
        self.app.finish_job(&actor, convert::finish_job(request)?).await?;
        Ok(Response::new(proto::FinishJobResponse {}))
    }

    async fn report_usage(
        &self,
        request: Request<proto::ReportUsageRequest>,
    ) -> Result<Response<proto::ReportUsageResponse>, Status> {
        let (actor, request) = take(request)?;
        let (chat, session, call) = convert::report_usage(request)?;
        self.app.report_usage(&actor, chat, session, &call).await?;
        Ok(Response::new(proto::ReportUsageResponse {}))
    }

    async fn call_tool(
        &self,
        request: Request<proto::CallToolRequest>,
    ) -> Result<Response<Self::CallToolStream>, Status> {
        let (actor, request) = take(request)?;
        let pieces = self.app.call_tool(&actor, convert::call_tool(request)?).await?;
        let replies = pieces.map(|piece| piece.map(convert::tool_piece).map_err(Status::from));
        Ok(Response::new(Box::pin(replies)))
    }

    async fn read_file(
        &self,
        request: Request<proto::ReadFileRequest>,
    ) -> Result<Response<Self::ReadFileStream>, Status> {
        let (actor, request) = take(request)?;
        let pieces = self.app.read_file(&actor, convert::read_file(&request)?).await?;
        let replies = pieces.map(|piece| {
            let data = piece.map_err(Status::from)?.into();
            Ok(proto::ReadFileResponse { data })
        });
        Ok(Response::new(Box::pin(replies)))
    }

    async fn record_debug_step(
        &self,
        request: Request<proto::RecordDebugStepRequest>,
    ) -> Result<Response<proto::RecordDebugStepResponse>, Status> {
        let (actor, request) = take(request)?;
        Ok(Response::new(record_debug_step::record_debug_step(&self.app, &actor, request).await?))
    }
}

/// What the worker says after `Open`, until its side ends or breaks. A message that
/// cannot be decoded is said to be so, and is the last.
fn said(requests: Streaming<proto::SessionRequest>) -> impl Stream<Item = Result<FromWorker, Error>> + Send {
    stream::unfold(Some(requests), |requests| async move {
        let mut requests = requests?;
        match requests.message().await {
            Ok(Some(request)) => Some((convert::from_worker(request), Some(requests))),
            Ok(None) => None,
            Err(broken) => {
                let error = status::undecodable(broken.code())?;
                tracing::warn!(cause = broken.message(), "a worker sent what cannot be decoded");
                Some((Err(error), None))
            }
        }
    })
}

/// The first message of a session, which says who opens it.
async fn first_of(requests: &mut Streaming<proto::SessionRequest>) -> Result<proto::Open, Error> {
    let missing = || Error::invalid("open", "it is the first message of a session");
    let first = time::timeout(OPEN_TIMEOUT, requests.message()).await.map_err(|_| missing())?;
    match first.ok().flatten().and_then(|request| request.message) {
        Some(proto::session_request::Message::Open(open)) => Ok(open),
        Some(_) | None => Err(missing()),
    }
}
