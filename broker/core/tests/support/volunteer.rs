//! What volunteers say.

use std::time::Duration;

use capability::statements::{Ad, Claim, Intent, JobResult, Lease, Ownership, Renewal};
use capability::{
    Capabilities, Encapsulated, EncryptionKey, Facts, Platform, Resources, Runtime, RuntimeFacts,
    Sealed, StatementId, Verified,
};
use mesh_core::{Ask, Bundle, Cargo, MAX_HOPS, Now, Wants};

use super::DAY;
use super::keys::Key;

/// Everybody's: no broker can open anything.
pub fn encryption() -> EncryptionKey {
    EncryptionKey::from_bytes([9; 32]).expect("a sound key")
}

pub fn ad(volunteer: Key, broker: Key, cores: u32, now: Now) -> Verified<Ad> {
    let mut facts = Facts::new();
    facts.insert("os", "wasi").expect("a fact");
    let inside = RuntimeFacts { strength: "wasm".to_owned(), facts };
    let capabilities = Capabilities {
        platform: Platform::new("linux", "x86_64").expect("a platform"),
        resources: Resources { cores, memory: 1 << 30, disk: 1 << 30 },
        runtimes: [(Runtime::Wasm, inside)].into(),
    };
    let (seq, expires) = (now.wall.0, now.wall + Duration::from_secs(3600));
    Verified::sign(
        Ad { seq, broker: broker.0, capabilities, encryption: encryption(), expires },
        &volunteer,
    )
}

pub fn wants() -> Wants {
    Wants {
        runtimes: vec![Runtime::Wasm],
        free: Resources { cores: 4, memory: 1 << 30, disk: 1 << 30 },
        projects: Vec::new(),
        except: Vec::new(),
        wait_ms: None,
    }
}

pub struct Asking {
    pub volunteer: Key,
    /// The volunteer's own broker.
    pub at: Key,
    pub home: Key,
    pub epoch: u64,
}

impl Asking {
    pub fn claim(&self, offer: StatementId, count: u16, nonce: u64, now: Now) -> Ask {
        self.claim_of(None, offer, count, nonce, now)
    }

    /// The same, of a machine of somebody's.
    pub fn claim_of(
        &self,
        owner: Option<Verified<Ownership>>,
        offer: StatementId,
        count: u16,
        nonce: u64,
        now: Now,
    ) -> Ask {
        let claim = self.payload(owner, offer, count, nonce, now);
        let claim = Verified::sign(claim, &self.volunteer);
        Ask::Claim { claims: vec![claim], home: self.home.0, hops: MAX_HOPS }
    }

    /// The same, of a machine that may be out of reach.
    pub fn claim_offline(&self, offer: StatementId, count: u16, nonce: u64, now: Now) -> Ask {
        let claim = Claim { offline: true, ..self.payload(None, offer, count, nonce, now) };
        let claim = Verified::sign(claim, &self.volunteer);
        Ask::Claim { claims: vec![claim], home: self.home.0, hops: MAX_HOPS }
    }

    fn payload(
        &self,
        owner: Option<Verified<Ownership>>,
        offer: StatementId,
        count: u16,
        nonce: u64,
        now: Now,
    ) -> Claim {
        Claim {
            offer,
            epoch: self.epoch,
            count,
            runtime: Runtime::Wasm,
            ad: ad(self.volunteer, self.at, 4, now).envelope().clone(),
            ownership: owner.map(|it| it.envelope().clone()),
            offline: false,
            nonce,
            expires: now.wall + Duration::from_secs(60),
        }
    }

    /// Gives `leases` back, as `lost` or given up.
    pub fn release(
        &self,
        offer: StatementId,
        leases: Vec<StatementId>,
        lost: bool,
        now: Now,
    ) -> Ask {
        let (issued, expires) = (now.wall, now.wall + Duration::from_secs(60));
        let (epoch, intent) = (self.epoch, Intent::Release);
        let renewal = Renewal { leases, offer, epoch, intent, lost, issued, expires };
        let renewal = Verified::sign(renewal, &self.volunteer);
        Ask::Renew { renewal, home: self.home.0, hops: MAX_HOPS }
    }

    pub fn renewal(
        &self,
        offer: StatementId,
        leases: Vec<StatementId>,
        intent: Intent,
        now: Now,
    ) -> Ask {
        let (issued, expires) = (now.wall, now.wall + Duration::from_secs(60));
        let (epoch, lost) = (self.epoch, false);
        let renewal = Renewal { leases, offer, epoch, intent, lost, issued, expires };
        let renewal = Verified::sign(renewal, &self.volunteer);
        Ask::Renew { renewal, home: self.home.0, hops: MAX_HOPS }
    }
}

pub fn ownership(owner: Key, nodes: &[Key], now: Now) -> Verified<Ownership> {
    let nodes = nodes.iter().map(|node| node.0).collect();
    Verified::sign(Ownership { nodes, expires: now.wall + DAY }, &owner)
}

pub fn result(volunteer: Key, lease: &Verified<Lease>, now: Now) -> Verified<JobResult> {
    let report = Sealed {
        to: encryption(),
        encapsulated: Encapsulated::from_bytes([0; 32]),
        number: 0,
        body: now.wall.0.to_be_bytes().repeat(66),
    };
    let result = JobResult {
        project: lease.project,
        task: lease.task,
        lease: lease.envelope().clone(),
        blobs: Vec::new(),
        report,
        expires: lease.expires,
    };
    Verified::sign(result, &volunteer)
}

pub fn result_bundle(result: &Verified<JobResult>, via: Key) -> Bundle {
    Bundle { cargo: Cargo::Result(result.clone()), via: via.0 }
}
