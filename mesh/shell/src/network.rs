//! The list of brokers that a network's founder publishes: found in files and told by brokers.

use std::path::{Path, PathBuf};

use capability::statements::{ListedBroker, Network};
use capability::{PublicKey, Timestamp, Verified};
use mesh_net::{Multiaddr, can_dial};

use crate::exit::{Exit, Failure, Outcome};
use crate::link::peer_key;
use crate::signed_list::{Followed, SignedList};

/// Files of one network at most.
const MAX_FILES: usize = 8;

/// Whose network it is, and where its list may be found beside brokers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkSettings {
    founder: PublicKey,
    files: Vec<PathBuf>,
}

impl NetworkSettings {
    /// The settings `network` and `network-list` of a configuration. `None` if there is no network.
    ///
    /// # Errors
    /// If the first is no key, or there is a list without it, or there are over 8 files.
    pub fn parse(founder: Option<&str>, files: Vec<PathBuf>) -> Outcome<Option<Self>> {
        let wrong = |what: String, hint| Err(Failure::say(Exit::Input, what).hint(hint));
        let Some(founder) = founder else {
            return match files.first() {
                None => Ok(None),
                Some(file) => wrong(
                    format!("`network-list` names {}, and `network` is not set", file.display()),
                    "`network` is the key of the founder, who signed the list",
                ),
            };
        };
        if files.len() > MAX_FILES {
            let what =
                format!("`network-list` names {} files, and {MAX_FILES} is most", files.len());
            return wrong(what, "one is enough: who finds any list finds the newest from there");
        }
        match founder.parse() {
            Ok(founder) => Ok(Some(Self { founder, files })),
            Err(error) => wrong(
                format!("`network` is no key: {error}"),
                "it is what `talkoot-broker network init` has printed",
            ),
        }
    }
}

/// The newest list of a network that was found, and the search for a newer one.
pub type NetworkList = SignedList<Network>;

impl NetworkList {
    /// What an earlier run has left in the state directory `state`, and what is in the files now.
    pub fn open(settings: NetworkSettings, state: &Path, now: Timestamp) -> Self {
        let NetworkSettings { founder, files } = settings;
        Self::follow(founder, files, state.join("network.statement"), now)
    }

    /// Whose lists these are.
    pub fn founder(&self) -> PublicKey {
        self.listing().signer()
    }

    /// Takes what the broker `from` has told; says whether it is news.
    pub fn hear(&mut self, list: Verified<Network>, from: PublicKey, now: Timestamp) -> bool {
        self.take(list, from.short().as_ref(), now)
    }

    /// Where the list's brokers can be dialled, in an order of the node `me`'s own; each address ends
    /// with the key that must be there (S97).
    pub fn addresses(&self, me: PublicKey, now: Timestamp) -> Vec<(PublicKey, Multiaddr)> {
        let brokers = self.listing().brokers(me, now).into_iter();
        let addresses = brokers.flat_map(|broker| {
            addresses_of(broker).into_iter().map(|address| (broker.key, address))
        });
        addresses.filter(|(_, address)| can_dial(address)).collect()
    }
}

/// What a list is, in one line for people.
pub fn describe_network(list: &Verified<Network>) -> String {
    Network::describe(list)
}

/// The addresses of `broker` with its peer id at their ends. One that names somebody else is passed
/// over.
fn addresses_of(broker: &ListedBroker) -> Vec<Multiaddr> {
    let Some(id) = peer_key(broker.key).peer_id_text() else { return Vec::new() };
    let complete = |address: &String| match address.split_once("/p2p/") {
        None => format!("{address}/p2p/{id}").parse().ok(),
        Some((_, named)) if named == id => address.parse().ok(),
        Some(_) => None,
    };
    broker.addresses.iter().filter_map(complete).collect()
}

#[cfg(test)]
mod tests {
    use capability::{SecretKey, Signer};

    use super::*;
    use crate::statement_file::statement_text;

    const NOW: Timestamp = Timestamp(1_800_000_000_000);

    fn key(n: u8) -> SecretKey {
        SecretKey::from_seed(&[n; 32])
    }

    fn list(founder: u8, seq: u64, broker: u8, addresses: &[&str]) -> Verified<Network> {
        let addresses = addresses.iter().map(|it| (*it).to_owned()).collect();
        let brokers = vec![ListedBroker { key: key(broker).public(), addresses }];
        let expires = Timestamp(NOW.0 + 1_000);
        Verified::sign(Network { name: "test".into(), seq, brokers, expires }, &key(founder))
    }

    fn write(file: &Path, list: &Verified<Network>) {
        std::fs::write(file, statement_text("a list", list.envelope())).expect("written");
        // The clock of files is coarse.
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(list.seq);
        let written = std::fs::File::options().write(true).open(file).expect("there");
        written.set_modified(time).expect("set");
    }

    fn open(file: &Path, state: &Path) -> NetworkList {
        let founder = key(1).public().to_string();
        let files = vec![file.to_path_buf()];
        let settings = NetworkSettings::parse(Some(&founder), files).expect("sound");
        NetworkList::open(settings.expect("a network"), state, NOW)
    }

    fn seq(list: &NetworkList) -> Option<u64> {
        list.listing().current(NOW).map(|list| list.seq)
    }

    #[test]
    fn the_newest_list_of_files_and_brokers_is_kept_over_restarts() {
        let place = tempfile::tempdir().expect("a directory");
        let (file, state) = (place.path().join("list"), place.path().join("state"));
        write(&file, &list(1, 1, 2, &["/ip4/192.0.2.1/tcp/1"]));
        let mut found = open(&file, &state);
        assert_eq!(seq(&found), Some(1));
        assert!(found.hear(list(1, 3, 2, &["/ip4/192.0.2.3/tcp/1"]), key(7).public(), NOW));
        assert!(!found.hear(list(4, 9, 2, &["/ip4/192.0.2.9/tcp/1"]), key(7).public(), NOW));
        write(&file, &list(1, 2, 2, &["/ip4/192.0.2.2/tcp/1"]));
        assert!(!found.look(NOW), "an earlier one");
        assert_eq!(seq(&found), Some(3));
        assert_eq!(seq(&open(&file, &state)), Some(3), "it is kept");
        write(&file, &list(1, 4, 2, &["/ip4/192.0.2.4/tcp/1"]));
        assert!(found.look(NOW) && !found.look(NOW));
        assert_eq!(seq(&found), Some(4));
    }

    #[test]
    fn an_address_ends_with_the_key_that_must_be_there() {
        let place = tempfile::tempdir().expect("a directory");
        let (file, state) = (place.path().join("list"), place.path().join("state"));
        let id = |n| peer_key(key(n).public()).peer_id_text().expect("a key");
        let of_another = format!("/ip4/192.0.2.2/tcp/1/p2p/{}", id(3));
        let named = format!("/ip4/192.0.2.3/tcp/1/p2p/{}", id(2));
        write(&file, &list(1, 1, 2, &["/ip4/192.0.2.1/tcp/1", &of_another, &named, "?"]));
        let addresses = open(&file, &state).addresses(key(9).public(), NOW);
        let expected = [format!("/ip4/192.0.2.1/tcp/1/p2p/{}", id(2)), named];
        let found: Vec<_> = addresses.iter().map(|(_, address)| address.to_string()).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn what_is_no_network_is_named() {
        let parse = |founder, files: &[&str]| {
            let files = files.iter().map(PathBuf::from).collect();
            NetworkSettings::parse(founder, files).map_err(|failure| failure.to_string())
        };
        assert_eq!(parse(None, &[]), Ok(None));
        assert!(parse(None, &["list"]).expect_err("no founder").contains("`network` is not set"));
        assert!(parse(Some("x"), &[]).expect_err("no key").contains("`network` is no key"));
        let key = key(1).public().to_string();
        assert!(parse(Some(&key), &["x"; 9]).expect_err("too many").contains("9 files"));
    }
}
