//! A handover as it comes in: what the core is to judge, and what is answered without it.

use capability::{BlobHash, StatementError};
use mesh_core::{Bundle, HandoverAnswer, encode_answers};

use crate::link::chain;

/// The answers to a handover, in the order of its bundles; none where the core is to answer.
#[derive(Debug)]
pub struct Incoming(Vec<Option<HandoverAnswer>>);

impl Incoming {
    /// Sorts `checked`: gives the bundles for the core to answer. An unsound one is refused, and one
    /// of which `missing` names blobs is to come again after them (C22).
    pub fn new(
        checked: Vec<Result<Bundle, StatementError>>,
        missing: impl Fn(&Bundle) -> Vec<BlobHash>,
    ) -> (Self, Vec<Bundle>) {
        let (mut answers, mut bundles) = (Vec::new(), Vec::new());
        for checked in checked {
            answers.push(match checked {
                Err(error) => Some(HandoverAnswer::Refused(chain(&error))),
                Ok(bundle) => match missing(&bundle) {
                    missing if missing.is_empty() => {
                        bundles.push(bundle);
                        None
                    }
                    missing => Some(HandoverAnswer::Missing(missing)),
                },
            });
        }
        (Self(answers), bundles)
    }

    /// The frame of the answers, with those of the core in the order of its bundles.
    pub fn answer(self, of_core: Vec<HandoverAnswer>) -> Vec<u8> {
        let mut of_core = of_core.into_iter();
        let answers = self.0.into_iter().map(|known| {
            known
                .or_else(|| of_core.next())
                .expect("the core answers each bundle that it was given")
        });
        encode_answers(&answers.collect::<Vec<_>>())
    }
}
