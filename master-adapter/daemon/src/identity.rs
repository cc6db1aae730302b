//! A project on disk: its keys, its registration, and the delegation to this adapter.
//!
//! The project key signs two statements and is not needed again until the delegation is renewed; it
//! may be moved to a safe place. What stays is worth 90 days of harm at most.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use capability::statements::{Check, Delegation, Permissions, Registration};
use capability::{
    Ed25519, HpkeOpener, MAX_STATEMENT_BYTES, Payload, ProjectKey, Runtime, SecretKey, Signer,
    Timestamp, Verified,
};
use data_encoding::HEXLOWER;
use master_core::Authority;
use mesh_shell::{ApiToken, Exit, Failure, KeyChanges, OrExit, Outcome, key_file, write_whole};

/// How long the node key may speak for the project: a season, so that renewing is a habit.
pub const DELEGATION_LIFETIME: Duration = Duration::from_secs(90 * 24 * 60 * 60);

const REGISTRATION_LIFETIME: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// With what the names of the files of former encryption keys begin.
const FORMER_ENCRYPTION_KEY: &str = "encryption-former-";

/// Where the parts of an adapter's identity are.
#[derive(Debug, Clone)]
pub struct Identity {
    state: PathBuf,
}

/// What people say about their project.
#[derive(Debug, Clone)]
pub struct Description {
    /// Its name.
    pub name: String,
    /// Its homepage; may be empty.
    pub homepage: String,
    /// Words by which volunteers can choose.
    pub keywords: Vec<String>,
}

impl Identity {
    /// The identity in the directory `state`.
    pub fn in_state(state: &Path) -> Self {
        Self { state: state.to_path_buf() }
    }

    /// Makes keys, registration, delegation and token.
    pub fn create(
        &self,
        description: Description,
        checks: Vec<Check>,
        now: Timestamp,
    ) -> Outcome<ProjectKey> {
        if self.registration_file().exists() {
            let message = format!("there is a project in {} already", self.state.display());
            return Err(Failure::say(Exit::State, message)
                .hint("name another directory with --state, or see `talkoot-master uri`"));
        }
        let registration = Registration {
            name: description.name,
            homepage: description.homepage,
            keywords: description.keywords,
            permissions: Permissions {
                runtimes: vec![Runtime::Native, Runtime::Wasm],
                network: false,
            },
            checks,
            expires: now + REGISTRATION_LIFETIME,
        };
        registration.validate().or_exit(Exit::Usage)?;
        let project = key_file::load_or_create(&self.project_key_file())?;
        self.token()?;
        self.delegate_with(&project, registration, now)?;
        Ok(project.public().into())
    }

    /// Signs a new delegation, and the registration anew with these `checks`, by the project key.
    pub fn delegate(&self, checks: Vec<Check>, now: Timestamp) -> Outcome<Timestamp> {
        let registration = self.registration()?;
        let project = self.key_of(&registration)?;
        self.refuse_revoked(now)?;
        let registration = Registration { checks, ..(*registration).clone() };
        self.delegate_by(&project, &registration, now)
    }

    /// The project key, which must be the one that signed `registration`.
    pub fn key_of(&self, registration: &Verified<Registration>) -> Outcome<SecretKey> {
        let project = project_key(&self.project_key_file())?;
        if project.public() != registration.signer() {
            let message = "the project key is not the one that signed the registration";
            return Err(Failure::say(Exit::State, message));
        }
        Ok(project)
    }

    /// Signs, by the key `project`, a delegation, and `registration` for another year.
    pub fn delegate_by(
        &self,
        project: &SecretKey,
        registration: &Registration,
        now: Timestamp,
    ) -> Outcome<Timestamp> {
        let expires = now + REGISTRATION_LIFETIME;
        let renewed = Registration { expires, ..registration.clone() };
        renewed.validate().or_exit(Exit::Input)?;
        self.delegate_with(project, renewed, now)
    }

    fn delegate_with(
        &self,
        project: &SecretKey,
        registration: Registration,
        now: Timestamp,
    ) -> Outcome<Timestamp> {
        let node = key_file::load_or_create(&self.node_key_file())?.public();
        let encryption = key_file::load_or_create_encryption(&self.encryption_key_file())?.public();
        let expires = now + DELEGATION_LIFETIME;
        let delegation = Verified::sign(Delegation { node, encryption, expires }, project);
        let registration = Verified::sign(registration, project);
        write_whole(&self.delegation_file(), delegation.envelope().as_bytes(), 0o644)?;
        // Last, because it is what says that there is a project here.
        write_whole(&self.registration_file(), registration.envelope().as_bytes(), 0o644)?;
        Ok(expires)
    }

    /// The adapter's node key.
    pub fn node_key(&self) -> Outcome<Arc<SecretKey>> {
        Ok(Arc::new(key_file::load(&self.node_key_file())?))
    }

    /// What opens reports: the encryption key, which must be the one that the delegation names, and
    /// those before it. Volunteers seal to these as long as former offers hold; the archive needs them
    /// for good.
    pub fn opener(&self) -> Outcome<HpkeOpener> {
        let current = key_file::load_encryption(&self.encryption_key_file())?;
        if current.public() != self.delegation()?.encryption {
            let message = "the encryption key is not the one that the delegation names";
            return Err(Failure::say(Exit::State, message)
                .hint("bring encryption.key back from a copy, or run `talkoot-master delegate`"));
        }
        let former = self.former_encryption_keys()?.into_iter();
        let former = former.map(|path| Ok(key_file::load_encryption(&path)?));
        let former = former.collect::<Outcome<Vec<_>>>()?;
        Ok(HpkeOpener::new(former.into_iter().chain([current])))
    }

    /// Has the next delegation name a new encryption key. The former one stays, to open what was sealed
    /// to it.
    pub fn retire_encryption_key(&self) -> Outcome {
        let path = self.encryption_key_file();
        if !path.exists() {
            return Ok(());
        }
        let public = key_file::load_encryption(&path)?.public();
        let name = HEXLOWER.encode(&public.as_bytes()[..8]);
        let kept = self.state.join(format!("{FORMER_ENCRYPTION_KEY}{name}.key"));
        fs::rename(&path, &kept)
            .with_context(|| format!("cannot rename {} to {}", path.display(), kept.display()))
            .or_exit(Exit::State)
    }

    fn former_encryption_keys(&self) -> Outcome<Vec<PathBuf>> {
        let shown = || format!("cannot look into {}", self.state.display());
        let entries = fs::read_dir(&self.state).with_context(shown).or_exit(Exit::State)?;
        let paths = entries.map(|entry| Ok(entry.with_context(shown).or_exit(Exit::State)?.path()));
        let mut paths = paths.collect::<Outcome<Vec<_>>>()?;
        paths.retain(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with(FORMER_ENCRYPTION_KEY) && name.ends_with(".key")
        });
        Ok(paths)
    }

    /// What brokers are to be told about keys.
    pub fn key_changes(&self) -> KeyChanges {
        KeyChanges::in_state(&self.state)
    }

    /// In whose name `node` speaks. The registration must have these `checks`: volunteers run what
    /// is signed, whatever the configuration says.
    pub fn authority(&self, node: Arc<SecretKey>, checks: &[Check]) -> Outcome<Authority> {
        let registration = self.registration()?;
        if registration.checks != checks {
            let message = "the checks of the configuration are not those of the registration";
            return Err(
                Failure::say(Exit::Input, message).hint("sign them with `talkoot-master delegate`")
            );
        }
        let delegation = self.delegation()?;
        Authority::new(node, registration, delegation).ok_or_else(|| {
            Failure::say(Exit::State, "the delegation is not this project's to this node key")
                .hint("run `talkoot-master delegate`")
        })
    }

    /// The project's key.
    pub fn project(&self) -> Outcome<ProjectKey> {
        Ok(self.registration()?.signer().into())
    }

    /// Who the project is.
    pub fn registration(&self) -> Outcome<Verified<Registration>> {
        self.statement(&self.registration_file())
    }

    /// What lets the node key speak.
    pub fn delegation(&self) -> Outcome<Verified<Delegation>> {
        self.statement(&self.delegation_file())
    }

    /// The state directory.
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// The secret that programs on this machine show to the adapter; made if there is none.
    pub fn token(&self) -> Outcome<ApiToken> {
        ApiToken::load_or_create(&self.state)
    }

    /// Leaves word where the running adapter can be found, and at which brokers it can be met.
    pub fn announce(&self, http: &str, brokers: &[String]) -> Outcome {
        write_whole(&self.http_file(), http.as_bytes(), 0o644)?;
        write_whole(&self.brokers_file(), brokers.join("\n").as_bytes(), 0o644)
    }

    /// Where the adapter that ran last was to be found.
    pub fn http(&self) -> Option<String> {
        let bytes = read(&self.http_file(), 256).ok()?;
        String::from_utf8(bytes).ok()
    }

    /// The brokers of the adapter that ran last.
    pub fn brokers(&self) -> Vec<String> {
        let bytes = read(&self.brokers_file(), 64 << 10).unwrap_or_default();
        String::from_utf8_lossy(&bytes).lines().map(str::to_owned).collect()
    }

    fn statement<T: Payload>(&self, path: &Path) -> Outcome<Verified<T>> {
        let shown = self.state.display();
        let there = self.registration_file().try_exists();
        let there = there.with_context(|| format!("cannot look into {shown}"));
        if !there.or_exit(Exit::State)? {
            let message = format!("there is no project in {shown}");
            return Err(Failure::say(Exit::Input, message)
                .hint("make one with `talkoot-master init --name NAME`, or name another --state"));
        }
        let bytes = read(path, MAX_STATEMENT_BYTES)?;
        Verified::parse(&bytes, &Ed25519)
            .with_context(|| format!("cannot use {}", path.display()))
            .or_exit(Exit::State)
    }

    /// The project's secret key.
    pub fn project_key_file(&self) -> PathBuf {
        self.state.join("project.key")
    }

    /// The adapter's secret key.
    pub fn node_key_file(&self) -> PathBuf {
        self.state.join("node.key")
    }

    fn encryption_key_file(&self) -> PathBuf {
        self.state.join("encryption.key")
    }

    fn registration_file(&self) -> PathBuf {
        self.state.join("registration.statement")
    }

    fn delegation_file(&self) -> PathBuf {
        self.state.join("delegation.statement")
    }

    fn http_file(&self) -> PathBuf {
        self.state.join("http-address")
    }

    fn brokers_file(&self) -> PathBuf {
        self.state.join("brokers")
    }
}

/// The project's secret key in the file `path`.
pub fn project_key(path: &Path) -> Outcome<SecretKey> {
    let key = key_file::load(path).map_err(Failure::from);
    key.map_err(|failure| failure.hint("bring the project key back for as long as this takes"))
}

fn read(path: &Path, limit: usize) -> Outcome<Vec<u8>> {
    let shown = || format!("cannot read {}", path.display());
    let size = fs::metadata(path).with_context(shown).or_exit(Exit::State)?.len();
    if size > limit as u64 {
        let message = format!("{} has {size} bytes, at most {limit} belong there", path.display());
        return Err(Failure::say(Exit::State, message));
    }
    fs::read(path).with_context(shown).or_exit(Exit::State)
}

#[cfg(test)]
mod tests {

    use capability::{HpkeSealer, Opener, Purpose, Sealer};

    use super::*;

    const NOW: Timestamp = Timestamp(1_800_000_000_000);

    fn description() -> Description {
        Description { name: "example".into(), homepage: String::new(), keywords: Vec::new() }
    }

    #[test]
    fn a_project_is_made_once_and_runs_without_its_key() {
        let state = tempfile::tempdir().expect("made");
        let identity = Identity::in_state(state.path());
        let project = identity.create(description(), Vec::new(), NOW).expect("made");
        let again = identity.create(description(), Vec::new(), NOW).expect_err("it is there");
        assert_eq!(again.exit(), Exit::State);

        fs::rename(identity.project_key_file(), state.path().join("safe")).expect("moved away");
        let authority =
            identity.authority(identity.node_key().expect("a key"), &[]).expect("sound");
        assert_eq!(authority.project(), project);
        assert_eq!(identity.delegate(Vec::new(), NOW).expect_err("no key").exit(), Exit::State);

        fs::rename(state.path().join("safe"), identity.project_key_file()).expect("brought back");
        let later = NOW + Duration::from_secs(60);
        assert_eq!(
            identity.delegate(Vec::new(), later).expect("renewed"),
            later + DELEGATION_LIFETIME
        );
    }

    #[test]
    fn checks_hold_once_they_are_signed() {
        let state = tempfile::tempdir().expect("made");
        let identity = Identity::in_state(state.path());
        identity.create(description(), Vec::new(), NOW).expect("made");
        let check = |name: &str| Check {
            name: name.into(),
            runtime: Runtime::Native,
            command: vec!["true".into()],
            depends: Vec::new(),
        };
        let node = || identity.node_key().expect("a key");
        let unsigned = identity.authority(node(), &[check("simd")]).expect_err("not signed");
        assert_eq!(unsigned.exit(), Exit::Input);

        let unsound = identity.delegate(vec![check("Two Words")], NOW).expect_err("no word");
        assert_eq!(unsound.exit(), Exit::Input);
        identity.delegate(vec![check("simd")], NOW).expect("signed");
        assert!(identity.authority(node(), &[check("simd")]).is_ok());

        // Keys are rotated where the configuration may not be.
        identity.rotate(String::new(), NOW).expect("rotated");
        assert!(identity.authority(node(), &[check("simd")]).is_ok());
        identity.pass_on(NOW).expect("passed on");
        assert!(identity.authority(node(), &[check("simd")]).is_ok());
    }

    #[test]
    fn what_was_sealed_to_a_former_key_can_be_opened_after_the_rotation() {
        let state = tempfile::tempdir().expect("made");
        let identity = Identity::in_state(state.path());
        identity.create(description(), Vec::new(), NOW).expect("made");
        let sealer = HpkeSealer::new([7; 32]);
        let seal = || {
            let to = identity.delegation().expect("signed").encryption;
            sealer.seal(Purpose::Report, to, b"a report", b"")
        };
        let mut sealed = vec![seal()];
        for _ in 0..2 {
            identity.rotate(String::new(), NOW).expect("rotated");
            sealed.push(seal());
        }
        assert!(sealed[0].to != sealed[1].to && sealed[1].to != sealed[2].to);
        let opener = identity.opener().expect("its keys");
        for sealed in &sealed {
            let opened = opener.open(Purpose::Report, sealed, b"");
            assert_eq!(opened.as_deref(), Ok(&b"a report"[..]));
        }
    }

    #[test]
    fn an_encryption_key_that_is_not_the_delegations_is_refused_until_it_is_delegated() {
        let state = tempfile::tempdir().expect("made");
        let identity = Identity::in_state(state.path());
        identity.create(description(), Vec::new(), NOW).expect("made");
        fs::remove_file(identity.encryption_key_file()).expect("lost");
        assert_eq!(identity.opener().map(drop).expect_err("none").exit(), Exit::State);
        key_file::load_or_create_encryption(&identity.encryption_key_file()).expect("made");
        let failure = identity.opener().map(drop).expect_err("another");
        assert!(failure.to_string().contains("talkoot-master delegate"), "{failure}");
        identity.delegate(Vec::new(), NOW).expect("signed");
        identity.opener().expect("it is the delegation's now");
    }

    #[test]
    fn a_description_that_breaks_a_rule_is_a_usage_error() {
        let state = tempfile::tempdir().expect("made");
        let identity = Identity::in_state(state.path());
        let nameless = Description { name: String::new(), ..description() };
        assert_eq!(
            identity.create(nameless, Vec::new(), NOW).expect_err("refused").exit(),
            Exit::Usage
        );
        let message = identity.project().expect_err("nothing there").to_string();
        assert!(message.contains("talkoot-master init"), "{message}");
    }
}
