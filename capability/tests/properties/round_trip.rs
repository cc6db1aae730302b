//! What is written reads the same again: every kind, alone and in a batch.

use std::fmt::Debug;

use capability::statements::{JobResult, Report};
use capability::{
    Ed25519, HpkeOpener, HpkeSealer, MAX_STATEMENT_BYTES, Payload, Signer, Verified, decode_cbor,
    encode_cbor,
};
use proptest::prelude::*;

use crate::arbitrary::{self, MASTER, VOLUNTEER, secret};
use crate::config;

/// Each case signs and checks twice, which is slow where nothing is optimised.
const CASES: u32 = 16;

fn check<T: Payload + Clone + Debug + PartialEq>(payload: &T, seed: u8) {
    payload.validate().expect("a sound payload was made");
    let bytes = encode_cbor(payload);
    let again: T = decode_cbor(&bytes, usize::MAX).expect("our own encoding");
    assert_eq!(again, *payload);
    assert_eq!(encode_cbor(&again), bytes);

    let key = secret(seed);
    let alone = Verified::sign(payload.clone(), &key);
    let batch = Verified::sign_batch(vec![payload.clone(); 3], &key);
    for statement in batch.iter().chain([&alone]) {
        let bytes = statement.envelope().as_bytes();
        assert!(bytes.len() <= MAX_STATEMENT_BYTES, "{} bytes", bytes.len());
        let read = Verified::<T>::parse(bytes, &Ed25519).expect("soundly signed");
        assert_eq!(read, *statement);
        assert_eq!((read.id(), read.signer()), (alone.id(), key.public()));
    }
}

proptest! {
    #![proptest_config(config(CASES))]

    #[test]
    fn a_report_is_opened_by_its_recipient_alone((report, blobs) in arbitrary::report()) {
        let (recipient, stranger) = (arbitrary::decryption(2), arbitrary::decryption(3));
        let lease = Verified::sign(arbitrary::lease_to(VOLUNTEER), &secret(MASTER));
        let sealer = HpkeSealer::new([7; 32]);
        let result = JobResult::new(&lease, blobs, &report, recipient.public(), &sealer);
        let result = Verified::sign(result, &secret(VOLUNTEER));

        let opened = Report::open(&result, &HpkeOpener::new([recipient]), &Ed25519);
        prop_assert_eq!(opened.expect("it is sound").report, report);
        prop_assert!(Report::open(&result, &HpkeOpener::new([stranger]), &Ed25519).is_err());
    }
}

macro_rules! reads_the_same_again {
    ($($name:ident: $payload:expr, $signer:expr;)*) => {
        proptest! {
            #![proptest_config(config(CASES))]
            $(
                #[test]
                fn $name(payload in $payload) {
                    check(&payload, $signer);
                }
            )*
        }
    };
}

reads_the_same_again! {
    an_ad_reads_the_same_again: arbitrary::ad(), VOLUNTEER;
    a_summary_reads_the_same_again: arbitrary::summary(), VOLUNTEER;
    a_registration_reads_the_same_again: arbitrary::registration(), VOLUNTEER;
    a_delegation_reads_the_same_again: arbitrary::delegation(), VOLUNTEER;
    a_home_reads_the_same_again: arbitrary::home(), MASTER;
    an_offer_reads_the_same_again: arbitrary::offer(), MASTER;
    a_withdrawal_reads_the_same_again: arbitrary::withdrawal(), VOLUNTEER;
    a_claim_reads_the_same_again: arbitrary::claim(), VOLUNTEER;
    a_lease_reads_the_same_again: arbitrary::lease(), VOLUNTEER;
    a_renewal_reads_the_same_again: arbitrary::renewal(), VOLUNTEER;
    a_result_reads_the_same_again: arbitrary::result(), VOLUNTEER;
    a_receipt_reads_the_same_again: arbitrary::receipt(), MASTER;
    a_broker_card_reads_the_same_again: arbitrary::broker_card(), VOLUNTEER;
    a_revocation_reads_the_same_again: arbitrary::revocation(), VOLUNTEER;
    a_succession_reads_the_same_again: arbitrary::succession(), VOLUNTEER;
    an_ownership_reads_the_same_again: arbitrary::ownership(), VOLUNTEER;
    a_request_reads_the_same_again: arbitrary::request(), VOLUNTEER;
    a_network_reads_the_same_again: arbitrary::network(), VOLUNTEER;
    a_list_reads_the_same_again: arbitrary::list(), VOLUNTEER;
}
