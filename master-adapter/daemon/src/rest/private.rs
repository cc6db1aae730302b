//! Private jobs: the package is encrypted, and its key sealed to each volunteer that may run it. Their
//! encryption keys are in their ads, which the home broker has while they are connected; once the job is
//! offered, nobody need be.

use axum::http::StatusCode;
use capability::statements::{MAX_PACKAGE_BYTES, Package, Private};
use capability::{
    BlobHash, BlobKey, EncryptingWriter, EncryptionKey, HpkeSealer, KEY_BYTES, ProjectKey,
    PublicKey, encrypted_size,
};
use futures::future::try_join_all;
use mesh_shell::{Storage, chain};
use mesh_store::BlobError;

use super::{Api, Problem};
use crate::archive::blob_name;

impl Api {
    /// Encrypts `package` for `volunteers`; gives the encrypted one.
    pub(super) async fn make_private(
        &self,
        package: Package,
        volunteers: &[PublicKey],
    ) -> Result<(Package, Private), Problem> {
        if encrypted_size(package.size) > MAX_PACKAGE_BYTES {
            let message = "the package would be over 1 GiB when it is encrypted";
            return Err(Problem(StatusCode::UNPROCESSABLE_ENTITY, message.to_owned()));
        }
        let recipients = volunteers.iter().map(|volunteer| self.recipient(*volunteer));
        let recipients = try_join_all(recipients).await?;
        let project = ProjectKey::from(self.registration.signer());
        let storage = self.storage.clone();
        let made =
            tokio::task::spawn_blocking(move || encrypt(package, project, &recipients, &storage));
        made.await.map_err(|error| internal(&error))?
    }

    async fn recipient(&self, volunteer: PublicKey) -> Result<(PublicKey, EncryptionKey), Problem> {
        let (home, ad) = self.ad(volunteer).await?;
        // What is sealed to an ad of long ago could be opened by whoever has found its key since.
        let current = ad.filter(|ad| ad.current(self.clock.now().wall).is_ok());
        let ad = current.ok_or_else(|| {
            let message = format!(
                "the home broker {} knows no current ad of volunteer {volunteer}, and so nothing can be \
                 encrypted for it; submit the job while it is connected",
                home.short()
            );
            Problem(StatusCode::UNPROCESSABLE_ENTITY, message)
        })?;
        Ok((volunteer, ad.encryption))
    }
}

fn encrypt(
    package: Package,
    project: ProjectKey,
    recipients: &[(PublicKey, EncryptionKey)],
    storage: &Storage,
) -> Result<(Package, Private), Problem> {
    let key = BlobKey::from_bytes(random()?);
    let sealer = HpkeSealer::new(random()?);
    let mut plain = storage.blobs().read(&blob_name(package.hash))?;
    let file = storage.blobs().create(encrypted_size(package.size))?;
    let mut encrypting = EncryptingWriter::new(file, key, 0, package.size);
    let copied = std::io::copy(&mut plain, &mut encrypting).and_then(|_| encrypting.finish());
    let file = copied.map_err(|source| BlobError::Io {
        attempt: "encrypt the package into",
        path: "the store".into(),
        source,
    })?;
    let (hash, size) = file.finish(None)?;
    let encrypted = Package { hash: BlobHash::from_bytes(*hash.as_bytes()), size };
    let private = Private::new(project, &encrypted, key, package.size, recipients, &sealer);
    Ok((encrypted, private))
}

fn random() -> Result<[u8; KEY_BYTES], Problem> {
    let mut bytes = [0; KEY_BYTES];
    getrandom::fill(&mut bytes).map_err(|error| internal(&error))?;
    Ok(bytes)
}

fn internal(error: &dyn std::error::Error) -> Problem {
    Problem(StatusCode::INTERNAL_SERVER_ERROR, chain(error))
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::time::Duration;

    use capability::statements::Ad;
    use capability::{
        Capabilities, DecryptingReader, DecryptionKey, HpkeOpener, Payload, Platform, Resources,
        Runtimes, SecretKey, Signer, StatementId, Timestamp, Verified,
    };
    use master_core::NewJob;
    use mesh_core::{Answer, Ask};
    use mesh_shell::{Clock, Exit, Outcome};

    use super::super::Command;
    use super::super::tests::{Bench, JOB, ask, bench, file};
    use super::*;
    use crate::client::Client;
    use crate::model::{NewJobRequest, Submitted};

    const CONTENT: &[u8] = b"what nobody else may read";
    const HOME: PublicKey = PublicKey::from_bytes([9; 32]);

    fn node(seed: u8) -> SecretKey {
        SecretKey::from_seed(&[seed; 32])
    }

    fn decryption(seed: u8) -> DecryptionKey {
        DecryptionKey::from_seed(&[seed + 100; 32])
    }

    fn ad(seed: u8, expires: Timestamp) -> Verified<Ad> {
        let capabilities = Capabilities {
            platform: Platform::new("linux", "x86_64").expect("a platform"),
            resources: Resources { cores: 1, memory: 2 << 30, disk: 2 << 30 },
            runtimes: Runtimes::default(),
        };
        let encryption = decryption(seed).public();
        Verified::sign(Ad { seq: 1, broker: HOME, capabilities, encryption, expires }, &node(seed))
    }

    fn in_an_hour() -> Timestamp {
        Clock::new().now().wall + Duration::from_secs(3600)
    }

    /// Submits a job for `volunteers`, whose ads the home has as far as they are in `ads`.
    async fn submit(
        bench: &mut Bench,
        replicas: u16,
        volunteers: &[u8],
        ads: &[Verified<Ad>],
    ) -> (Outcome<Submitted>, Option<NewJob>) {
        let package = ask(bench, "secret", |client| client.upload(file(CONTENT))).await;
        let keys: Vec<_> = volunteers.iter().map(|it| node(*it).public().to_string()).collect();
        let job_file = format!("private = true\nvolunteers = {keys:?}\n{JOB}");
        let request = NewJobRequest { job_file, package: package.expect("stored"), replicas };
        let client = Client::at(&bench.address, "secret".into());
        let submission = tokio::task::spawn_blocking(move || client.submit(&request));
        tokio::pin!(submission);
        let mut taken = None;
        loop {
            tokio::select! {
                submitted = &mut submission => return (submitted.expect("no panic"), taken),
                command = bench.commands.recv() => match command.expect("the interface runs") {
                    Command::AskHome { ask: Ask::Ad { volunteer }, reply } => {
                        let known = ads.iter().filter(|ad| ad.signer() == volunteer).cloned();
                        let answer = Ok((HOME, Answer::Ads(known.collect())));
                        assert!(reply.send(answer).is_ok(), "somebody waits");
                    }
                    Command::Submit { job, reply } => {
                        taken = Some(job);
                        let offer = StatementId::from_bytes([7; 32]);
                        assert!(reply.send(Ok(offer)).is_ok(), "somebody waits");
                    }
                    other => panic!("{other:?}"),
                },
            }
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_package_of_a_private_job_is_encrypted_for_each_of_its_volunteers() {
        let mut bench = bench().await;
        let ads = [1, 2].map(|seed| ad(seed, in_an_hour()));
        let (submitted, job) = submit(&mut bench, 2, &[1, 2], &ads).await;
        submitted.expect("taken");
        let job = job.expect("submitted");
        assert_ne!(job.package.hash, BlobHash::of(CONTENT));
        let project = ProjectKey::from(node(1).public());
        let private = job.private.expect("it is private");
        let stored = || bench.storage.blobs().read(&blob_name(job.package.hash)).expect("stored");
        for seed in [1, 2] {
            let volunteer = node(seed).public();
            let sealed = private.sealed_for(project, &job.package, volunteer).expect("a recipient");
            let key = sealed.key(&HpkeOpener::new([decryption(seed)])).expect("opened");
            let mut content = Vec::new();
            let mut reader = DecryptingReader::new(stored(), key, 0, sealed.size);
            reader.read_to_end(&mut content).expect("decrypted");
            assert_eq!(content, CONTENT);
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_private_job_is_refused_while_the_ad_of_one_of_its_volunteers_is_not_known() {
        let mut bench = bench().await;
        let past = Timestamp(0) + Ad::MAX_LIFETIME;
        for ads in [vec![], vec![ad(2, past)], vec![ad(3, in_an_hour())]] {
            let ads: Vec<_> = ads.into_iter().chain([ad(1, in_an_hour())]).collect();
            let (submitted, job) = submit(&mut bench, 1, &[1, 2], &ads).await;
            let failure = submitted.map(drop).expect_err("refused");
            assert!(failure.to_string().contains("while it is connected"), "{failure}");
            assert!(failure.to_string().contains(&node(2).public().to_string()), "{failure}");
            assert_eq!((failure.exit(), job), (Exit::Input, None));
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_private_job_with_more_replicas_than_volunteers_is_refused_as_it_would_never_end() {
        let mut bench = bench().await;
        let (submitted, job) = submit(&mut bench, 2, &[1], &[ad(1, in_an_hour())]).await;
        let failure = submitted.map(drop).expect_err("refused");
        assert!(failure.to_string().contains("need as many volunteers"), "{failure}");
        assert_eq!((failure.exit(), job), (Exit::Input, None));
    }
}
