//! The secret by which programs of its owner show a daemon that they may ask.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use axum::http::{HeaderMap, header};
use data_encoding::HEXLOWER;

use crate::exit::{Exit, Failure, OrExit, Outcome};
use crate::files::{read_text, write_whole};

/// Bytes of randomness, of which each is two characters.
const BYTES: usize = 32;

/// Its file in the state directory, which the owner alone can read.
const FILE: &str = "api-token";

/// A token, as in `Authorization: Bearer <token>`.
#[derive(Clone)]
pub struct ApiToken(Arc<str>);

impl ApiToken {
    /// The token of the daemon with the state directory `state`; made if there is none.
    ///
    /// # Errors
    /// If it cannot be made, or as [`ApiToken::load`].
    pub fn load_or_create(state: &Path) -> Outcome<Self> {
        if !state.join(FILE).exists() {
            Self::create(state)?;
        }
        Self::load(state)
    }

    /// Makes another token for the daemon with the state directory `state`. Whoever has seen the former
    /// one, say by listening at the address of a daemon that had died, can do nothing with it.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn create(state: &Path) -> Outcome<Self> {
        let mut bytes = [0; BYTES];
        getrandom::fill(&mut bytes).context("cannot get randomness").or_exit(Exit::State)?;
        let secret = HEXLOWER.encode(&bytes);
        write_whole(&state.join(FILE), secret.as_bytes(), 0o600)?;
        Ok(Self(secret.into()))
    }

    /// The token that a daemon has left in `state`.
    ///
    /// # Errors
    /// If there is none, or others than its owner ask.
    pub fn load(state: &Path) -> Outcome<Self> {
        let path = state.join(FILE);
        let hint = "ask as the user whose daemon it is, or name its state directory with --state";
        let text = read_text(&path, "the token in", 2 * BYTES + 1).map_err(|it| it.hint(hint))?;
        let token = text.trim_end();
        if token.is_empty() {
            let message = format!("{} is empty", path.display());
            let hint = "remove it and start the daemon again, which makes another";
            return Err(Failure::say(Exit::State, message).hint(hint));
        }
        Ok(Self(token.into()))
    }

    /// The value of the header `Authorization` that shows it.
    pub fn authorization(&self) -> String {
        format!("Bearer {}", self.0)
    }

    /// Whether a request with `headers` shows it.
    pub fn is_shown(&self, headers: &HeaderMap) -> bool {
        let shown = headers.get(header::AUTHORIZATION);
        let shown = shown.and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        // Hashes, so that the time it takes tells nothing about the token.
        shown.is_some_and(|it| blake3::hash(it.as_bytes()) == blake3::hash(self.0.as_bytes()))
    }

    /// The secret itself.
    pub fn secret(&self) -> &str {
        &self.0
    }
}

impl From<&str> for ApiToken {
    fn from(secret: &str) -> Self {
        Self(secret.into())
    }
}

/// Never the secret.
impl fmt::Debug for ApiToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiToken")
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_token_is_its_owners_alone_and_stays() {
        let state = tempfile::tempdir().expect("made");
        let missing = ApiToken::load(state.path()).expect_err("none yet");
        assert!(format!("{missing:?}").contains("--state"), "{missing:?}");

        let token = ApiToken::load_or_create(state.path()).expect("made");
        let mode = std::fs::metadata(state.path().join(FILE)).expect("there").permissions();
        assert_eq!(mode.mode() & 0o777, 0o600);
        assert_eq!(token.secret().len(), 2 * BYTES);
        let again = ApiToken::load_or_create(state.path()).expect("read");
        assert_eq!(again.secret(), token.secret());

        let other = ApiToken::create(state.path()).expect("made");
        assert_ne!(other.secret(), token.secret());
        let left = ApiToken::load(state.path()).expect("left for those who may ask");
        assert_eq!(left.secret(), other.secret());

        std::fs::write(state.path().join(FILE), "").expect("a disk was full once");
        let failure = ApiToken::load_or_create(state.path()).expect_err("everybody knows it");
        assert_eq!(failure.exit(), Exit::State);
    }

    #[test]
    fn only_the_token_itself_as_a_bearer_is_believed() {
        let token = ApiToken::from("secret");
        let shown = |value: &str| {
            let value = value.parse().expect("a header");
            token.is_shown(&HeaderMap::from_iter([(header::AUTHORIZATION, value)]))
        };
        assert!(shown(&token.authorization()));
        for wrong in ["secret", "Bearer Secret", "Bearer secret2", "Bearer ", "Basic secret"] {
            assert!(!shown(wrong), "{wrong}");
        }
        assert!(!token.is_shown(&HeaderMap::new()));
    }
}
