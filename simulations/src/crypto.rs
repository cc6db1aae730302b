//! Signatures that cost next to nothing and cannot be forged inside the simulation.
//!
//! A signature is a hash over key and message. Anybody can compute it; what makes it genuine is that
//! a [`TableSigner`] has entered it into the table that the [`TableVerifier`] looks into. Only
//! [`SignatureTable::signer`] hands signers out, so an adversary has those of its own keys only.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use capability::{PublicKey, SIGNATURE_BYTES, Signature, Signer, ToBeSigned, Verifier};

/// What has been signed in one simulation, by everybody.
#[derive(Debug, Clone, Default)]
pub struct SignatureTable(Arc<Mutex<BTreeSet<Signature>>>);

/// Signs as one key, by an entry in the table.
#[derive(Debug, Clone)]
pub struct TableSigner {
    public: PublicKey,
    table: SignatureTable,
}

/// Knows a signature if it is in the table.
#[derive(Debug, Clone)]
pub struct TableVerifier(SignatureTable);

impl SignatureTable {
    /// The signer called `name`; the same name gives the same key.
    pub fn signer(&self, name: &str) -> TableSigner {
        let public = blake3::derive_key("talkoot simulations 1 public key", name.as_bytes());
        TableSigner { public: PublicKey::from_bytes(public), table: self.clone() }
    }

    /// A verifier of everything that is signed with this table.
    pub fn verifier(&self) -> TableVerifier {
        TableVerifier(self.clone())
    }

    fn entries(&self) -> MutexGuard<'_, BTreeSet<Signature>> {
        // An entry is one insertion, so that a panic elsewhere leaves the table whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Signer for TableSigner {
    fn public(&self) -> PublicKey {
        self.public
    }

    fn sign(&self, message: &ToBeSigned) -> Signature {
        let signature = signature_of(&self.public, message);
        self.table.entries().insert(signature);
        signature
    }
}

impl Verifier for TableVerifier {
    fn verify(&self, key: &PublicKey, message: &ToBeSigned, signature: &Signature) -> bool {
        signature_of(key, message) == *signature && self.0.entries().contains(signature)
    }
}

fn signature_of(key: &PublicKey, message: &ToBeSigned) -> Signature {
    let mut hasher = blake3::Hasher::new_derive_key("talkoot simulations 1 signature");
    hasher.update(key.as_bytes()).update(message.as_bytes());
    let mut signature = [0; SIGNATURE_BYTES];
    hasher.finalize_xof().fill(&mut signature);
    Signature(signature)
}

#[cfg(test)]
mod tests {
    use capability::statements::Delegation;
    use capability::{StatementError, Timestamp, Verified};

    use super::*;

    fn delegation(table: &SignatureTable) -> Delegation {
        Delegation { node: table.signer("node").public(), expires: Timestamp(1) }
    }

    #[test]
    fn what_a_signer_signed_is_genuine() {
        let table = SignatureTable::default();
        let signed = Verified::sign(delegation(&table), &table.signer("project"));
        Verified::<Delegation>::parse(signed.envelope().as_bytes(), &table.verifier())
            .expect("it was signed");
    }

    #[test]
    fn a_signature_that_its_owner_never_made_is_refused() {
        let (table, elsewhere) = (SignatureTable::default(), SignatureTable::default());
        // The adversary knows the algorithm and the victim's key, and makes the very bytes that the
        // victim would have made.
        let made_up = Verified::sign(delegation(&table), &elsewhere.signer("victim"));

        let refused =
            Verified::<Delegation>::parse(made_up.envelope().as_bytes(), &table.verifier());
        assert!(matches!(refused, Err(StatementError::Forged(_))), "{refused:?}");
    }

    #[test]
    fn a_genuine_signature_does_not_fit_another_message() {
        let table = SignatureTable::default();
        let signed = Verified::sign(delegation(&table), &table.signer("project"));
        let mut bytes = signed.envelope().as_bytes().to_vec();
        // The last byte of the payload is the expiry, 1; the signature follows as 2 + 64 bytes.
        let expiry = bytes.len() - SIGNATURE_BYTES - 3;
        assert_eq!(bytes[expiry], 1);
        bytes[expiry] = 2;

        let refused = Verified::<Delegation>::parse(&bytes, &table.verifier());
        assert!(matches!(refused, Err(StatementError::Forged(_))), "{refused:?}");
    }
}
