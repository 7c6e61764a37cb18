//! Files of a turn.

use bytes::{Bytes, BytesMut};
use chatplane_domain::FileId;
use chatplane_proto::worker::v1 as proto;

use super::{
    client::{Client, Service, malformed},
    convert::Malformed,
    status::CallError,
    types::Holder,
};

impl Client {
    /// Reads the first `bytes` bytes of a file that a message of the turn refers to. It has so
    /// many: fewer are a breach of the contract.
    pub(crate) async fn read_file(
        &self,
        holder: &Holder,
        file_id: FileId,
        bytes: usize,
    ) -> Result<Bytes, CallError> {
        let request = proto::ReadFileRequest {
            session_id: holder.session_id.to_string(),
            chat_id: holder.key.chat_id.to_string(),
            fence: holder.key.fence,
            file_id: file_id.to_string(),
        };
        let call = async |mut client: Service, request| client.read_file(request).await;
        let mut pieces = self.unary(request, call).await?;
        let mut data = BytesMut::with_capacity(bytes);
        while data.len() < bytes {
            let piece = self.piece(&mut pieces).await?.ok_or_else(|| malformed(Malformed("file")))?;
            data.extend_from_slice(&piece.data[..piece.data.len().min(bytes - data.len())]);
        }
        Ok(data.freeze())
    }
}
