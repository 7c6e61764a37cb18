//! The only gRPC of the worker: calls, the session's stream, and what they carry.

mod client;
mod convert;
mod debug;
mod dial;
mod files;
mod jobs;
mod live;
mod said;
mod status;
mod stream;
mod types;

pub(crate) use client::{Client, Timeouts};
pub(crate) use debug::{DebugAttempt, DebugStep};
pub(crate) use dial::Dial;
pub(crate) use jobs::{Job, JobAnswer, JobKey, JobKind};
pub(crate) use live::{LeaseStreams, LiveStream, LiveStreams, StreamOpener};
pub(crate) use status::CallError;
pub(crate) use stream::{Command, SessionStream, Worker};
pub(crate) use types::{
    Disposition, Holder, LeaseInput, LivePartKind, Model, NewAnswer, NewResult, NewStep, NewSummary, Outcome,
    Settings, TurnHeader, TurnNews, UsageReport, Write, WriteNo,
};
