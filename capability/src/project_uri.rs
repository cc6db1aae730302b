//! The URI that a project publishes and a volunteer pins.

use std::fmt;
use std::str::FromStr;

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use thiserror::Error;

use crate::key::{ProjectKey, TextError};

/// Longer text is no project URI: a key and eight broker addresses fit.
pub const MAX_URI_BYTES: usize = 4096;

const SCHEME: &str = "talkoot:";
const RESERVED: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'#').add(b'%').add(b'&').add(b'+');

/// `talkoot:<project key>?broker=<multiaddr>&…`: whom to trust, and where to find it.
///
/// ```
/// let key = "xyixgenscsa5hpqgmdtkcz66fh3gmjq4yvxlypxrrxbrxevy3fba";
/// # let key = capability::ProjectKey::from(capability::Signer::public(
/// #     &capability::SecretKey::from_seed(&[1; 32]))).to_string();
/// let uri = format!("talkoot:{key}?broker=/ip4/127.0.0.1/tcp/4077");
/// let project: capability::ProjectUri = uri.parse()?;
/// assert_eq!(project.brokers, ["/ip4/127.0.0.1/tcp/4077"]);
/// assert_eq!(project.to_string(), uri);
/// # Ok::<(), capability::UriError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectUri {
    /// The key to pin.
    pub project: ProjectKey,
    /// Multiaddrs of brokers that know the project, as text; may be empty.
    pub brokers: Vec<String>,
}

/// Text is no project URI.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum UriError {
    /// Another scheme, or none.
    #[error("a project URI starts with `talkoot:`, as in talkoot:<project key>?broker=<address>")]
    Scheme,
    /// The part after the scheme is no key.
    #[error(transparent)]
    Key(#[from] TextError),
    /// A parameter that is not `broker=…`.
    #[error("`{0}` in the project URI is not known; only broker=<address> is")]
    Parameter(String),
    /// Over [`MAX_URI_BYTES`], as it stands or with each character encoded that has to be.
    #[error("a project URI has at most {MAX_URI_BYTES} bytes")]
    TooLong,
}

impl FromStr for ProjectUri {
    type Err = UriError;

    fn from_str(text: &str) -> Result<Self, UriError> {
        let text = text.trim();
        if text.len() > MAX_URI_BYTES {
            return Err(UriError::TooLong);
        }
        let rest = text.strip_prefix(SCHEME).ok_or(UriError::Scheme)?;
        let (key, query) = rest.split_once('?').unwrap_or((rest, ""));
        let parameters = query.split('&').filter(|parameter| !parameter.is_empty());
        let brokers = parameters.map(|parameter| {
            let unknown = || UriError::Parameter(parameter.chars().take(64).collect());
            let value = parameter.strip_prefix("broker=").ok_or_else(unknown)?;
            let decoded = percent_decode_str(value).decode_utf8().map_err(|_| unknown())?;
            Ok(decoded.into_owned())
        });
        let uri =
            Self { project: key.parse()?, brokers: brokers.collect::<Result<_, UriError>>()? };
        // What was written without the encoding that a URI needs is longer with it.
        if uri.to_string().len() > MAX_URI_BYTES { Err(UriError::TooLong) } else { Ok(uri) }
    }
}

impl fmt::Display for ProjectUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}", self.project)?;
        for (index, broker) in self.brokers.iter().enumerate() {
            let separator = if index == 0 { '?' } else { '&' };
            write!(f, "{separator}broker={}", utf8_percent_encode(broker, RESERVED))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{SecretKey, Signer};

    #[test]
    fn what_is_wrong_is_named() {
        let key = ProjectKey::from(SecretKey::from_seed(&[3; 32]).public());
        assert_eq!("https://example.org".parse::<ProjectUri>(), Err(UriError::Scheme));
        assert!(matches!("talkoot:abc".parse::<ProjectUri>(), Err(UriError::Key(_))));
        let parameter = format!("talkoot:{key}?borker=/ip4/1.2.3.4/tcp/1");
        assert!(matches!(parameter.parse::<ProjectUri>(), Err(UriError::Parameter(_))));
        assert_eq!("x".repeat(5000).parse::<ProjectUri>(), Err(UriError::TooLong));
    }

    #[test]
    fn an_address_with_reserved_characters_survives() {
        let project = ProjectKey::from(SecretKey::from_seed(&[3; 32]).public());
        let uri = ProjectUri { project, brokers: vec!["/dns/a/x?&b=%".into(), "/b".into()] };
        assert_eq!(uri.to_string().parse(), Ok(uri));
    }

    #[test]
    fn what_only_fits_without_the_encoding_that_it_needs_is_too_long() {
        let key = ProjectKey::from(SecretKey::from_seed(&[3; 32]).public());
        let uri = format!("talkoot:{key}?broker={}", "\u{1}".repeat(MAX_URI_BYTES / 2));
        assert_eq!(uri.parse::<ProjectUri>(), Err(UriError::TooLong));
    }
}
