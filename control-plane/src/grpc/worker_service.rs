//! `chatplane.worker.v1.WorkerService`: thin handlers that decode, name the use case, encode.

use std::{pin::Pin, time::Duration};

use chatplane_proto::worker::v1::{self as proto, worker_service_server::WorkerService};
use futures::{Stream, StreamExt as _};
use tokio::time;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::{chat_service::take, convert_worker as convert};
use crate::{
    app::{App, Error, HolderCall},
    authz::Actor,
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

    async fn session(
        &self,
        request: Request<Streaming<proto::SessionRequest>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let (actor, mut requests) = take(request)?;
        let open = convert::open(first_of(&mut requests).await?)?;
        // A transport that breaks is the end of the stream, whatever broke it.
        let from_worker =
            tokio_stream::StreamExt::map_while(requests, |request| request.ok().map(convert::from_worker));
        let to_worker = self.app.open_session(&actor, open, from_worker).await?;
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
