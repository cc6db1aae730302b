//! Laws of statements, and of what is decided by them.

use std::fmt::Debug;

use capability::statements::OfKind;
use capability::{
    Capabilities, Envelope, Kind, MAX_STATEMENT_BYTES, Payload, PublicKey, Requirements, Signature,
    ToBeSigned, Verified, Verifier, decode_cbor, encode_cbor, evaluate, rank, satisfies,
};

/// Takes every signature, so that the fuzzer comes past them.
#[derive(Debug)]
pub(crate) struct Gullible;

impl Verifier for Gullible {
    fn verify(&self, _: &PublicKey, _: &ToBeSigned, _: &Signature) -> bool {
        true
    }
}

/// An envelope keeps the bytes that came, and its payload is judged without a panic.
pub fn statement(data: &[u8]) {
    let Ok(envelope) = Envelope::parse(data) else { return };
    assert_eq!(envelope.as_bytes(), data, "the bytes that came are those that go");
    envelope.kind().unwrap_or(Kind::Ad).apply(Check(&envelope));
}

/// A payload that is taken is encoded as it came, but for what this version does not know, and
/// reads the same again. The first byte chooses the kind.
pub fn payload(data: &[u8]) {
    let Some((first, data)) = data.split_first() else { return };
    let kinds = Kind::ALL;
    kinds[usize::from(*first) % kinds.len()].apply(Decode(data));
}

/// However odd a machine and a job are, all ways to ask whether they fit agree. The first two bytes
/// say where the job begins.
pub fn matching(data: &[u8]) {
    let Some((at, data)) = data.split_first_chunk() else { return };
    let at = usize::from(u16::from_be_bytes(*at)).min(data.len());
    let Ok(machine) = decode_cbor::<Capabilities>(&data[..at], MAX_STATEMENT_BYTES) else { return };
    let Ok(job) = decode_cbor::<Requirements>(&data[at..], MAX_STATEMENT_BYTES) else { return };
    let judged = evaluate(&machine, &job);
    let runtime = satisfies(&machine, &job);
    assert_eq!(judged.as_ref().ok().map(|it| &it.runtime), runtime);
    match judged {
        Ok(found) => {
            rank(&machine, &found.runtime, &job.rank);
        }
        Err(no) => assert!(!no.to_string().is_empty(), "a no has a reason"),
    }
}

struct Check<'a>(&'a Envelope);

impl OfKind for Check<'_> {
    type Output = ();

    fn of<T: Payload + Debug + PartialEq>(self) {
        if let Ok(statement) = Verified::<T>::check(self.0, &Gullible) {
            assert_eq!(statement.id(), self.0.id());
        }
    }
}

struct Decode<'a>(&'a [u8]);

impl OfKind for Decode<'_> {
    type Output = ();

    fn of<T: Payload + Debug + PartialEq>(self) {
        let Ok(payload) = decode_cbor::<T>(self.0, MAX_STATEMENT_BYTES) else { return };
        // Whether it is sound is another question, which has an answer too.
        let _ = payload.validate();
        let again: T = decode_cbor(&encode_cbor(&payload), usize::MAX)
            .unwrap_or_else(|error| panic!("{payload:?} does not read again: {error}"));
        assert_eq!(again, payload);
    }
}
