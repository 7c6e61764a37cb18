//! Unary calls and reads. Valid on any replica: one that fails is repeated by its
//! caller, on the next replica.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use chatplane_proto::worker::v1::{self as proto, worker_service_client::WorkerServiceClient};
use tokio::time::timeout;
use tonic::{
    Code, Request, Response, Status, Streaming,
    metadata::{Ascii, MetadataValue},
    transport::Channel,
};

use super::{
    convert::{self, Malformed},
    status::{CallError, classify},
    types::{Holder, NewStep, Outcome, TurnNews, UsageReport, Write, WriteNo},
};
use crate::{config::ConfigError, step::OpenCall, tools::ToolEnd};

/// Calls a control plane.
#[derive(Clone)]
pub(crate) struct Client {
    shared: Arc<Shared>,
}

struct Shared {
    channels: Vec<Channel>,
    authorization: MetadataValue<Ascii>,
    /// The replica that calls go to: the session's, until a call to it fails.
    current: AtomicUsize,
    unary_timeout: Duration,
    piece_timeout: Duration,
}

/// How long calls may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timeouts {
    pub(crate) unary: Duration,
    pub(crate) piece: Duration,
}

impl Client {
    /// A client that shows this token.
    pub(crate) fn new(channels: Vec<Channel>, token: &str, timeouts: Timeouts) -> Result<Self, ConfigError> {
        let header = format!("Bearer {token}");
        let mut authorization: MetadataValue<Ascii> =
            header.parse().map_err(|_| ConfigError::TokenMalformed)?;
        authorization.set_sensitive(true);
        let shared = Shared {
            channels,
            authorization,
            current: AtomicUsize::new(0),
            unary_timeout: timeouts.unary,
            piece_timeout: timeouts.piece,
        };
        Ok(Client { shared: Arc::new(shared) })
    }

    /// How many replicas there are to choose from.
    pub(crate) fn addresses(&self) -> usize {
        self.shared.channels.len()
    }

    /// Sends further calls to this replica.
    pub(super) fn prefer(&self, address: usize) {
        self.shared.current.store(address, Ordering::Relaxed);
    }

    /// Opens the session's stream on this replica.
    pub(super) async fn session(
        &self,
        address: usize,
        requests: impl tokio_stream::Stream<Item = proto::SessionRequest> + Send + 'static,
    ) -> Result<Streaming<proto::SessionResponse>, Status> {
        let channel = self.shared.channels.get(address).ok_or_else(|| Status::internal("no such address"))?;
        let mut request = Request::new(requests);
        request.metadata_mut().insert("authorization", self.shared.authorization.clone());
        WorkerServiceClient::new(channel.clone()).session(request).await.map(Response::into_inner)
    }

    /// Hands in a command of a lease holder.
    pub(crate) async fn write(
        &self,
        holder: &Holder,
        no: WriteNo,
        write: &Write,
    ) -> Result<Outcome, CallError> {
        let header = write_header(holder, no);
        let outcome = match write {
            Write::CommitStep(step) => {
                let request = commit_step(header, step);
                self.unary(request, async |mut client, request| client.commit_step(request).await)
                    .await?
                    .outcome
            }
            Write::CommitToolResults(results) => {
                let results = results.iter().map(convert::from_result).collect();
                let request = proto::CommitToolResultsRequest { header, results };
                let call = async |mut client: Service, request| client.commit_tool_results(request).await;
                self.unary(request, call).await?.outcome
            }
            Write::RecordRetry { error, delay } => {
                let error = Some(convert::from_error(error));
                let request = proto::RecordRetryRequest { header, error, delay_ms: convert::millis(*delay) };
                self.unary(request, async |mut client, request| client.record_retry(request).await)
                    .await?
                    .outcome
            }
            Write::FinishInterruption { partial, results, model_call } => {
                let request = proto::FinishInterruptionRequest {
                    header,
                    partial: partial.as_ref().map(convert::from_answer),
                    results: results.iter().map(convert::from_result).collect(),
                    model_call: *model_call,
                };
                let call = async |mut client: Service, request| client.finish_interruption(request).await;
                self.unary(request, call).await?.outcome
            }
            Write::Fail(error) => {
                let request = proto::FailRequest { header, error: Some(convert::from_error(error)) };
                self.unary(request, async |mut client, request| client.fail(request).await).await?.outcome
            }
            Write::Release => {
                let request = proto::ReleaseRequest { header };
                self.unary(request, async |mut client, request| client.release(request).await).await?.outcome
            }
        };
        convert::outcome(outcome).map_err(malformed)
    }

    /// Reports tokens that were paid for.
    pub(crate) async fn report_usage(&self, report: &UsageReport) -> Result<(), CallError> {
        let request = proto::ReportUsageRequest {
            session_id: report.holder.session_id.to_string(),
            chat_id: report.holder.key.chat_id.to_string(),
            fence: report.holder.key.fence,
            model_call: report.model_call,
            model: report.model.clone(),
            usage: Some(convert::from_usage(report.usage)),
        };
        self.unary(request, async |mut client, request| client.report_usage(request).await).await?;
        Ok(())
    }

    /// Reads what is newer than a revision; everything for 0.
    pub(crate) async fn get_turn(&self, holder: &Holder, after_revision: i64) -> Result<TurnNews, CallError> {
        let request = proto::GetTurnRequest {
            session_id: holder.session_id.to_string(),
            chat_id: holder.key.chat_id.to_string(),
            fence: holder.key.fence,
            after_revision,
        };
        let call = async |mut client: Service, request| client.get_turn(request).await;
        let mut pieces = self.unary(request, call).await?;
        let mut header = None;
        let mut deleted_from = None;
        let mut messages = Vec::new();
        while let Some(response) = self.piece(&mut pieces).await? {
            match response.piece {
                Some(proto::get_turn_response::Piece::Header(piece)) => {
                    header = Some(convert::header(piece).map_err(malformed)?);
                }
                Some(proto::get_turn_response::Piece::Messages(piece)) => {
                    messages.extend(convert::messages(piece.messages).map_err(malformed)?);
                }
                Some(proto::get_turn_response::Piece::DeletedFromMessageId(id)) => deleted_from = Some(id),
                None => {}
            }
        }
        let header = header.ok_or_else(|| malformed(Malformed("header")))?;
        Ok(TurnNews { header, deleted_from, messages })
    }

    /// Runs a tool call to its end; `on_output` gets what it writes. The caller bounds the
    /// time: tools take theirs, and the connection's keep-alive notices a dead replica.
    pub(crate) async fn call_tool(
        &self,
        holder: &Holder,
        history_version: i64,
        call: &OpenCall,
        mut on_output: impl FnMut(Bytes),
    ) -> Result<ToolEnd, CallError> {
        let request = proto::CallToolRequest {
            session_id: holder.session_id.to_string(),
            chat_id: holder.key.chat_id.to_string(),
            fence: holder.key.fence,
            history_version,
            call: Some(convert::from_call_id(call.id)),
            tool_name: call.tool_name.clone(),
            arguments_json: call.arguments_json.clone(),
        };
        let address = self.shared.current.load(Ordering::Relaxed);
        let responses = self.service(address).call_tool(self.request(request)).await;
        let mut responses = responses.map_err(|status| self.failed(address, &status))?.into_inner();
        loop {
            let response = responses.message().await.map_err(|status| self.failed(address, &status))?;
            match response.and_then(|response| response.piece) {
                Some(proto::call_tool_response::Piece::Output(data)) => on_output(data),
                Some(proto::call_tool_response::Piece::Result(result)) => {
                    return Ok(ToolEnd { output: result.output, is_error: result.is_error });
                }
                // Ended without a result: as if the connection had broken.
                None => {
                    return Err(CallError::Unavailable { code: Code::Unknown, pause: None });
                }
            }
        }
    }

    pub(super) async fn unary<Q, R, F>(
        &self,
        request: Q,
        call: impl FnOnce(Service, Request<Q>) -> F,
    ) -> Result<R, CallError>
    where
        F: Future<Output = Result<Response<R>, Status>>,
    {
        let address = self.shared.current.load(Ordering::Relaxed);
        let answer =
            timeout(self.shared.unary_timeout, call(self.service(address), self.request(request))).await;
        let answer = answer.unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer in time")));
        answer.map(Response::into_inner).map_err(|status| self.failed(address, &status))
    }

    /// The next piece of a read; none at its end.
    pub(super) async fn piece<R>(&self, pieces: &mut Streaming<R>) -> Result<Option<R>, CallError> {
        let piece = timeout(self.shared.piece_timeout, pieces.message()).await;
        let piece = piece.unwrap_or_else(|_| Err(Status::deadline_exceeded("no piece in time")));
        piece.map_err(|status| classify(&status))
    }

    /// A replica that cannot answer is left for the next one; the session does the same.
    fn failed(&self, address: usize, status: &Status) -> CallError {
        let error = classify(status);
        if matches!(error, CallError::Unavailable { .. }) {
            let next = (address + 1) % self.shared.channels.len().max(1);
            let _: Result<_, _> =
                self.shared.current.compare_exchange(address, next, Ordering::Relaxed, Ordering::Relaxed);
        }
        error
    }

    fn service(&self, address: usize) -> Service {
        WorkerServiceClient::new(self.shared.channels[address % self.shared.channels.len()].clone())
    }

    fn request<Q>(&self, message: Q) -> Request<Q> {
        let mut request = Request::new(message);
        request.metadata_mut().insert("authorization", self.shared.authorization.clone());
        request
    }
}

pub(super) type Service = WorkerServiceClient<Channel>;

fn write_header(holder: &Holder, no: WriteNo) -> Option<proto::WriteHeader> {
    Some(proto::WriteHeader {
        session_id: holder.session_id.to_string(),
        chat_id: holder.key.chat_id.to_string(),
        fence: holder.key.fence,
        write_no: no.write_no,
        history_version: no.history_version,
    })
}

fn commit_step(header: Option<proto::WriteHeader>, step: &NewStep) -> proto::CommitStepRequest {
    proto::CommitStepRequest {
        header,
        answer: step.answer.as_ref().map(convert::from_answer),
        next: convert::from_after(step.after).into(),
        model_call: step.answer.as_ref().map(|answer| answer.model_call).unwrap_or_default(),
        summary: step.summary.as_ref().map(convert::from_summary),
    }
}

/// A control plane that breaks the contract will do so again.
pub(super) fn malformed(error: Malformed) -> CallError {
    CallError::Refused { code: Code::Internal, reason: error.to_string() }
}
