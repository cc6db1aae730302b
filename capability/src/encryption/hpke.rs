//! HPKE (RFC 9180) in base mode: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20Poly1305.
//!
//! One encapsulation serves many bodies for one recipient. From its context both ends export one
//! secret, and from that and a body's number the body's key (S81). So each body opens alone and in any
//! order, while the multiplications on the curve, some 60 µs at each end, are paid once for thousands.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{ChaCha20Poly1305, Nonce};
use hpke::rand_core::{TryCryptoRng, TryRng};
use hpke::{Deserializable, OpModeR, OpModeS, Serializable, aead, kdf, kem};

use super::keys::{DecryptionKey, Encapsulated, EncryptionKey, numbered};
use super::{OpenError, Opener, Purpose, Sealed, Sealer};
use crate::key::KEY_BYTES;

pub(super) type Kem = kem::X25519HkdfSha256;
type Kdf = kdf::HkdfSha256;
type Aead = aead::ChaCha20Poly1305;

/// What both ends have of one encapsulation.
type Shared = [u8; KEY_BYTES];

/// Bodies under one encapsulation, so that whoever comes to know what is in the memory of this process
/// cannot open all that it ever sealed.
const BODIES: u32 = 4_096;

/// Recipients for whom an encapsulation is kept: the projects that a volunteer works for at a time.
const MAX_RECIPIENTS: usize = 64;

/// Encapsulations that an opener remembers: those of the volunteers whose results come in turn.
const MAX_REMEMBERED: usize = 1_024;

/// Seals with HPKE. Its randomness is a seed from outside, which must never be given twice.
pub struct HpkeSealer {
    state: Mutex<State>,
}

struct State {
    randomness: Randomness,
    sending: BTreeMap<(Purpose, EncryptionKey), Sending>,
}

struct Sending {
    encapsulated: Encapsulated,
    shared: Shared,
    /// How many bodies there were.
    count: u32,
}

impl HpkeSealer {
    /// A sealer that draws on `seed`, 32 bytes of the operating system's randomness made for it alone.
    pub fn new(seed: [u8; KEY_BYTES]) -> Self {
        let randomness = Randomness(blake3::Hasher::new_keyed(&seed).finalize_xof());
        Self { state: Mutex::new(State { randomness, sending: BTreeMap::new() }) }
    }
}

impl Sealer for HpkeSealer {
    fn seal(
        &self,
        purpose: Purpose,
        to: EncryptionKey,
        plaintext: &[u8],
        associated: &[u8],
    ) -> Sealed {
        let (encapsulated, number, key) = lock(&self.state).next(purpose, to);
        let body =
            cipher(&key).encrypt(&Nonce::default(), Payload { msg: plaintext, aad: associated });
        let body = body.expect("what is sealed is far below 256 GiB");
        Sealed { to, encapsulated, number, body }
    }
}

impl State {
    /// A key that no body has had.
    fn next(&mut self, purpose: Purpose, to: EncryptionKey) -> (Encapsulated, u32, Shared) {
        let Self { randomness, sending } = self;
        sending.retain(|_, sending| sending.count < BODIES);
        if sending.len() >= MAX_RECIPIENTS && !sending.contains_key(&(purpose, to)) {
            sending.clear();
        }
        let begin = || encapsulate(purpose, to, randomness);
        let sending = sending.entry((purpose, to)).or_insert_with(begin);
        let number = sending.count;
        sending.count += 1;
        (sending.encapsulated, number, numbered(&sending.shared, number))
    }
}

fn encapsulate(purpose: Purpose, to: EncryptionKey, randomness: &mut Randomness) -> Sending {
    let mode = OpModeS::Base;
    let (encapsulated, context) = hpke::setup_sender_with_rng::<Aead, Kdf, Kem>(
        &mode,
        &to.for_hpke(),
        purpose.info(),
        randomness,
    )
    .expect("an encryption key is not of small order (S80)");
    let mut shared = Shared::default();
    context.export(b"", &mut shared).expect("32 bytes can be exported");
    let encapsulated = Encapsulated::from_bytes(encapsulated.to_bytes().into());
    Sending { encapsulated, shared, count: 0 }
}

/// Opens with HPKE what was sealed to one of its keys.
pub struct HpkeOpener {
    keys: BTreeMap<EncryptionKey, DecryptionKey>,
    remembered: Mutex<Remembered>,
}

#[derive(Default)]
struct Remembered {
    shared: BTreeMap<(Purpose, EncryptionKey, Encapsulated), Shared>,
    /// The same, the oldest first.
    order: VecDeque<(Purpose, EncryptionKey, Encapsulated)>,
}

impl HpkeOpener {
    /// Has these keys.
    pub fn new(keys: impl IntoIterator<Item = DecryptionKey>) -> Self {
        let keys = keys.into_iter().map(|key| (key.public(), key)).collect();
        Self { keys, remembered: Mutex::default() }
    }

    fn decapsulate(&self, purpose: Purpose, sealed: &Sealed) -> Result<Shared, OpenError> {
        let key = self.keys.get(&sealed.to).ok_or(OpenError::OtherKey)?;
        let encapsulated = Deserializable::from_bytes(sealed.encapsulated.as_bytes());
        let encapsulated = encapsulated.map_err(|_| OpenError::Unsound)?;
        let mode = OpModeR::Base;
        let context = hpke::setup_receiver::<Aead, Kdf, Kem>(
            &mode,
            key.for_hpke(),
            &encapsulated,
            purpose.info(),
        )
        .map_err(|_| OpenError::Unsound)?;
        let mut shared = Shared::default();
        context.export(b"", &mut shared).expect("32 bytes can be exported");
        Ok(shared)
    }
}

impl Opener for HpkeOpener {
    fn open(
        &self,
        purpose: Purpose,
        sealed: &Sealed,
        associated: &[u8],
    ) -> Result<Vec<u8>, OpenError> {
        let name = (purpose, sealed.to, sealed.encapsulated);
        let known = lock(&self.remembered).shared.get(&name).copied();
        let shared = known.map_or_else(|| self.decapsulate(purpose, sealed), Ok)?;
        let key = numbered(&shared, sealed.number);
        let payload = Payload { msg: &sealed.body, aad: associated };
        let opened = cipher(&key).decrypt(&Nonce::default(), payload);
        let opened = opened.map_err(|_| OpenError::Unsound)?;
        if known.is_none() {
            // Only now: what opens nothing must not take the room of what does.
            lock(&self.remembered).add(name, shared);
        }
        Ok(opened)
    }
}

impl Remembered {
    fn add(&mut self, name: (Purpose, EncryptionKey, Encapsulated), shared: Shared) {
        if self.shared.insert(name, shared).is_some() {
            return;
        }
        self.order.push_back(name);
        if self.order.len() > MAX_REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.shared.remove(&oldest);
        }
    }
}

impl fmt::Debug for HpkeSealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HpkeSealer")
    }
}

impl fmt::Debug for HpkeOpener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HpkeOpener").field("keys", &self.keys.keys()).finish_non_exhaustive()
    }
}

/// A cipher for one message alone, so that its nonce can be zero.
fn cipher(key: &Shared) -> ChaCha20Poly1305 {
    ChaCha20Poly1305::new(key.into())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each holder leaves it whole at every step.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The bytes that grow from a seed.
struct Randomness(blake3::OutputReader);

impl Randomness {
    fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.0.fill(&mut bytes);
        bytes
    }
}

impl TryRng for Randomness {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(u32::from_le_bytes(self.array()))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(u64::from_le_bytes(self.array()))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.0.fill(bytes);
        Ok(())
    }
}

impl TryCryptoRng for Randomness {}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u8) -> DecryptionKey {
        DecryptionKey::from_seed(&[n; 32])
    }

    #[test]
    fn what_is_sealed_opens_with_its_key_alone_and_in_any_order() {
        let sealer = HpkeSealer::new([1; 32]);
        let seal = |n: u8| sealer.seal(Purpose::Report, key(2).public(), &[n; 100], b"here");
        let sealed: Vec<_> = (0..9).map(seal).collect();
        assert!(sealed.iter().all(|it| it.encapsulated == sealed[0].encapsulated));
        let opener = HpkeOpener::new([key(3), key(2)]);
        for (n, sealed) in (0..9).zip(&sealed).rev() {
            assert_eq!(opener.open(Purpose::Report, sealed, b"here"), Ok(vec![n; 100]));
        }
        let fresh = HpkeOpener::new([key(2)]);
        assert_eq!(fresh.open(Purpose::Report, &sealed[7], b"here"), Ok(vec![7; 100]));
        let other = HpkeOpener::new([key(3)]);
        assert_eq!(other.open(Purpose::Report, &sealed[0], b"here"), Err(OpenError::OtherKey));
    }

    #[test]
    fn nothing_opens_that_differs_in_anything() {
        let sealer = HpkeSealer::new([1; 32]);
        let sealed = sealer.seal(Purpose::Report, key(2).public(), b"a report", b"here");
        let opener = HpkeOpener::new([key(2), key(3)]);
        let unsound = |purpose, sealed: &Sealed, associated: &[u8]| {
            assert_eq!(opener.open(purpose, sealed, associated), Err(OpenError::Unsound));
        };
        for _ in 0..2 {
            unsound(Purpose::Package, &sealed, b"here");
            unsound(Purpose::Report, &sealed, b"there");
            unsound(Purpose::Report, &Sealed { to: key(3).public(), ..sealed.clone() }, b"here");
            unsound(Purpose::Report, &Sealed { number: 1, ..sealed.clone() }, b"here");
            let encapsulated = Encapsulated::from_bytes([0; 32]);
            unsound(Purpose::Report, &Sealed { encapsulated, ..sealed.clone() }, b"here");
            let mut changed = sealed.clone();
            changed.body[3] ^= 1;
            unsound(Purpose::Report, &changed, b"here");
            changed.body.clear();
            unsound(Purpose::Report, &changed, b"here");
            // The second time the encapsulation is a known one.
            assert!(opener.open(Purpose::Report, &sealed, b"here").is_ok());
        }
    }

    #[test]
    fn an_encapsulation_ends_and_no_two_bodies_have_the_same_key() {
        let sealer = HpkeSealer::new([1; 32]);
        let mut names = std::collections::BTreeSet::new();
        for purpose in [Purpose::Report, Purpose::Package] {
            for _ in 0..=BODIES {
                let sealed = sealer.seal(purpose, key(2).public(), b"", b"");
                assert!(names.insert((sealed.encapsulated, sealed.number)));
            }
        }
        let encapsulated: std::collections::BTreeSet<_> = names.iter().map(|name| name.0).collect();
        assert_eq!(encapsulated.len(), 4);
    }

    #[test]
    fn both_ends_keep_a_bounded_number_of_secrets() {
        let sealer = HpkeSealer::new([1; 32]);
        let opener = HpkeOpener::new((0..3).map(key));
        for n in 0..=MAX_REMEMBERED {
            let to = key(u8::try_from(n % 251).expect("below 251")).public();
            let sealed = sealer.seal(Purpose::Report, to, b"", b"");
            assert_eq!(opener.open(Purpose::Report, &sealed, b"").is_ok(), n % 251 < 3);
            assert!(lock(&sealer.state).sending.len() <= MAX_RECIPIENTS);
        }
        for n in 0..MAX_REMEMBERED {
            let name = (Purpose::Report, key(1).public(), Encapsulated::from_bytes([7; 32]));
            let mut bytes = [0; 32];
            bytes[..8].copy_from_slice(&n.to_le_bytes());
            let name = (name.0, name.1, Encapsulated::from_bytes(bytes));
            lock(&opener.remembered).add(name, [0; 32]);
        }
        let remembered = lock(&opener.remembered);
        assert_eq!(
            (remembered.shared.len(), remembered.order.len()),
            (MAX_REMEMBERED, MAX_REMEMBERED)
        );
    }
}
