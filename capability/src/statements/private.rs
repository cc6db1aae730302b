//! Packages that only some volunteers can read.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::Package;
use crate::cbor::Writer;
use crate::encryption::{
    BlobKey, EncryptionKey, OpenError, Opener, Purpose, Sealed, Sealer, encrypted_size,
};
use crate::invalid::Invalid;
use crate::key::{KEY_BYTES, ProjectKey, PublicKey};

/// Volunteers that can read one package at most (S85).
pub const MAX_RECIPIENTS: usize = 64;

/// Bytes of a sealed key: the key, and a tag of 16 bytes.
const SEALED_KEY_BYTES: usize = KEY_BYTES + 16;

/// What makes the package of an offer private: it is encrypted as a blob of index 0 (S84), and its key
/// is sealed to each volunteer that may run the job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Private {
    /// Bytes of the package before padding and encryption.
    pub size: u64,
    /// Who may run the job; 1 to 64, each once.
    pub recipients: Vec<Recipient>,
}

/// A volunteer that may run a private job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Recipient {
    /// Its node key.
    pub volunteer: PublicKey,
    /// The package's key, sealed to it (S86).
    pub key: Sealed,
}

/// A private package as one of its recipients gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedPackage {
    key: Sealed,
    bond: Vec<u8>,
    /// Bytes of the package before padding and encryption.
    pub size: u64,
}

impl Private {
    /// Lets `volunteers` read `package`, which had `size` bytes and was encrypted with `key`.
    pub fn new(
        project: ProjectKey,
        package: &Package,
        key: BlobKey,
        size: u64,
        volunteers: &[(PublicKey, EncryptionKey)],
        sealer: &dyn Sealer,
    ) -> Self {
        let recipients = volunteers.iter().map(|&(volunteer, to)| {
            let bond = bond(project, package, volunteer);
            let key = sealer.seal(Purpose::Package, to, key.as_bytes(), &bond);
            Recipient { volunteer, key }
        });
        Self { size, recipients: recipients.collect() }
    }

    /// The package as `volunteer` gets it, if it is a recipient.
    pub fn sealed_for(
        &self,
        project: ProjectKey,
        package: &Package,
        volunteer: PublicKey,
    ) -> Option<SealedPackage> {
        let recipient = self.recipients.iter().find(|it| it.volunteer == volunteer)?;
        let bond = bond(project, package, volunteer);
        Some(SealedPackage { key: recipient.key.clone(), bond, size: self.size })
    }

    pub(super) fn validate(&self, package: &Package) -> Result<(), Invalid> {
        let bounded = (1..=MAX_RECIPIENTS).contains(&self.recipients.len());
        Invalid::unless(bounded, "S85", "1 to 64 recipients")?;
        let different: BTreeSet<_> = self.recipients.iter().map(|it| it.volunteer).collect();
        let once = different.len() == self.recipients.len();
        Invalid::unless(once, "S85", "a recipient that is there twice")?;
        let sealed = self.recipients.iter().all(|it| it.key.body.len() == SEALED_KEY_BYTES);
        Invalid::unless(sealed, "S85", "a sealed key of other than 48 bytes")?;
        let encrypted = package.size == encrypted_size(self.size);
        Invalid::unless(encrypted, "S85", "a private package that has not the size of its contents")
    }
}

impl SealedPackage {
    /// The package's key.
    ///
    /// # Errors
    /// If it is sealed to a key that `opener` has not, or was taken from another offer.
    pub fn key(&self, opener: &dyn Opener) -> Result<BlobKey, OpenError> {
        let key = opener.open(Purpose::Package, &self.key, &self.bond)?;
        let key: [u8; KEY_BYTES] = key.try_into().map_err(|_| OpenError::Unsound)?;
        Ok(BlobKey::from_bytes(key))
    }
}

/// What the sealed key of a package belongs to (S86): else another project that the volunteer trusts
/// could copy it into an offer of its own, with steps that bring the package to light.
fn bond(project: ProjectKey, package: &Package, volunteer: PublicKey) -> Vec<u8> {
    let mut bond = Writer::default();
    bond.array(3).byte_string(project.as_bytes()).byte_string(package.hash.as_bytes());
    bond.byte_string(volunteer.as_bytes());
    bond.into_bytes()
}
