//! Keys that end, that pass on, and that vouch for others.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{DAY, check_text};
use crate::key::PublicKey;
use crate::statement::{Invalid, Kind, Payload};
use crate::time::Timestamp;

/// A key is void. Signed by that key itself, or by the project key that delegated to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Revocation {
    /// The key that is void from now on.
    pub key: PublicKey,
    /// Why, for people; at most 256 bytes.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// When whatever the key may have signed has expired.
    pub expires: Timestamp,
}

/// The signing key names the one that follows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Succession {
    /// The new key.
    pub successor: PublicKey,
    /// At most a year ahead.
    pub expires: Timestamp,
}

/// An owner key vouches for the node keys of its volunteers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Ownership {
    /// The node keys; at most 1,024.
    pub nodes: Vec<PublicKey>,
    /// At most a year ahead.
    pub expires: Timestamp,
}

macro_rules! year_long {
    ($payload:ident, $kind:ident, |$this:ident| $validate:expr) => {
        impl Payload for $payload {
            const KIND: Kind = Kind::$kind;
            const MAX_LIFETIME: Duration = DAY.saturating_mul(366);

            fn expires(&self) -> Timestamp {
                self.expires
            }

            fn validate(&self) -> Result<(), Invalid> {
                let $this = self;
                $validate
            }
        }
    };
}

year_long!(Revocation, Revocation, |this| check_text("reason", &this.reason, 256));
year_long!(Succession, Succession, |_this| Ok(()));
year_long!(Ownership, Ownership, |this| Invalid::unless(
    this.nodes.len() <= 1024,
    "S72",
    "over 1,024 nodes"
));
