//! The work directory of a step, looked into name by name: nobody may change it meanwhile. The step is over and its
//! process, which was one, has ended.

use std::fs::{self, DirEntry, Metadata};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::{Listed, Opened};
use crate::beneath::open_beneath;

/// The directory.
pub struct Place(PathBuf);

impl Place {
    pub fn new(work: &Path) -> io::Result<Self> {
        Ok(Self(work.canonicalize()?))
    }

    /// A directory's content; nothing for one that the job has closed.
    pub fn list(
        &self,
        directory: &str,
    ) -> io::Result<Option<impl Iterator<Item = io::Result<Listed>> + use<>>> {
        match fs::read_dir(self.0.join(directory)) {
            Ok(entries) => Ok(Some(entries.map(|entry| listed(&entry?)))),
            Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The file at `path`, or what is wrong with what is there.
    pub fn open(&self, path: &str) -> io::Result<Result<Opened, &'static str>> {
        let file = match open_beneath(&self.0, Path::new(path)) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::InvalidInput => {
                return Ok(Err("it is a link, or no regular file"));
            }
            Err(error) => return Err(error),
        };
        let metadata = file.metadata()?;
        let (size, has_one_name) = (metadata.len(), has_one_name(&metadata));
        Ok(Ok(Opened { file, size, has_one_name }))
    }
}

fn listed(entry: &DirEntry) -> io::Result<Listed> {
    let name = entry.file_name();
    Ok(Listed {
        name: name.to_string_lossy().into_owned(),
        is_text: name.to_str().is_some(),
        // Of a link it is that of the link.
        is_directory: entry.file_type()?.is_dir(),
    })
}

#[cfg(unix)]
fn has_one_name(metadata: &Metadata) -> bool {
    std::os::unix::fs::MetadataExt::nlink(metadata) == 1
}

/// It is not told; and the engine lets a guest give names to files of its own alone.
#[cfg(not(unix))]
fn has_one_name(_: &Metadata) -> bool {
    true
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn honest_files_are_opened_and_nothing_else() {
        let (work, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let at = |name: &str| work.path().join(name);
        fs::create_dir(at("folder")).unwrap();
        fs::write(at("folder/one"), "12345").unwrap();
        fs::write(at("two"), "").unwrap();
        fs::hard_link(at("two"), at("another")).unwrap();
        fs::write(outside.path().join("secret"), "").unwrap();
        std::os::unix::fs::symlink(outside.path(), at("way")).unwrap();
        let place = Place::new(work.path()).unwrap();

        let listing = place.list("").unwrap().unwrap().map(Result::unwrap);
        let mut names: Vec<_> =
            listing.filter(|it| it.is_text).map(|it| (it.name, it.is_directory)).collect();
        names.sort();
        let names: Vec<_> = names.iter().map(|(name, is)| (name.as_str(), *is)).collect();
        assert_eq!(names, [("another", false), ("folder", true), ("two", false), ("way", false)]);

        let one = place.open("folder/one").unwrap().unwrap();
        assert_eq!((one.size, one.has_one_name), (5, true));
        assert_eq!(io::read_to_string(one.file).unwrap(), "12345");
        assert!(!place.open("two").unwrap().unwrap().has_one_name);
        for wrong in ["way", "folder", "way/secret"] {
            assert!(!matches!(place.open(wrong), Ok(Ok(_))), "{wrong}");
        }
    }
}
