//! Bytes of files that the process has read, for the calls that follow.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard},
};

use bytes::Bytes;
use chatplane_domain::FileId;

/// What is kept: the files of a few chats at work, and little of a worker's memory.
const CACHE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// What an entry costs beside its bytes, so that small files are bounded too.
const ENTRY_BYTES: usize = 256;

/// Files that were read lately. Their content never changes.
#[derive(Debug, Default)]
pub(crate) struct FileCache {
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    entries: HashMap<FileId, Entry>,
    bytes: usize,
    /// Counts uses.
    clock: u64,
}

#[derive(Debug)]
struct Entry {
    data: Bytes,
    used: u64,
}

impl FileCache {
    /// A file that was read before.
    pub(crate) fn get(&self, id: FileId) -> Option<Bytes> {
        let mut kept = self.lock();
        kept.clock += 1;
        let now = kept.clock;
        let entry = kept.entries.get_mut(&id)?;
        entry.used = now;
        Some(entry.data.clone())
    }

    /// Keeps a file, and gives up those that were not used for longest.
    pub(crate) fn put(&self, id: FileId, data: Bytes) {
        let bytes = data.len() + ENTRY_BYTES;
        if bytes > CACHE_BYTES_MAX {
            return;
        }
        let mut kept = self.lock();
        kept.forget(id);
        while kept.bytes + bytes > CACHE_BYTES_MAX {
            let oldest = kept.entries.iter().min_by_key(|(_, entry)| entry.used).map(|(id, _)| *id);
            let Some(oldest) = oldest else { break };
            kept.forget(oldest);
        }
        kept.clock += 1;
        kept.bytes += bytes;
        let used = kept.clock;
        kept.entries.insert(id, Entry { data, used });
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().expect("nothing panics while it holds the cache")
    }
}

impl Kept {
    fn forget(&mut self, id: FileId) {
        if let Some(entry) = self.entries.remove(&id) {
            self.bytes -= entry.data.len() + ENTRY_BYTES;
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const HALF: usize = CACHE_BYTES_MAX / 2 - ENTRY_BYTES;

    fn id(number: u128) -> FileId {
        FileId(Uuid::from_u128(number))
    }

    #[test]
    fn what_was_not_used_for_longest_makes_room() {
        let cache = FileCache::default();
        cache.put(id(1), Bytes::from(vec![1; HALF]));
        cache.put(id(2), Bytes::from(vec![2; HALF]));
        assert!(cache.get(id(1)).is_some());

        cache.put(id(3), Bytes::from_static(b"three"));

        assert_eq!(cache.get(id(2)), None);
        assert_eq!(cache.get(id(1)).map(|data| data.len()), Some(HALF));
        assert_eq!(cache.get(id(3)), Some(Bytes::from_static(b"three")));
    }

    #[test]
    fn many_small_files_are_bounded_too_and_one_too_large_is_not_kept() {
        let cache = FileCache::default();
        cache.put(id(0), Bytes::from(vec![0; CACHE_BYTES_MAX]));
        assert_eq!(cache.get(id(0)), None);
        for number in 1..5 {
            cache.put(id(number), Bytes::new());
            cache.put(id(number), Bytes::new());
        }

        assert_eq!(cache.lock().bytes, 4 * ENTRY_BYTES);
    }
}
