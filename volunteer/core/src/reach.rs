//! What the jobs of one project may have that does not come with them: connections, and images of repositories.

use capability::{Denied, Destination, Image, ImageSource, JobSpec, Repositories};

use crate::trust::Decline;

/// What the owner permits one project, and denies to all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reach {
    /// What its jobs may list.
    pub permitted: Permitted,
    /// What no job may list, whatever else is permitted.
    pub denied: Vec<Denied>,
    /// Of where images of any project may be that do not come with their packages.
    pub repositories: Vec<Repositories>,
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
    /// Whether a job may have all that it asks for.
    ///
    /// # Errors
    /// What of it stands against that.
    pub(crate) fn judge(&self, job: &JobSpec) -> Result<(), Decline> {
        self.judge_connections(&job.network)?;
        job.image.as_ref().map_or(Ok(()), |image| self.judge_image(image))
    }

    fn judge_image(&self, image: &Image) -> Result<(), Decline> {
        match &image.source {
            ImageSource::Repository(repository)
                if !self.repositories.iter().any(|it| it.cover(repository)) =>
            {
                Err(Decline::Repository(repository.clone()))
            }
            ImageSource::Repository(_) | ImageSource::Package(_) => Ok(()),
        }
    }

    /// Whether a job may be connected with all that it has `listed`; what is denied stands before what is not permitted.
    fn judge_connections(&self, listed: &[Destination]) -> Result<(), Decline> {
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
            repositories: Vec::new(),
        }
    }

    fn listed(destinations: &[&str]) -> Vec<Destination> {
        destinations.iter().map(|it| it.parse().expect("it can be read")).collect()
    }

    #[test]
    fn every_destination_must_be_permitted_and_none_denied() {
        let some = || Permitted::Listed(listed(&["deb.example:80", "*.crates.example"]));
        let wanted = listed(&["deb.example:80", "index.crates.example"]);
        assert_eq!(reach(some(), &[]).judge_connections(&wanted), Ok(()));
        assert_eq!(reach(Permitted::Anything, &[]).judge_connections(&wanted), Ok(()));
        assert_eq!(reach(Permitted::Nothing, &[]).judge_connections(&[]), Ok(()));

        let no = |reach: Reach, wanted: &[&str]| {
            reach.judge_connections(&listed(wanted)).expect_err("it is refused").to_string()
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
