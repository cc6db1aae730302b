//! The lists of projects that the owner pinned: followed in their files, kept in the state directory.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use capability::statements::List;
use capability::{ProjectKey, PublicKey, Timestamp};
use mesh_net::Multiaddr;
use mesh_shell::SignedList;
use volunteer_core::{Pin, PinnedList, all_pins};

use crate::pins::{Entry, ListEntry, Pins};

/// The lists, and the newest statement of each.
#[derive(Debug, Default)]
pub struct Lists {
    followed: Vec<(ListEntry, SignedList<List>)>,
}

impl Lists {
    /// Those that `pins` name, as they were kept and as their files are now.
    pub fn follow(pins: &Pins, state: &Path, now: Timestamp) -> Self {
        Self::open(pins, state, now, |entry| vec![entry.file.clone()])
    }

    /// The same as they were kept, for who follows none.
    pub fn kept(pins: &Pins, state: &Path, now: Timestamp) -> Self {
        Self::open(pins, state, now, |_| Vec::new())
    }

    fn open(
        pins: &Pins,
        state: &Path,
        now: Timestamp,
        files: impl Fn(&ListEntry) -> Vec<PathBuf>,
    ) -> Self {
        let follow = |entry: &ListEntry| {
            let kept = kept_file(state, entry.key);
            (entry.clone(), SignedList::follow(entry.key, files(entry), kept, now))
        };
        Self { followed: pins.lists.iter().map(follow).collect() }
    }

    /// Reads the files that have changed; says whether there was news in them.
    pub fn look(&mut self, now: Timestamp) -> bool {
        // Each of them is looked at.
        self.followed.iter_mut().fold(false, |news, (_, list)| list.look(now) || news)
    }

    /// The pins of all that are trusted, by `pins` and by lists: of a project that several lists name by each, the one
    /// that holds longest first.
    pub fn all_pins(&self, pins: &Pins) -> Vec<Pin> {
        let own = pins.projects.iter().map(Entry::for_core).collect();
        let lists: Vec<_> = self.pinned().map(|(_, list)| list).collect();
        all_pins(own, &lists, &pins.removed.iter().copied().collect())
    }

    /// Each list of which there is one, as the core wants it.
    pub fn pinned(&self) -> impl Iterator<Item = (&ListEntry, PinnedList)> {
        self.followed.iter().filter_map(|(entry, list)| {
            let list = list.listing().newest()?.clone();
            let keywords = entry.keywords.iter().map(|word| word.to_lowercase()).collect();
            let terms = entry.allowed.for_core(Pin::of(entry.key.into()));
            Some((entry, PinnedList { list, keywords, terms }))
        })
    }

    /// The projects that are outside of their hours now. Of several lists that name a project that of `trusted_by`
    /// counts, or else the one that holds longest.
    pub fn off_hours(
        &self,
        pins: &Pins,
        trusted_by: impl Fn(&ProjectKey) -> Option<PublicKey>,
    ) -> BTreeSet<ProjectKey> {
        let own = pins.projects.iter().filter(|entry| entry.allowed.is_off_hours());
        let mut off: BTreeSet<_> = own.map(|entry| entry.key).collect();
        let lists = self.followed.iter().filter(|(entry, _)| entry.allowed.is_off_hours());
        let curators: BTreeSet<_> = lists.map(|(entry, _)| entry.key).collect();
        if !curators.is_empty() {
            let all = self.all_pins(pins);
            for rivals in all.chunk_by(|one, next| one.project == next.project) {
                let project = rivals[0].project;
                let vouching = rivals.iter().filter_map(|pin| Some(pin.voucher.as_ref()?.curator));
                let vouching: Vec<_> = vouching.collect();
                let counts = trusted_by(&project).filter(|curator| vouching.contains(curator));
                let counts = counts.or(vouching.first().copied());
                off.extend(counts.filter(|it| curators.contains(it)).map(|_| project));
            }
        }
        off
    }

    /// The brokers of all projects, those of the owner's own pins first.
    pub fn brokers(&self, pins: &Pins) -> Vec<Multiaddr> {
        let own = pins.projects.iter().flat_map(|entry| entry.brokers.clone());
        let is_trusted = |project: &ProjectKey| !pins.removed.contains(project);
        let listed = self.pinned().flat_map(|(_, list)| {
            let projects = list.wanted().filter(|it| is_trusted(&it.key));
            projects.flat_map(|it| it.brokers.clone()).collect::<Vec<_>>()
        });
        own.chain(listed).filter_map(|address| address.parse().ok()).collect()
    }
}

/// Where the newest list of `curator` is kept.
pub fn kept_file(state: &Path, curator: PublicKey) -> PathBuf {
    state.join("lists").join(format!("{curator}.statement"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use capability::statements::ListedProject;
    use capability::{SecretKey, Signer, Verified};
    use mesh_shell::statement_text;

    use super::*;

    const NOW: Timestamp = Timestamp(1_800_000_000_000);

    fn key(n: u8) -> SecretKey {
        SecretKey::from_seed(&[n; 32])
    }

    fn publish(file: &Path, seq: u64, projects: &[u8]) {
        let listed = |n: &u8| ListedProject {
            key: key(*n).public().into(),
            name: format!("project {n}"),
            brokers: vec![format!("/ip4/192.0.2.{n}/tcp/4077")],
            keywords: Vec::new(),
        };
        let projects = projects.iter().map(listed).collect();
        let list = List { name: "test".into(), seq, projects, expires: Timestamp(NOW.0 + 1000) };
        let list = Verified::sign(list, &key(1));
        std::fs::write(file, statement_text("a list", list.envelope())).expect("written");
        // The clock of files is coarse.
        let time = std::time::UNIX_EPOCH + Duration::from_secs(seq);
        let written = std::fs::File::options().write(true).open(file).expect("there");
        written.set_modified(time).expect("set");
    }

    fn names(lists: &Lists, pins: &Pins) -> Vec<String> {
        let mut names: Vec<_> = lists.all_pins(pins).into_iter().map(|pin| pin.name).collect();
        names.sort();
        names
    }

    #[test]
    fn the_newest_list_of_a_file_counts_over_restarts_and_no_earlier_one_comes_back() {
        let place = tempfile::tempdir().expect("a directory");
        let (file, state) = (place.path().join("list"), place.path().join("state"));
        publish(&file, 5, &[2, 3]);
        let mut pins = Pins::default();
        pins.lists.push(ListEntry::new(key(1).public(), file.clone()));

        let mut lists = Lists::follow(&pins, &state, NOW);
        assert_eq!(names(&lists, &pins), ["project 2", "project 3"]);
        publish(&file, 6, &[3, 4]);
        assert!(lists.look(NOW) && !lists.look(NOW));
        assert_eq!(names(&lists, &pins), ["project 3", "project 4"]);
        publish(&file, 5, &[2, 3]);
        assert!(!lists.look(NOW), "an earlier one");

        let mut lists = Lists::follow(&pins, &state, NOW);
        assert!(!lists.look(NOW));
        assert_eq!(names(&lists, &pins), ["project 3", "project 4"], "it is kept");
        pins.removed = vec![key(3).public().into()];
        assert_eq!(names(&lists, &pins), ["project 4"]);
        let brokers: Vec<_> = lists.brokers(&pins).iter().map(ToString::to_string).collect();
        assert_eq!(brokers, ["/ip4/192.0.2.4/tcp/4077"]);
    }
}
