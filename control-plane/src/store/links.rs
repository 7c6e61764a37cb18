//! Which files a chat is linked to after a write.
//!
//! A file is linked while a live message refers to it, or one of the queue. That changes with
//! writes that compare the chat's version alone, so what was read is what is there.

use chatplane_domain::{Change, FileId};

use super::{Ask, FileView, Snapshot};

/// The files of a chat after a write, and how the write gets there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Links {
    /// Files that are linked by the write.
    pub linked: Vec<FileId>,
    /// Files that nothing refers to any more.
    pub unlinked: Vec<FileId>,
    /// All that are linked after it, in the order of their linking.
    pub files: Vec<FileView>,
}

impl Links {
    /// What a change makes of a chat's links.
    pub(crate) fn of(snapshot: &Snapshot, ask: &Ask, change: Option<&Change>) -> Self {
        let before = &snapshot.beside.files;
        let (Some(change), Some(facts)) = (change, &snapshot.file_facts) else {
            return Self { files: before.clone(), ..Self::default() };
        };
        let is_kept = |id: &FileId| facts.kept.contains(id) || ask.files.contains(id);
        let removes = removes(change, ask);
        let (kept, unlinked): (Vec<_>, Vec<_>) =
            before.iter().cloned().partition(|file| !removes || is_kept(&file.file_id));
        let is_new = |file: &&FileView| before.iter().all(|known| known.file_id != file.file_id);
        let mut new: Vec<FileView> = facts.asked.iter().filter(is_new).cloned().collect();
        // As their rows are read: those of one write have the same time.
        new.sort_by_key(|file| file.file_id);
        Self {
            linked: new.iter().map(|file| file.file_id).collect(),
            unlinked: unlinked.into_iter().map(|file| file.file_id).collect(),
            files: kept.into_iter().chain(new).collect(),
        }
    }

    /// The links of a copy: those of the rows that are copied.
    pub(super) fn of_copy(snapshot: &Snapshot) -> Self {
        let kept = snapshot.file_facts.as_ref().map(|facts| facts.kept.as_slice()).unwrap_or_default();
        let files: Vec<FileView> =
            snapshot.beside.files.iter().filter(|file| kept.contains(&file.file_id)).cloned().collect();
        let linked = files.iter().map(|file| file.file_id).collect();
        Self { linked, unlinked: Vec::new(), files }
    }
}

/// Whether a change takes something away that may have referred to files.
fn removes(change: &Change, ask: &Ask) -> bool {
    let edited = change.queue_content.as_ref().is_some_and(|content| ask.queued == Some(content.id));
    change.delete_from.is_some() || !change.queue_deleted.is_empty() || edited
}
