//! The part of the configuration that says for whom the broker works, and how much.

use broker_core::{AdmissionMode, Allowance, Quotas, Rate};
use mesh_shell::Outcome;
use mesh_shell::config::Bytes;
use serde::Deserialize;

use crate::wrong;

/// Whom the broker works for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Everybody.
    Open,
    /// Those in `admit`.
    Listed,
    /// Those in `admit`, and the volunteers of owners in it.
    Vouched,
}

impl From<Mode> for AdmissionMode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Open => Self::Open,
            Mode::Listed => Self::Listed,
            Mode::Vouched => Self::Vouched,
        }
    }
}

/// How much everybody may ask.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Limits {
    /// One key.
    pub key: Allowed,
    /// All that come from one IPv4 address, or from one IPv6 network of 64 bits.
    pub address: Allowed,
    /// Offers of one project that are published here, at most 1,000. Default: 1,000.
    pub offers_a_project: usize,
    /// Bytes of their packages. Default: 4 GiB.
    pub packages_a_project: Bytes,
    /// Statements of one signer that are passed on as gossip.
    pub gossip_a_signer: Count,
}

/// What one may ask.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Allowed {
    /// Questions of up to 4 KiB; a longer one counts as several.
    pub calls: Count,
    /// Results and receipts, of 1 KiB.
    pub custody: Count,
    /// Bytes of packages, logs and artifacts that are brought.
    pub uploads: Amount,
}

/// So many.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Count {
    /// In a minute.
    pub a_minute: u64,
    /// At once.
    pub burst: u64,
}

/// So many bytes.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Amount {
    /// In a minute.
    pub a_minute: Bytes,
    /// At once.
    pub burst: Bytes,
}

impl Default for Limits {
    fn default() -> Self {
        let quotas = Quotas::default();
        Self {
            key: quotas.key.into(),
            address: quotas.address.into(),
            offers_a_project: quotas.offers_a_project,
            packages_a_project: Bytes(quotas.package_bytes_a_project),
            gossip_a_signer: quotas.gossip_a_signer.into(),
        }
    }
}

impl From<Rate> for Count {
    fn from(Rate { a_minute, burst }: Rate) -> Self {
        Self { a_minute, burst }
    }
}

impl From<Allowance> for Allowed {
    fn from(Allowance { calls, custody, uploads }: Allowance) -> Self {
        let uploads = Amount { a_minute: Bytes(uploads.a_minute), burst: Bytes(uploads.burst) };
        Self { calls: calls.into(), custody: custody.into(), uploads }
    }
}

impl Limits {
    /// The same for the core, if nobody is kept from everything.
    pub fn quotas(&self) -> Outcome<Quotas> {
        Ok(Quotas {
            key: self.key.allowance("key")?,
            address: self.address.allowance("address")?,
            offers_a_project: self.offers_a_project,
            package_bytes_a_project: self.packages_a_project.0,
            gossip_a_signer: rate(
                "gossip-a-signer",
                self.gossip_a_signer.a_minute,
                self.gossip_a_signer.burst,
            )?,
        })
    }
}

impl Allowed {
    fn allowance(&self, of: &str) -> Outcome<Allowance> {
        let rate = |name: &str, a_minute, burst| rate(&format!("{of}.{name}"), a_minute, burst);
        let Self { calls, custody, uploads } = self;
        Ok(Allowance {
            calls: rate("calls", calls.a_minute, calls.burst)?,
            custody: rate("custody", custody.a_minute, custody.burst)?,
            uploads: rate("uploads", uploads.a_minute.0, uploads.burst.0)?,
        })
    }
}

fn rate(name: &str, a_minute: u64, burst: u64) -> Outcome<Rate> {
    if a_minute == 0 || burst == 0 {
        let what = format!("`limits.{name}` lets nobody ask anything");
        return Err(wrong(what, "both `a-minute` and `burst` are at least 1"));
    }
    Ok(Rate { a_minute, burst })
}
