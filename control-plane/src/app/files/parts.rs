//! What the files of a message are: of a file a client says no more than the id.

use std::collections::BTreeMap;

use chatplane_domain::{FileId, FileRef, UserId, UserPart, file_ids};

use crate::{
    app::{App, Error},
    store::FileView,
};

impl App {
    /// The parts with what their files are; none where a file is not the user's. It is told as a
    /// value, since whoever may not know of the chat is told that first, and a repeat is answered
    /// whatever has become of the file.
    pub(in crate::app) async fn resolved(
        &self,
        user: UserId,
        parts: &[UserPart],
    ) -> Result<Option<Vec<UserPart>>, Error> {
        let ids = file_ids(parts);
        if ids.is_empty() {
            return Ok(Some(parts.to_vec()));
        }
        let files = self.inner.store.files(user, &ids).await?;
        let files: BTreeMap<FileId, FileView> = files.into_iter().map(|file| (file.file_id, file)).collect();
        let resolved = parts.iter().map(|part| match part {
            UserPart::File(given) => files.get(&given.id).map(|file| UserPart::File(reference(file))),
            UserPart::Text(_) | UserPart::FileReference { .. } | UserPart::DiffComment { .. } => {
                Some(part.clone())
            }
        });
        Ok(resolved.collect())
    }
}

fn reference(file: &FileView) -> FileRef {
    FileRef {
        id: file.file_id,
        name: file.name.clone(),
        media_type: file.media_type.clone(),
        size_bytes: file.size_bytes,
    }
}
