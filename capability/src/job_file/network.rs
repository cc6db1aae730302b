//! `network`: what a job's connections may lead to.

use super::JobFileError;
use super::reader::Section;
use super::spec::check_destinations;
use crate::destination::Destination;
use crate::facts::Runtime;
use crate::requirements::Requirements;

/// Reads the destinations of a job, and has `requirements` ask for a machine that can connect it with them.
pub(super) fn destinations(
    root: &mut Section<'_>,
    requirements: &mut Requirements,
) -> Result<Vec<Destination>, JobFileError> {
    let Some(field) = root.take("network") else { return Ok(Vec::new()) };
    let place = field.place();
    let elements = field.elements()?.into_iter();
    let destinations = elements.map(|element| element.parse(str::parse::<Destination>));
    let destinations: Vec<_> = destinations.collect::<Result<_, _>>()?;
    check_destinations(&destinations).map_err(|error| place.refuse(error))?;
    if destinations.is_empty() {
        return Ok(destinations);
    }
    if requirements.runtimes != [Runtime::Native] {
        return Err(
            place.refuse("only the native runtime has a network; write runtimes = [\"native\"]")
        );
    }
    let proxy = Destination::required();
    if !requirements.clauses.contains(&proxy) {
        requirements.clauses.push(proxy);
    }
    requirements.validate().map_err(|error| place.refuse(error))?;
    Ok(destinations)
}
