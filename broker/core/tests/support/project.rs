//! A project, and what its master says.

use std::collections::BTreeMap;

use capability::statements::{
    Credit, Delegation, Home, JobResult, Offer, Package, Permissions, Private, Receipt, Recipient,
    Registration, USUAL_PRIORITY, Verdict, Withdrawal,
};
use capability::{
    BlobHash, Clause, Encapsulated, JobSpec, Limits, ProjectKey, PublicKey, Requirements, Resource,
    Runtime, Sealed, Step, Verified, encrypted_size,
};
use mesh_core::{Ask, Bundle, Cargo, Now, Published};

use super::DAY;
use super::keys::{Key, key};
use super::volunteer::encryption;

/// A project with a master's adapter.
#[derive(Clone, Copy)]
pub struct Project {
    pub project: Key,
    pub master: Key,
}

/// The key numbers of a project lie away from those of brokers and volunteers.
pub fn project(n: u8) -> Project {
    Project { project: key(100 + n), master: key(200 + n) }
}

impl Project {
    pub fn name(self) -> ProjectKey {
        self.project.0.into()
    }

    fn delegation(self, now: Now) -> capability::Envelope {
        let delegation = Delegation {
            node: self.master.0,
            encryption: encryption(),
            expires: now.wall + 100 * DAY,
        };
        Verified::sign(delegation, &self.project).envelope().clone()
    }

    pub fn registration(self, now: Now) -> Verified<Registration> {
        let registration = Registration {
            name: "a project".to_owned(),
            homepage: String::new(),
            keywords: Vec::new(),
            permissions: Permissions::default(),
            checks: Vec::new(),
            expires: now.wall + 100 * DAY,
        };
        Verified::sign(registration, &self.project)
    }

    pub fn home(self, epoch: u64, home: Key, standbys: &[Key], now: Now) -> Verified<Home> {
        let home = Home {
            project: self.name(),
            epoch,
            home: home.0,
            standbys: standbys.iter().map(|it| it.0).collect(),
            delegation: self.delegation(now),
            expires: now.wall + 90 * DAY,
        };
        Verified::sign(home, &self.master)
    }

    pub fn offer(self, tasks: u32, replicas: u16, now: Now) -> Verified<Offer> {
        let clauses = vec![Clause::Donates { resource: Resource::Cores, amount: 2 }];
        let offer = Offer {
            project: self.name(),
            name: "job".to_owned(),
            builder: "builder".to_owned(),
            tasks,
            replicas,
            package: Package { hash: BlobHash::of(b"package"), size: 7 },
            private: None,
            requirements: Requirements { runtimes: vec![Runtime::Wasm], clauses, rank: Vec::new() },
            job: JobSpec {
                environment: BTreeMap::new(),
                steps: vec![Step { name: "run".to_owned(), run: vec!["job.wasm".to_owned()] }],
                limits: Limits { memory: 1 << 20, disk: 1 << 20, ..Limits::default() },
                artifacts: Vec::new(),
                tap: None,
                network: Vec::new(),
                image: None,
                checkpoint: None,
            },
            offline_ms: 0,
            priority: USUAL_PRIORITY,
            issued: now.wall,
            delegation: self.delegation(now),
            expires: now.wall + DAY,
        };
        Verified::sign(offer, &self.master)
    }

    /// An offer whose package `volunteer` alone can read.
    pub fn private_offer(self, volunteer: Key, now: Now) -> Verified<Offer> {
        let encapsulated = Encapsulated::from_bytes([0; 32]);
        let key = Sealed { to: encryption(), encapsulated, number: 0, body: vec![0; 48] };
        let recipients = vec![Recipient { volunteer: volunteer.0, key }];
        let package = Package { hash: BlobHash::of(b"encrypted"), size: encrypted_size(7) };
        let private = Some(Private { size: 7, recipients });
        let offer = Offer { package, private, ..(*self.offer(1, 1, now)).clone() };
        Verified::sign(offer, &self.master)
    }

    pub fn withdrawal(self, offer: &Verified<Offer>) -> Verified<Withdrawal> {
        self.withdrawal_by(self.master, offer)
    }

    pub fn withdrawal_by(self, signer: Key, offer: &Verified<Offer>) -> Verified<Withdrawal> {
        let (statement, expires) = (offer.id(), offer.expires);
        let withdrawal = Withdrawal { statement, reason: String::new(), expires };
        Verified::sign(withdrawal, &signer)
    }

    pub fn receipt(
        self,
        result: &Verified<JobResult>,
        verdict: Verdict,
        now: Now,
    ) -> Verified<Receipt> {
        let receipt = Receipt {
            project: self.name(),
            result: result.id(),
            task: result.task,
            volunteer: result.signer(),
            verdict,
            issued: now.wall,
            delegation: self.delegation(now),
            expires: now.wall + 50 * DAY,
        };
        Verified::sign(receipt, &self.master)
    }
}

pub fn accepted() -> Verdict {
    Verdict::Accepted(Credit(1))
}

/// Publication of `offer` at `home` in `epoch`.
pub fn publication(
    project: Project,
    offer: &Verified<Offer>,
    epoch: u64,
    home: Key,
    now: Now,
) -> Ask {
    Ask::Publish {
        registration: project.registration(now),
        home: project.home(epoch, home, &[], now),
        offers: vec![Published { offer: offer.clone(), again: false, settled: Vec::new() }],
    }
}

pub fn receipt_bundle(receipt: &Verified<Receipt>, via: PublicKey) -> Bundle {
    Bundle { cargo: Cargo::Receipt(receipt.clone()), via }
}
