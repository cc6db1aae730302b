//! The golden vectors of `docs/spec/vectors`: what must be taken, and what must be refused.

pub mod bounds;
pub mod by_hand;
mod curve;
pub mod invalid;
pub mod reports;
pub mod samples;
mod variants;
mod wire;

use by_hand::Header;
use capability::statements::Withdrawal;
use capability::{Kind, Payload, Verified};
use ciborium::Value;
use samples::{BROKER, MASTER, OWNER, PROJECT, VOLUNTEER, secret};

/// One file.
pub struct Vector {
    /// The file's name without `.cbor`.
    pub name: String,
    /// The kind that a reader expects in its place.
    pub kind: Kind,
    /// The first line of the file.
    pub comment: String,
    /// The statement, or what passes for one.
    pub bytes: Vec<u8>,
}

/// What every reader must take.
pub fn valid() -> Vec<Vector> {
    let mut vectors = vec![
        sound(samples::ad(), VOLUNTEER),
        sound(samples::summary(), BROKER),
        sound(samples::registration(), PROJECT),
        sound(samples::delegation(), PROJECT),
        sound(samples::home(), MASTER),
        sound(samples::offer(), MASTER),
        sound(samples::withdrawal(9), MASTER),
        sound(samples::claim(), VOLUNTEER),
        sound(samples::lease(), BROKER),
        sound(samples::renewal(), VOLUNTEER),
        sound(samples::result(), VOLUNTEER),
        sound(samples::receipt(), MASTER),
        sound(samples::broker_card(), BROKER),
        sound(samples::revocation(), VOLUNTEER),
        sound(samples::succession(), VOLUNTEER),
        sound(samples::ownership(), OWNER),
        sound(samples::request(), VOLUNTEER),
        sound(samples::network(), OWNER),
        sound(samples::list(), OWNER),
    ];
    let batch = Verified::sign_batch((0..3).map(samples::withdrawal).collect(), &secret(MASTER));
    vectors.extend(batch.iter().zip(0..).map(|(leaf, index): (&Verified<Withdrawal>, u8)| {
        Vector {
            name: format!("withdrawal-leaf-{index}"),
            kind: Kind::Withdrawal,
            comment: format!("a withdrawal as leaf {index} of a batch of 3"),
            bytes: leaf.envelope().as_bytes().to_vec(),
        }
    }));
    vectors.push(with_an_unknown_key());
    vectors.extend(variants::variants());
    vectors
}

fn sound<T: Payload>(payload: T, seed: u8) -> Vector {
    let kind = T::KIND;
    Vector {
        name: kind.name().replace(' ', "-"),
        kind,
        comment: format!(
            "kind {}, {kind}, signed alone by the seed of 32 times {seed}",
            kind.number()
        ),
        bytes: Verified::sign(payload, &secret(seed)).envelope().as_bytes().to_vec(),
    }
}

/// What a newer version might send: readers of this one take it, and forward it unchanged.
fn with_an_unknown_key() -> Vector {
    let payload = Value::Map(vec![
        (Value::from("later"), Value::from(true)),
        (Value::from("expires"), Value::from(samples::NOW.0 + 1)),
        (Value::from("successor"), Value::Bytes(samples::public(BROKER).as_bytes().to_vec())),
    ]);
    let header = Header::new(Kind::Succession.number(), VOLUNTEER);
    Vector {
        name: "succession-with-an-unknown-key".into(),
        kind: Kind::Succession,
        comment: "a succession with the key `later`, which version 1 does not know".into(),
        bytes: by_hand::alone(&header, &by_hand::cbor(&payload), VOLUNTEER),
    }
}
