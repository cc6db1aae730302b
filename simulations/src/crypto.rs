//! Signatures and sealed letters that cost next to nothing and cannot be forged inside the simulation.
//!
//! A signature is a hash over key and message. Anybody can compute it; what makes it genuine is that
//! a [`TableSigner`] has entered it into the table that the [`TableVerifier`] looks into. Only
//! [`SignatureTable::signer`] hands signers out, so an adversary has those of its own keys only.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use capability::{
    Encapsulated, EncryptionKey, OpenError, Opener, PublicKey, Purpose, SIGNATURE_BYTES, Sealed,
    Sealer, Signature, Signer, ToBeSigned, Verifier,
};

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

/// What stands for encryption: what is sealed opens where it belongs, for whoever it is sealed to.
#[derive(Debug, Clone)]
pub struct TableKeys {
    own: EncryptionKey,
}

impl TableKeys {
    /// The keys of the node called `name`.
    pub fn of(name: &str) -> Self {
        let own = blake3::derive_key("talkoot simulations 1 encryption key", name.as_bytes());
        Self { own: EncryptionKey::from_bytes(own).expect("hardly ever one of small order") }
    }

    /// To what others seal.
    pub fn public(&self) -> EncryptionKey {
        self.own
    }
}

impl Sealer for TableKeys {
    fn seal(&self, _: Purpose, to: EncryptionKey, plaintext: &[u8], associated: &[u8]) -> Sealed {
        let body = [blake3::hash(associated).as_bytes(), plaintext].concat();
        Sealed { to, encapsulated: Encapsulated::from_bytes([0; 32]), number: 0, body }
    }
}

impl Opener for TableKeys {
    fn open(&self, _: Purpose, sealed: &Sealed, associated: &[u8]) -> Result<Vec<u8>, OpenError> {
        if sealed.to != self.own {
            return Err(OpenError::OtherKey);
        }
        let opened = sealed.body.strip_prefix(blake3::hash(associated).as_bytes());
        opened.map(<[u8]>::to_vec).ok_or(OpenError::Unsound)
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
        let node = table.signer("node").public();
        Delegation { node, encryption: TableKeys::of("node").public(), expires: Timestamp(1) }
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
        // The payload ends with the expiry, 1, and with 11 bytes that name the encryption key and 34 that
        // tell it; the signature follows as 2 + 64 bytes.
        let expiry = bytes.len() - SIGNATURE_BYTES - 3 - 45;
        assert_eq!(bytes[expiry], 1);
        bytes[expiry] = 2;

        let refused = Verified::<Delegation>::parse(&bytes, &table.verifier());
        assert!(matches!(refused, Err(StatementError::Forged(_))), "{refused:?}");
    }
}
