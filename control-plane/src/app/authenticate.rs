//! Tokens: random, shown once, stored as SHA-256, compared in constant time.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::{App, Error};
use crate::{
    authz::Actor,
    store::{DEFAULT_ORGANIZATION, TokenKind, TokenSubject},
};

/// Subjects remembered at a time; a flood of wrong tokens must not fill the memory.
const TOKENS_MAX: usize = 10_000;
/// No token of ours is longer; a longer one need not be hashed.
const TOKEN_BYTES_MAX: usize = 512;

/// What a token is stored as.
#[must_use]
pub(crate) fn hash_token(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

/// Since when we know it, and whom the token stands for, if anybody.
type Known = (Instant, Option<Actor>);

/// Remembers for a moment whom tokens stand for.
pub(crate) struct TokenCache {
    ttl: Duration,
    known: Mutex<HashMap<[u8; 32], Known>>,
}

impl TokenCache {
    pub(crate) fn new(ttl: Duration) -> Self {
        Self { ttl, known: Mutex::new(HashMap::new()) }
    }

    fn get(&self, hash: &[u8; 32], now: Instant) -> Option<Option<Actor>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, actor) = known.get(hash)?;
        (now.duration_since(*since) < self.ttl).then(|| actor.clone())
    }

    fn put(&self, hash: [u8; 32], now: Instant, actor: Option<Actor>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= TOKENS_MAX {
            known.retain(|_, (since, _)| now.duration_since(*since) < self.ttl);
            if known.len() >= TOKENS_MAX {
                known.clear();
            }
        }
        known.insert(hash, (now, actor));
    }
}

impl App {
    /// Finds out whom a token stands for.
    ///
    /// # Errors
    ///
    /// `CredentialsInvalid`, or what the database says.
    pub(crate) async fn authenticate(&self, token: &str) -> Result<Actor, Error> {
        let unknown = || Error::CredentialsInvalid("the token is unknown; create one with `chatplane admin`");
        if token.len() > TOKEN_BYTES_MAX {
            return Err(unknown());
        }
        if let Some(replica) = self.inner.peers.caller(token) {
            return replica.map(Actor::Peer).ok_or_else(unknown);
        }
        let hash = hash_token(token);
        let now = Instant::now();
        if let Some(known) = self.inner.tokens.get(&hash, now) {
            return known.ok_or_else(unknown);
        }
        let subject = self.inner.store.token_subject(&hash).await?;
        let actor = subject
            .filter(|subject| bool::from(subject.token_sha256.as_slice().ct_eq(&hash)))
            .map(|subject| actor_of(&subject));
        self.inner.tokens.put(hash, now, actor.clone());
        actor.ok_or_else(unknown)
    }
}

fn actor_of(subject: &TokenSubject) -> Actor {
    match subject.kind {
        TokenKind::User(id) => Actor::User {
            id,
            organization: subject.organization.unwrap_or(DEFAULT_ORGANIZATION),
            is_owner: subject.is_owner,
        },
        TokenKind::Worker => Actor::Worker,
        TokenKind::WorkspaceAgent(workspace) => Actor::WorkspaceAgent(workspace),
    }
}
