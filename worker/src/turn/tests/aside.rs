//! What a worker reads and hands in beside the turn: files and recordings.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use chatplane_proto::{chat::v1 as chat, worker::v1 as proto};
use tonic::{Code, Status};

use super::control_plane::{Fault, State, refusal};

/// What is read and handed in beside the turn.
#[derive(Default)]
pub(super) struct Aside {
    /// Files by their ids.
    pub(super) files: HashMap<String, Bytes>,
    /// What happens to the next reads of files; a lost reply is a stream that breaks.
    pub(super) file_faults: VecDeque<Fault>,
    /// Reads of files as they came in.
    pub(super) file_reads: Vec<proto::ReadFileRequest>,
    /// Reads of files never end.
    pub(super) file_reads_hang: bool,
    /// Model calls are to be recorded.
    pub(super) debug_recording: bool,
    /// What was recorded.
    pub(super) steps: Vec<proto::RecordDebugStepRequest>,
    /// Recordings get no answer.
    pub(super) recording_hangs: bool,
}

impl Aside {
    /// The pieces of a file, small ones.
    pub(super) fn read_file(
        &mut self,
        request: proto::ReadFileRequest,
    ) -> Result<Vec<Result<proto::ReadFileResponse, Status>>, Status> {
        let data = self.files.get(&request.file_id).cloned();
        self.file_reads.push(request);
        let breaks = match self.file_faults.pop_front() {
            None => false,
            Some(Fault::LoseReply) => true,
            Some(Fault::Unreachable) => return Err(Status::unavailable("connection refused")),
            Some(Fault::Refuse(code, reason)) => return Err(refusal(code, reason)),
        };
        let data = data.ok_or_else(|| refusal(Code::NotFound, "FILE_NOT_FOUND"))?;
        let piece = |data: &[u8]| Ok(proto::ReadFileResponse { data: Bytes::copy_from_slice(data) });
        let mut pieces: Vec<_> = data.chunks(64 * 1024).map(piece).collect();
        if breaks {
            pieces.truncate(pieces.len() / 2);
            pieces.push(Err(Status::unavailable("gone")));
        }
        Ok(pieces)
    }
}

impl State {
    /// A user says something in parts.
    pub(super) fn user_parts(&mut self, kinds: Vec<chat::part::Kind>) {
        let parts = kinds.into_iter().map(|kind| chat::Part { kind: Some(kind) }).collect();
        self.store(chat::Role::User, parts, Vec::new());
    }

    /// A file that a part can refer to.
    pub(super) fn file(&mut self, name: &str, media_type: &str, data: &[u8]) -> chat::part::Kind {
        let file_id = uuid::Uuid::from_u128(self.aside.files.len() as u128 + 1).to_string();
        self.aside.files.insert(file_id.clone(), Bytes::copy_from_slice(data));
        chat::part::Kind::File(chat::FilePart {
            file_id,
            name: name.to_owned(),
            media_type: media_type.to_owned(),
            size_bytes: data.len() as i64,
        })
    }
}
