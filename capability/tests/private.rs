//! Who can read a private package.

#[allow(dead_code, clippy::allow_attributes, reason = "the vectors use the rest")]
#[path = "vectors/samples.rs"]
mod samples;

use capability::statements::{Offer, Package, Private};
use capability::{HpkeOpener, OpenError};
use samples::{MASTER, OTHER, PACKAGE_KEY, VOLUNTEER, decryption, package, private, public};

fn opened(offer: &Offer, volunteer: u8, key: u8) -> Option<Result<[u8; 32], OpenError>> {
    let package = offer.package_for(public(volunteer))?;
    Some(package.key(&HpkeOpener::new([decryption(key)])).map(|key| *key.as_bytes()))
}

#[test]
fn each_recipient_can_read_the_package_and_nobody_else() {
    let offer = samples::offer();
    for volunteer in [VOLUNTEER, OTHER] {
        assert!(offer.admits(public(volunteer)));
        assert_eq!(opened(&offer, volunteer, volunteer), Some(Ok(*PACKAGE_KEY.as_bytes())));
    }
    assert!(!offer.admits(public(MASTER)) && opened(&offer, MASTER, MASTER).is_none());
    assert_eq!(opened(&offer, VOLUNTEER, OTHER), Some(Err(OpenError::OtherKey)));
    let open = Offer { private: None, ..offer };
    assert!(open.admits(public(MASTER)) && open.package_for(public(VOLUNTEER)).is_none());
}

#[test]
fn the_key_of_a_package_that_was_copied_into_another_offer_does_not_open() {
    let sound = samples::offer();
    let thief = Offer { project: public(MASTER).into(), ..sound.clone() };
    let hash = capability::BlobHash::of(b"another");
    let other = Offer { package: Package { hash, ..package() }, ..sound.clone() };
    let Private { size, mut recipients } = private();
    recipients.truncate(1);
    recipients[0].volunteer = public(OTHER);
    let for_another = Offer { private: Some(Private { size, recipients }), ..sound };
    for (offer, volunteer) in [(thief, VOLUNTEER), (other, VOLUNTEER), (for_another, OTHER)] {
        assert_eq!(opened(&offer, volunteer, VOLUNTEER), Some(Err(OpenError::Unsound)));
    }
}
