//! Buckets: stretches of time under which texts are filed.

use std::sync::atomic::{AtomicI64, AtomicU8, Ordering};

use chatplane_domain::UserId;
use sha2::{Digest as _, Sha256};

use super::document::Document;
use crate::store::{Error, Store, apply::hex};

/// Texts after which a replica takes another bucket. Of a common word a search reads one
/// bucket, and so at most as many rows; of a rare one it looks into all, so there should not
/// be many.
const BUCKET_TEXTS_MAX: i64 = 4096;

/// Bytes of a hash that a prefix has, each as two hexadecimal digits.
const PREFIX_BYTES: usize = 4;

/// So often the index is tidied after news. They are told before the write that stores them is
/// done: the first time may come in between, and on a quiet deployment none would come after it.
const TIDY_TIMES: u8 = 2;

/// The bucket that this replica files new texts under. No other replica files under it, and
/// this one takes the next number within a second of its being full: so a bucket has what is
/// its own and a second's writes at most. It is only a hint of age: replicas fill theirs at
/// the same time.
#[derive(Debug)]
pub(crate) struct Buckets {
    current: AtomicI64,
    /// Texts that were filed under it.
    texts: AtomicI64,
    /// How often the index is still to be tidied for what was filed.
    tidy_times: AtomicU8,
}

impl Default for Buckets {
    fn default() -> Self {
        Self { current: AtomicI64::new(1), texts: AtomicI64::new(0), tidy_times: AtomicU8::new(0) }
    }
}

impl Buckets {
    /// What a row of these texts is found by, as a literal of `tsvector`; none where they
    /// have no words.
    pub(crate) fn document<'a>(&self, owner: UserId, texts: impl Iterator<Item = &'a str>) -> Option<String> {
        let document = Document::of(texts);
        if document.is_empty() {
            return None;
        }
        self.texts.fetch_add(1, Ordering::Relaxed);
        self.tell_news();
        Some(document.literal(&prefix(owner, self.current.load(Ordering::Relaxed))))
    }

    /// The same of what belongs to a bucket of long ago.
    pub(super) fn document_of<'a>(
        &self,
        bucket: i64,
        owner: UserId,
        texts: impl Iterator<Item = &'a str>,
    ) -> Option<String> {
        let document = Document::of(texts);
        self.tell_news();
        (!document.is_empty()).then(|| document.literal(&prefix(owner, bucket)))
    }

    fn tell_news(&self) {
        self.tidy_times.store(TIDY_TIMES, Ordering::Relaxed);
    }

    /// Whether the index is to be tidied now, which counts as done.
    fn take_tidying(&self) -> bool {
        let one_less = |times: u8| times.checked_sub(1);
        self.tidy_times.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok()
    }

    fn is_full(&self) -> bool {
        self.texts.load(Ordering::Relaxed) >= BUCKET_TEXTS_MAX
    }

    fn begin(&self, bucket: i64) {
        self.current.store(bucket, Ordering::Relaxed);
        self.texts.store(0, Ordering::Relaxed);
    }
}

/// What lexemes of an owner begin with in a bucket. Two may share one: whose a row is, is
/// looked up with it.
pub(super) fn prefix(owner: UserId, bucket: i64) -> String {
    let mut hash = Sha256::new();
    hash.update(owner.0.as_bytes());
    hash.update(bucket.to_be_bytes());
    hex(&hash.finalize()[..PREFIX_BYTES])
}

impl Store {
    /// Begins a bucket of this replica's own; once, when it starts.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub(crate) async fn begin_bucket(&self) -> Result<(), Error> {
        let next = sqlx::query_scalar!(r#"select nextval('search_buckets') as "bucket!""#)
            .fetch_one(&self.connections)
            .await?;
        self.buckets.begin(next);
        Ok(())
    }

    /// Begins the next bucket when the current one is full, and moves what has been stored
    /// since the last time to its place in the index: until then every search reads it all,
    /// and the write that makes it too much would have to do the work.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub(crate) async fn tend_search(&self) -> Result<(), Error> {
        if self.buckets.is_full() {
            self.begin_bucket().await?;
        }
        if !self.buckets.take_tidying() {
            return Ok(());
        }
        let tidied = sqlx::query_scalar!(
            r#"select
                   gin_clean_pending_list('messages_search'::regclass)
                   + gin_clean_pending_list('chat_metadata_search'::regclass) as "pages!""#
        )
        .fetch_one(&self.connections)
        .await;
        if tidied.is_err() {
            self.buckets.tell_news();
        }
        tidied?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_document_is_filed_under_its_owner_and_the_bucket() {
        let buckets = Buckets::default();
        let (owner, other) = (UserId(Uuid::from_u128(1)), UserId(Uuid::from_u128(2)));
        let document = |owner| buckets.document(owner, ["Hello"].into_iter()).expect("it has a word");

        let first = document(owner);
        assert_eq!(first, format!("'{}hello':1 ", prefix(owner, 1)));
        assert_ne!(document(other), first);
        assert_eq!(buckets.document(owner, [" "].into_iter()), None);
        buckets.begin(2);
        assert_ne!(document(owner), first);
        assert_eq!(prefix(owner, 1).len(), 8);
    }

    #[test]
    fn news_are_tidied_once_more_since_their_write_may_come_after_the_first_time() {
        let buckets = Buckets::default();
        let tidied = || [(); 3].map(|()| buckets.take_tidying());

        assert_eq!(tidied(), [false; 3]);
        buckets.document(UserId(Uuid::nil()), ["a"].into_iter());
        assert_eq!(tidied(), [true, true, false]);
        buckets.document_of(1, UserId(Uuid::nil()), ["a"].into_iter());
        assert_eq!(tidied(), [true, true, false]);
    }

    #[test]
    fn a_bucket_is_full_when_it_has_its_texts() {
        let buckets = Buckets::default();
        let file = || buckets.document(UserId(Uuid::nil()), ["a"].into_iter());

        (1..BUCKET_TEXTS_MAX).for_each(|_| drop(file()));
        assert!(!buckets.is_full());
        file();
        assert!(buckets.is_full());
        buckets.begin(2);
        assert!(!buckets.is_full());
    }
}
