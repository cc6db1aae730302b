//! Laws of what only its recipient reads: it came over strangers, and who sealed it may be hostile too.

use std::io::Read;
use std::sync::LazyLock;

use capability::statements::{Blob, JobResult, Lease, Report, TaskId};
use capability::{
    BlobHash, BlobKey, DecryptingReader, DecryptionKey, Encapsulated, EncryptionKey, HpkeOpener,
    MAX_STATEMENT_BYTES, OpenError, Opener, Purpose, Runtime, Sealed, Sealer, SecretKey, Signer,
    StatementId, Timestamp, Verified, decode_cbor, encrypted_size,
};

use crate::statements::Gullible;

static NODE: LazyLock<SecretKey> = LazyLock::new(|| SecretKey::from_seed(&[1; 32]));
static READER: LazyLock<DecryptionKey> = LazyLock::new(|| DecryptionKey::from_seed(&[102; 32]));

static LEASE: LazyLock<Verified<Lease>> = LazyLock::new(|| {
    let lease = Lease {
        project: NODE.public().into(),
        task: TaskId { offer: StatementId::from_bytes([3; 32]), task: 0, replica: 0 },
        epoch: 1,
        volunteer: NODE.public(),
        runtime: Runtime::Wasm,
        granted: Timestamp(0),
        term_ms: 30_000,
        deadline: None,
        expires: Timestamp(0),
    };
    Verified::sign(lease, &*NODE)
});

/// A report that is taken names each blob that came with it, once, and is taken as the same when it is sealed
/// again. Whatever else is inside is refused.
pub fn report(data: &[u8]) {
    let any = Clear.seal(Purpose::Report, READER.public(), data, b"");
    let opened = Report::open(&result(Vec::new(), any), &Clear, &Gullible);
    let bare = || decode_cbor::<Report>(data, MAX_STATEMENT_BYTES).ok();
    let Some(report) = opened.ok().map(|opened| opened.report).or_else(bare) else { return };
    let sealed = JobResult::new(&LEASE, Vec::new(), &report, READER.public(), &Clear).report;
    let result = result(blobs_of(&report), sealed);
    let Ok(opened) = Report::open(&result, &Clear, &Gullible) else { return };
    assert_eq!(opened.report, report);
    assert_eq!(report.parts().count(), result.blobs.len(), "each blob is named once");
}

/// What is not sealed to the reader does not open, and a blob that was not encrypted for it has no end. The
/// first eight bytes say how large the content would be.
pub fn encrypted(data: &[u8]) {
    if let Ok(sealed) = decode_cbor::<Sealed>(data, MAX_STATEMENT_BYTES) {
        let opened = HpkeOpener::new([READER.clone()]).open(Purpose::Report, &sealed, b"");
        assert!(opened.is_err() || sealed.to == READER.public(), "only its recipient opens it");
    }
    let Some((size, data)) = data.split_first_chunk() else { return };
    let size = u64::from_be_bytes(*size);
    let mut reader = DecryptingReader::new(data, BlobKey::from_bytes([9; 32]), 0, size);
    let mut content = Vec::new();
    let whole = reader.read_to_end(&mut content).is_ok();
    assert!(content.len() <= data.len(), "it is never longer than what came");
    let length = u64::try_from(content.len()).expect("64 bits");
    assert!(!whole || length == size, "whoever has read to the end has all of it");
}

/// A sound result, but for what is in `report`.
fn result(blobs: Vec<Blob>, report: Sealed) -> Verified<JobResult> {
    let (task, lease) = (LEASE.task, LEASE.envelope().clone());
    let result =
        JobResult { project: LEASE.project, task, lease, blobs, report, expires: LEASE.expires };
    Verified::sign(result, &*NODE)
}

/// Those that `report` says come with it, as far as they can be counted.
fn blobs_of(report: &Report) -> Vec<Blob> {
    let mut blobs = vec![Blob { hash: BlobHash::of(b""), size: 0 }; report.parts().count()];
    for part in report.parts() {
        let place = usize::try_from(part.blob).ok().and_then(|place| blobs.get_mut(place));
        place.into_iter().for_each(|blob| blob.size = encrypted_size(part.size));
    }
    blobs
}

/// Seals nothing, so that the fuzzer comes inside.
struct Clear;

impl Sealer for Clear {
    fn seal(&self, _: Purpose, to: EncryptionKey, plaintext: &[u8], _: &[u8]) -> Sealed {
        let encapsulated = Encapsulated::from_bytes([0; 32]);
        Sealed { to, encapsulated, number: 0, body: plaintext.to_vec() }
    }
}

impl Opener for Clear {
    fn open(&self, _: Purpose, sealed: &Sealed, _: &[u8]) -> Result<Vec<u8>, OpenError> {
        Ok(sealed.body.clone())
    }
}
