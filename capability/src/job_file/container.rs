//! `[container]`: the image of a job, in its package or in a repository.

use super::JobFileError;
use super::image::{Image, ImageDigest, ImageSource};
use super::reader::{Field, Section};
use super::repository::Repository;
use super::spec::JobSpecError;
use crate::facts::Runtime;
use crate::requirements::Requirements;

const TABLE: &str = "[container] with image = \"image\" and digest = \"sha256:…\"";

const IMAGE: &str = "image = \"image\", an OCI layout in the package";

const DIGEST: &str = "digest = \"sha256:…\", that of its manifest; an image that is not in the package has it in its \
                      name: image = \"docker.io/library/debian@sha256:…\"";

/// Reads the image of a job for the runtime `container`. If that is not in the package, has `requirements` ask for a
/// machine that can get it.
pub(super) fn image(
    root: &mut Section<'_>,
    requirements: &mut Requirements,
) -> Result<Option<Image>, JobFileError> {
    if !requirements.runtimes.contains(&Runtime::Container) {
        let refused = |field: Field<'_>| {
            field.key_place().refuse("it is for jobs with \"container\" among their runtimes")
        };
        return root.take("container").map_or(Ok(None), |field| Err(refused(field)));
    }
    let mut section = root.require("container", TABLE)?.section(&["image", "digest"])?;
    let name = section.require("image", IMAGE)?;
    let place = name.place();
    let name = name.string()?;
    let image = match (section.take("digest"), name.split_once('@')) {
        (None, Some((repository, digest))) => {
            let image = named(repository, digest).map_err(|error| place.refuse(error))?;
            ask_for_engine(&image, requirements).map_err(|why| place.refuse(why))?;
            image
        }
        (digest, _) => {
            let digest = digest.map_or_else(|| section.require("digest", DIGEST), Ok)?;
            // A layout is a directory, which people like to end with a slash.
            let source = ImageSource::Package(name.trim_end_matches('/').to_owned());
            Image { source, digest: digest.parse(str::parse)? }
        }
    };
    image.validate().map_err(|error| place.refuse(error))?;
    Ok(Some(image))
}

fn named(repository: &str, digest: &str) -> Result<Image, JobSpecError> {
    let (repository, digest): (Repository, ImageDigest) = (repository.parse()?, digest.parse()?);
    Ok(Image { source: ImageSource::Repository(repository), digest })
}

fn ask_for_engine(image: &Image, requirements: &mut Requirements) -> Result<(), String> {
    if requirements.runtimes != [Runtime::Container] {
        let why = "only the container runtime gets images that are not in the package; write runtimes = [\"container\"]";
        return Err(why.to_owned());
    }
    let engine = image.required().filter(|engine| !requirements.clauses.contains(engine));
    requirements.clauses.extend(engine);
    requirements.validate().map_err(|error| error.to_string())
}
