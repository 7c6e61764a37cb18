//! How replicas prove to each other that they belong to one deployment.
//!
//! Each replica writes a random secret into its row of `replicas`. Who can use it reads the
//! database, and nobody else connects to that. The one that calls proves that it knows the
//! secret of the one that is called, by its bearer token; the one that is called proves the
//! same by its answer. The two proofs begin with different words, so that neither can be
//! sent back as the other.

use chatplane_domain::ReplicaId;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use uuid::Uuid;

/// Begins the token of a replica.
const TOKEN_PREFIX: &str = "chatplane_peer_";
/// Bytes that HMAC pads a key to: a block of SHA-256.
const BLOCK_BYTES: usize = 64;
/// Bytes of a secret, a nonce and a proof.
pub(crate) const PROOF_BYTES: usize = 32;

/// What only those know who read the database. It is never shown.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(pub(crate) [u8; PROOF_BYTES]);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Secret {
    /// A new one, from the operating system's generator.
    #[must_use]
    pub(crate) fn random() -> Self {
        Self(random())
    }
}

/// Random bytes that an answer proves itself with.
#[must_use]
pub(crate) fn random() -> [u8; PROOF_BYTES] {
    rand::random()
}

/// The token of a replica that calls another.
#[must_use]
pub(crate) fn token(secret_of_called: &Secret, caller: ReplicaId, called: ReplicaId) -> String {
    let proof = hmac(secret_of_called, &[b"dial", caller.0.as_bytes(), called.0.as_bytes()]);
    format!("{TOKEN_PREFIX}{caller}_{}", hex(&proof))
}

/// Whether a token is one of a replica, right or wrong.
#[must_use]
pub(crate) fn is_token(token: &str) -> bool {
    token.starts_with(TOKEN_PREFIX)
}

/// Which replica calls with this token, if it may.
#[must_use]
pub(crate) fn caller(own_secret: &Secret, token_given: &str, called: ReplicaId) -> Option<ReplicaId> {
    let (id, _) = token_given.strip_prefix(TOKEN_PREFIX)?.split_once('_')?;
    let caller = ReplicaId(Uuid::try_parse(id).ok()?);
    let expected = token(own_secret, caller, called);
    bool::from(expected.as_bytes().ct_eq(token_given.as_bytes())).then_some(caller)
}

/// What the replica that is called answers.
#[must_use]
pub(crate) fn answer(
    secret_of_called: &Secret,
    nonce: &[u8],
    caller: ReplicaId,
    called: ReplicaId,
) -> [u8; PROOF_BYTES] {
    hmac(secret_of_called, &[b"answer", nonce, caller.0.as_bytes(), called.0.as_bytes()])
}

/// Whether an answer is right.
#[must_use]
pub(crate) fn is_answer(expected: &[u8; PROOF_BYTES], given: &[u8]) -> bool {
    expected.as_slice().ct_eq(given).into()
}

/// HMAC-SHA256 (RFC 2104) of what these pieces are together. All but one of them have a
/// fixed length in each use, so that no two texts run into the same bytes.
fn hmac(secret: &Secret, pieces: &[&[u8]]) -> [u8; PROOF_BYTES] {
    let padded = |pad: u8| {
        let mut block = [pad; BLOCK_BYTES];
        for (byte, key) in block.iter_mut().zip(secret.0) {
            *byte ^= key;
        }
        block
    };
    let mut inner = Sha256::new_with_prefix(padded(0x36));
    for piece in pieces {
        inner.update(piece);
    }
    let mut outer = Sha256::new_with_prefix(padded(0x5c));
    outer.update(inner.finalize());
    outer.finalize().into()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALLER: ReplicaId = ReplicaId(Uuid::from_u128(2));
    const CALLED: ReplicaId = ReplicaId(Uuid::from_u128(1));
    const SECRET: Secret = Secret([7; PROOF_BYTES]);

    /// RFC 4231, test cases 1 and 2; a key is padded with zeros, so these are keys of 32 bytes.
    #[test]
    fn the_mac_is_the_one_of_the_standard() {
        let mut key = [0; PROOF_BYTES];
        key[..20].fill(0x0b);
        let first = hmac(&Secret(key), &[b"Hi ", b"There"]);
        let mut key = [0; PROOF_BYTES];
        key[..4].copy_from_slice(b"Jefe");
        let second = hmac(&Secret(key), &[b"what do ya want for nothing?"]);

        assert_eq!(hex(&first), "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
        assert_eq!(hex(&second), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    }

    #[test]
    fn a_token_names_its_replica_and_opens_one_other_alone() {
        let sent = token(&SECRET, CALLER, CALLED);

        assert_eq!(caller(&SECRET, &sent, CALLED), Some(CALLER));
        assert_eq!(caller(&SECRET, &sent, CALLER), None);
        assert_eq!(caller(&Secret([8; PROOF_BYTES]), &sent, CALLED), None);
        let forged = sent.replace(&CALLER.to_string(), &CALLED.to_string());
        assert_eq!(caller(&SECRET, &forged, CALLED), None);
    }

    #[test]
    fn what_is_no_token_of_a_replica_opens_nothing() {
        for wrong in ["", "chatplane_peer_", "chatplane_peer_x_y", "chatplane_user_1", "chatplane_peer__"] {
            assert_eq!(caller(&SECRET, wrong, CALLED), None);
        }
    }

    #[test]
    fn an_answer_is_right_for_its_nonce_alone() {
        let right = answer(&SECRET, &[1; 32], CALLER, CALLED);

        assert!(is_answer(&right, &right));
        assert!(!is_answer(&answer(&SECRET, &[2; 32], CALLER, CALLED), &right));
        assert!(!is_answer(&right, b""));
    }
}
