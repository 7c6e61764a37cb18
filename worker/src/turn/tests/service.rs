//! The RPCs of the control plane in memory.

use std::{pin::Pin, sync::Arc};

use chatplane_proto::worker::v1::{
    self as proto, session_request::Message as Up, session_response::Message as Down,
    worker_service_server::WorkerService,
};
use tokio::sync::mpsc;
use tokio_stream::{Stream, StreamExt, wrappers::ReceiverStream};
use tonic::{Code, Request, Response, Status, Streaming};

use super::control_plane::{ATTEMPTS_MAX, Fault, Shared, State, TOKEN, Tool, refusal};

pub(super) struct Service(pub(super) Arc<Shared>);

impl Service {
    fn change<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        let result = change(&mut self.0.state.lock().unwrap());
        self.0.changed.send_replace(());
        result
    }
}

type Responses<R> = Pin<Box<dyn Stream<Item = Result<R, Status>> + Send>>;

#[tonic::async_trait]
impl WorkerService for Service {
    type SessionStream = ReceiverStream<Result<proto::SessionResponse, Status>>;
    type GetTurnStream = Responses<proto::GetTurnResponse>;
    type CallToolStream = Responses<proto::CallToolResponse>;
    type ReadFileStream = Responses<proto::ReadFileResponse>;

    async fn session(
        &self,
        request: Request<Streaming<proto::SessionRequest>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let token = request.metadata().get("authorization").and_then(|value| value.to_str().ok());
        if token != Some(&format!("Bearer {TOKEN}")) {
            return Err(refusal(Code::Unauthenticated, "CREDENTIALS_INVALID"));
        }
        let mut requests = request.into_inner();
        let (down, responses) = mpsc::channel(64);
        let Some(proto::SessionRequest { message: Some(Up::Open(open)) }) = requests.message().await? else {
            return Err(Status::invalid_argument("no Open"));
        };
        let connection = self.change(|state| {
            let resumed = |key: &proto::LeaseKey| proto::ResumedLease {
                lease: Some(key.clone()),
                lost: !state.leased || key.fence != state.fence,
                state: state.chat_state().into(),
                snapshot_version: state.snapshot,
                history_version: state.history,
                last_write_no: state.last_write_no,
                positions: state.positions.clone(),
            };
            let leases = open.leases.iter().map(resumed).collect();
            state.down = Some(down);
            state.connections.push(vec![Up::Open(open)]);
            state.send(Down::Opened(proto::Opened { session_id: "session".to_owned(), leases }));
            state.connections.len() - 1
        });
        let shared = self.0.clone();
        tokio::spawn(async move {
            let service = Service(shared);
            while let Ok(Some(request)) = requests.message().await {
                service.change(|state| state.connections[connection].push(request.message.unwrap()));
            }
        });
        Ok(Response::new(ReceiverStream::new(responses)))
    }

    async fn get_turn(
        &self,
        request: Request<proto::GetTurnRequest>,
    ) -> Result<Response<Self::GetTurnStream>, Status> {
        let after = request.into_inner().after_revision;
        if self.change(|state| {
            state.turns_read += 1;
            state.reads_hang
        }) {
            std::future::pending::<()>().await;
        }
        let (pieces, is_superseded) = self.change(|state| {
            use proto::get_turn_response::Piece;
            let mut pieces = vec![Piece::Header(state.header())];
            pieces.extend(
                state
                    .deleted_from
                    .filter(|(revision, _)| *revision > after)
                    .map(|(_, id)| Piece::DeletedFromMessageId(id)),
            );
            let after = if pieces.len() > 1 { 0 } else { after };
            let is_new = |message: &proto::TurnMessage| message.message.as_ref().unwrap().revision > after;
            for message in state.prompt_rows().into_iter().filter(is_new) {
                pieces.push(Piece::Messages(proto::TurnMessages { messages: vec![message] }));
            }
            let edit = state.edits_during_reads.pop_front();
            if let Some(text) = edit {
                state.edit(1, text);
            }
            (pieces, edit.is_some())
        });
        let responses = pieces.into_iter().map(|piece| Ok(proto::GetTurnResponse { piece: Some(piece) }));
        let end = is_superseded.then(|| Err(refusal(Code::Aborted, "SUPERSEDED")));
        let responses = responses.chain(end).collect::<Vec<_>>();
        Ok(Response::new(Box::pin(tokio_stream::iter(responses))))
    }

    async fn commit_step(
        &self,
        request: Request<proto::CommitStepRequest>,
    ) -> Result<Response<proto::CommitStepResponse>, Status> {
        let request = request.into_inner();
        let next = request.next();
        let outcome = self.change(|state| {
            state.write("CommitStep", request.header, |state, outcome| {
                if let Some(summary) = request.summary {
                    assert!(!summary.text.is_empty() && summary.covers_through < state.next_id);
                    if !state.summaries_ignored && !state.interrupting {
                        outcome.boundary_message_ids = state.store_boundary(&summary);
                        state.compact_requested = false;
                    }
                    state.summaries.push(summary);
                }
                outcome
                    .committed_message_ids
                    .extend(request.answer.map(|answer| state.store_answer(answer, false)));
                if next == proto::NextStep::Finish || state.interrupting {
                    state.finish_turn(outcome);
                } else if next == proto::NextStep::Suspend {
                    state.suspended = true;
                    state.leased = false;
                    outcome.set_disposition(proto::Disposition::Released);
                }
            })
        })?;
        Ok(Response::new(proto::CommitStepResponse { outcome }))
    }

    async fn commit_tool_results(
        &self,
        request: Request<proto::CommitToolResultsRequest>,
    ) -> Result<Response<proto::CommitToolResultsResponse>, Status> {
        let request = request.into_inner();
        let outcome = self.change(|state| {
            if state.results_unreachable {
                state.faults.push_front(Fault::Unreachable);
            }
            state.write("CommitToolResults", request.header, |state, outcome| {
                outcome.committed_message_ids = state.store_results(request.results);
                if state.all_calls_have_results() {
                    state.steer(outcome);
                }
            })
        })?;
        Ok(Response::new(proto::CommitToolResultsResponse { outcome }))
    }

    async fn record_retry(
        &self,
        request: Request<proto::RecordRetryRequest>,
    ) -> Result<Response<proto::RecordRetryResponse>, Status> {
        let request = request.into_inner();
        let outcome = self.change(|state| {
            state.retries.push(request.clone());
            state.write("RecordRetry", request.header, |state, outcome| {
                if state.attempt < ATTEMPTS_MAX {
                    state.attempt += 1;
                } else {
                    // The net for a worker that counts otherwise; no test wants to see it.
                    state.leased = false;
                    outcome.set_disposition(proto::Disposition::Released);
                }
            })
        })?;
        Ok(Response::new(proto::RecordRetryResponse { outcome }))
    }

    async fn finish_interruption(
        &self,
        request: Request<proto::FinishInterruptionRequest>,
    ) -> Result<Response<proto::FinishInterruptionResponse>, Status> {
        let request = request.into_inner();
        let outcome = self.change(|state| {
            if !state.interrupting {
                return Err(refusal(Code::FailedPrecondition, "STATE_FORBIDS"));
            }
            state.write("FinishInterruption", request.header, |state, outcome| {
                let partial = request.partial.map(|partial| state.store_answer(partial, true));
                outcome.committed_message_ids.extend(partial);
                outcome.committed_message_ids.extend(state.store_results(request.results));
                state.finish_turn(outcome);
            })
        })?;
        Ok(Response::new(proto::FinishInterruptionResponse { outcome }))
    }

    async fn fail(
        &self,
        request: Request<proto::FailRequest>,
    ) -> Result<Response<proto::FailResponse>, Status> {
        let request = request.into_inner();
        let outcome = self.change(|state| {
            state.write("Fail", request.header, |state, outcome| {
                state.error = request.error;
                state.leased = false;
                outcome.set_disposition(proto::Disposition::Released);
            })
        })?;
        Ok(Response::new(proto::FailResponse { outcome }))
    }

    async fn release(
        &self,
        request: Request<proto::ReleaseRequest>,
    ) -> Result<Response<proto::ReleaseResponse>, Status> {
        let outcome = self.change(|state| {
            state.write("Release", request.into_inner().header, |state, outcome| {
                state.leased = false;
                outcome.set_disposition(proto::Disposition::Released);
            })
        })?;
        Ok(Response::new(proto::ReleaseResponse { outcome }))
    }

    async fn report_usage(
        &self,
        request: Request<proto::ReportUsageRequest>,
    ) -> Result<Response<proto::ReportUsageResponse>, Status> {
        let request = request.into_inner();
        self.change(|state| {
            let refused = state.reports_refused.entry(request.model_call).or_default();
            if *refused > 0 {
                *refused -= 1;
                return Err(Status::unavailable("not now"));
            }
            state.usage.push(request);
            Ok(Response::new(proto::ReportUsageResponse {}))
        })
    }

    async fn finish_job(
        &self,
        request: Request<proto::FinishJobRequest>,
    ) -> Result<Response<proto::FinishJobResponse>, Status> {
        let request = request.into_inner();
        self.change(|state| {
            let fault = state.job_faults.pop_front();
            match fault {
                Some(Fault::Unreachable) => return Err(Status::unavailable("connection refused")),
                Some(Fault::Refuse(code, reason)) => return Err(refusal(code, reason)),
                Some(Fault::LoseReply) | None => {}
            }
            if state.jobs.iter().any(|answered| answered.job_id == request.job_id) {
                return Err(refusal(Code::FailedPrecondition, "LEASE_LOST"));
            }
            state.jobs.push(request);
            match fault {
                None => Ok(Response::new(proto::FinishJobResponse {})),
                Some(_) => Err(Status::unknown("transport error")),
            }
        })
    }

    async fn read_file(
        &self,
        request: Request<proto::ReadFileRequest>,
    ) -> Result<Response<Self::ReadFileStream>, Status> {
        let pieces = self.change(|state| state.aside.read_file(request.into_inner()))?;
        if self.0.state.lock().unwrap().aside.file_reads_hang {
            std::future::pending::<()>().await;
        }
        Ok(Response::new(Box::pin(tokio_stream::iter(pieces))))
    }

    async fn record_debug_step(
        &self,
        request: Request<proto::RecordDebugStepRequest>,
    ) -> Result<Response<proto::RecordDebugStepResponse>, Status> {
        if self.change(|state| {
            state.aside.steps.push(request.into_inner());
            state.aside.recording_hangs
        }) {
            std::future::pending::<()>().await;
        }
        Ok(Response::new(proto::RecordDebugStepResponse {}))
    }

    async fn call_tool(
        &self,
        request: Request<proto::CallToolRequest>,
    ) -> Result<Response<Self::CallToolStream>, Status> {
        use proto::call_tool_response::Piece;
        let request = request.into_inner();
        let tool = self.change(|state| {
            let tool = state.tools.get(request.tool_name.as_str()).cloned();
            if let Some(Tool::BreaksOnce(output)) = tool {
                state.tools.retain(|name, _| *name != request.tool_name);
                state.tools.insert("flaky", Tool::Ends(output));
            }
            state.tool_calls.push(request);
            tool
        });
        let result = |output: &str| {
            Ok(Piece::Result(proto::CallToolResult { output: output.to_owned(), is_error: false }))
        };
        let output = |output: &'static str| Ok(Piece::Output(output.as_bytes().into()));
        let tool = tool.expect("a known tool");
        let gate = if let Tool::EndsAfter(gate, _) = &tool { Some(gate.clone()) } else { None };
        if let Tool::Waits(gate, _) = &tool {
            gate.acquire().await.unwrap().forget();
        }
        let pieces = match tool {
            Tool::Ends(text) => vec![output(text), result(text)],
            Tool::Hangs(text) | Tool::Waits(_, text) | Tool::EndsAfter(_, text) => vec![output(text)],
            Tool::BreaksOnce(text) => vec![output(text), Err(Status::unavailable("gone"))],
        };
        let hangs = !matches!(pieces.last(), Some(Ok(Piece::Result(_)) | Err(_)));
        let responses =
            pieces.into_iter().map(|piece| piece.map(|piece| proto::CallToolResponse { piece: Some(piece) }));
        let responses = tokio_stream::iter(responses);
        if let Some(gate) = gate {
            let end = futures::stream::once(async move {
                gate.acquire().await.unwrap().forget();
                result("cancelled").map(|piece| proto::CallToolResponse { piece: Some(piece) })
            });
            return Ok(Response::new(Box::pin(responses.chain(end))));
        }
        if hangs {
            return Ok(Response::new(Box::pin(responses.chain(tokio_stream::pending()))));
        }
        Ok(Response::new(Box::pin(responses)))
    }
}
