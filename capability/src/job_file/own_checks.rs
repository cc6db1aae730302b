//! How a job file names what checks find: those of its own project by their names alone.

use crate::facts::{FactName, shortened};
use crate::statement::Verified;
use crate::statements::{CHECK_FAMILY, Check, PROJECT_CHARACTERS, Registration};
use crate::vocabulary::nearest;

/// The checks of the project that a job file is for, if it is known.
#[derive(Debug, Clone, Copy)]
pub(super) struct OwnChecks<'r>(pub Option<&'r Verified<Registration>>);

impl OwnChecks<'_> {
    /// The fact that a job file calls `name`.
    ///
    /// # Errors
    /// What is wrong with the name, for people. `check.NAME` is refused where no check of the
    /// project finds it, and left as it stands where the project is not known.
    pub(super) fn fact(self, name: &str) -> Result<FactName, String> {
        let parsed = name.parse::<FactName>().map_err(|error| error.to_string());
        let Some(check) = name.strip_prefix(CHECK_FAMILY) else { return parsed };
        match (check.split_once('.'), self.0) {
            (Some((project, check)), _) => self.of_project(project, check).and(parsed),
            (None, Some(registration)) => {
                own(registration, check).map(|found| found.fact(registration.signer().into()))
            }
            (None, None) => parsed,
        }
    }

    fn of_project(self, project: &str, check: &str) -> Result<(), String> {
        let key = |byte: u8| matches!(byte, b'a'..=b'z' | b'2'..=b'7');
        if project.len() != PROJECT_CHARACTERS || !project.bytes().all(key) {
            return Err(format!(
                "{:?} is not a project: write check.NAME for a check of your own, or the first \
                 {PROJECT_CHARACTERS} characters of the other project's key before its name",
                shortened(project)
            ));
        }
        match self.0 {
            Some(registration) if registration.signer().to_string().starts_with(project) => {
                own(registration, check).map(drop)
            }
            _ => Ok(()),
        }
    }
}

fn own<'r>(registration: &'r Registration, name: &str) -> Result<&'r Check, String> {
    let mut checks = registration.checks.iter();
    checks.find(|check| check.name == name).ok_or_else(|| {
        let names: Vec<_> = registration.checks.iter().map(|check| check.name.as_str()).collect();
        let name = shortened(name);
        let instead = match nearest(&name, names.iter().copied()) {
            _ if names.is_empty() => "it has none; see [[check]] in master.toml".to_owned(),
            Some(meant) => format!("did you mean {meant:?}?"),
            None => format!("there are {}", names.join(", ")),
        };
        format!("the project has no check {name:?}; {instead}")
    })
}
