//! From a kind that only shows at run time to the type of its payload.

use std::fmt::Debug;

use super::{
    Ad, BrokerCard, Claim, Delegation, Home, JobResult, Lease, List, Network, Offer, Ownership,
    Receipt, Registration, Renewal, Request, Revocation, Succession, Summary, Withdrawal,
};
use crate::statement::{Kind, Payload};

/// Something to do with statements of any kind.
pub trait OfKind {
    /// What comes of it.
    type Output;

    /// Does it with those whose payload is a `T`.
    fn of<T: Payload + Debug + PartialEq>(self) -> Self::Output;
}

impl Kind {
    /// Does `it` with statements of this kind.
    pub fn apply<I: OfKind>(self, it: I) -> I::Output {
        match self {
            Self::Ad => it.of::<Ad>(),
            Self::Summary => it.of::<Summary>(),
            Self::Registration => it.of::<Registration>(),
            Self::Delegation => it.of::<Delegation>(),
            Self::Home => it.of::<Home>(),
            Self::Offer => it.of::<Offer>(),
            Self::Withdrawal => it.of::<Withdrawal>(),
            Self::Claim => it.of::<Claim>(),
            Self::Lease => it.of::<Lease>(),
            Self::Renewal => it.of::<Renewal>(),
            Self::Result => it.of::<JobResult>(),
            Self::Receipt => it.of::<Receipt>(),
            Self::BrokerCard => it.of::<BrokerCard>(),
            Self::Revocation => it.of::<Revocation>(),
            Self::Succession => it.of::<Succession>(),
            Self::Ownership => it.of::<Ownership>(),
            Self::Request => it.of::<Request>(),
            Self::Network => it.of::<Network>(),
            Self::List => it.of::<List>(),
        }
    }
}
