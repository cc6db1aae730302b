//! What of the network the jobs of one project may be connected with.

use capability::{Denied, Destination};

use crate::trust::Decline;

/// What the owner permits one project, and denies to all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reach {
    /// What its jobs may list.
    pub permitted: Permitted,
    /// What no job may list, whatever else is permitted.
    pub denied: Vec<Denied>,
}

/// What the jobs of a project may list.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Permitted {
    /// They have no network.
    #[default]
    Nothing,
    /// These, and what lies below them.
    Listed(Vec<Destination>),
    /// Whatever they like.
    Anything,
}

impl Reach {
    /// Whether a job may be connected with all that it has `listed`.
    ///
    /// # Errors
    /// What of it stands against that; what is denied before what is not permitted.
    pub(crate) fn judge(&self, listed: &[Destination]) -> Result<(), Decline> {
        let those = |refused: &dyn Fn(&Destination) -> bool| -> Vec<_> {
            listed.iter().filter(|it| refused(it)).cloned().collect()
        };
        let denied = those(&|it| self.denied.iter().any(|denied| denied.meets(it)));
        if !denied.is_empty() {
            return Err(Decline::Denied(denied));
        }
        let beyond = those(&|it| !self.permitted.covers(it));
        if beyond.is_empty() { Ok(()) } else { Err(Decline::OutOfReach(beyond)) }
    }
}

impl Permitted {
    fn covers(&self, wanted: &Destination) -> bool {
        match self {
            Self::Nothing => false,
            Self::Listed(listed) => listed.iter().any(|it| it.covers(wanted)),
            Self::Anything => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reach(permitted: Permitted, denied: &[&str]) -> Reach {
        Reach {
            permitted,
            denied: denied.iter().map(|it| it.parse().expect("it can be read")).collect(),
        }
    }

    fn listed(destinations: &[&str]) -> Vec<Destination> {
        destinations.iter().map(|it| it.parse().expect("it can be read")).collect()
    }

    #[test]
    fn every_destination_must_be_permitted_and_none_denied() {
        let some = || Permitted::Listed(listed(&["deb.example:80", "*.crates.example"]));
        let wanted = listed(&["deb.example:80", "index.crates.example"]);
        assert_eq!(reach(some(), &[]).judge(&wanted), Ok(()));
        assert_eq!(reach(Permitted::Anything, &[]).judge(&wanted), Ok(()));
        assert_eq!(reach(Permitted::Nothing, &[]).judge(&[]), Ok(()));

        let no = |reach: Reach, wanted: &[&str]| {
            reach.judge(&listed(wanted)).expect_err("it is refused").to_string()
        };
        assert_eq!(
            no(reach(Permitted::Nothing, &[]), &["a.example", "b.example:1"]),
            "it reaches a.example:443, b.example:1, which its project may not here"
        );
        assert_eq!(
            no(reach(some(), &[]), &["deb.example:80", "deb.example", "crates.example"]),
            "it reaches deb.example:443, crates.example:443, which its project may not here"
        );
        assert_eq!(
            no(
                reach(Permitted::Anything, &["crates.example", "*.crates.example"]),
                &["*.example", "a.test"]
            ),
            "it reaches *.example:443, which you deny to all projects"
        );
    }
}
