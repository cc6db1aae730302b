//! What a project may reach of the network, as people write it: `none`, `any`, or destinations.

use std::fmt;
use std::str::FromStr;

use capability::{Destination, MAX_DESTINATIONS};
use serde::{Deserialize, Serialize, Serializer};
use volunteer_core::Permitted;

/// What a pin permits.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(try_from = "Written")]
pub struct PinnedReach(pub Permitted);

/// In a file.
#[derive(Deserialize)]
#[serde(untagged, expecting = "network is \"none\", \"any\" or a list of destinations")]
enum Written {
    Word(String),
    List(Vec<String>),
}

impl PinnedReach {
    /// Whether it is as if nothing had been said.
    pub fn is_nothing(&self) -> bool {
        self.0 == Permitted::Nothing
    }

    fn listed<'a>(destinations: impl Iterator<Item = &'a str>) -> Result<Self, String> {
        let read =
            |text: &str| text.trim().parse::<Destination>().map_err(|error| error.to_string());
        let listed: Vec<_> = destinations.map(read).collect::<Result<_, _>>()?;
        if listed.len() > MAX_DESTINATIONS {
            return Err(format!(
                "at most {MAX_DESTINATIONS} destinations; any: whatever it asks for"
            ));
        }
        Ok(Self(if listed.is_empty() { Permitted::Nothing } else { Permitted::Listed(listed) }))
    }
}

impl FromStr for PinnedReach {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "none" => Ok(Self(Permitted::Nothing)),
            "any" => Ok(Self(Permitted::Anything)),
            list => Self::listed(list.split(',')),
        }
    }
}

impl TryFrom<Written> for PinnedReach {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        match written {
            Written::Word(word) => word.parse(),
            Written::List(list) => Self::listed(list.iter().map(String::as_str)),
        }
    }
}

impl Serialize for PinnedReach {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Permitted::Nothing => serializer.serialize_str("none"),
            Permitted::Anything => serializer.serialize_str("any"),
            Permitted::Listed(listed) => listed.serialize(serializer),
        }
    }
}

impl fmt::Display for PinnedReach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Permitted::Nothing => f.write_str("none"),
            Permitted::Anything => f.write_str("any"),
            Permitted::Listed(listed) => {
                let listed: Vec<_> = listed.iter().map(ToString::to_string).collect();
                f.write_str(&listed.join(", "))
            }
        }
    }
}
