//! What happened, and what the master made of it.

use capability::BlobHash;
use capability::statements::{
    Artifact, Credit, Ended, JobResult, Log, Receipt, StepReport, Verdict,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::machine::platform;
use super::{delegated, envelope, id, key, number, owned, project, runtime, task, text, time};

fn blob() -> impl Strategy<Value = BlobHash> {
    any::<[u8; 32]>().prop_map(|bytes| BlobHash::of(&bytes))
}

fn ended() -> impl Strategy<Value = Ended> {
    prop_oneof![
        Just(Ended::Passed),
        Just(Ended::Failed),
        text(64).prop_map(Ended::Limit),
        text(64).prop_map(Ended::Machine),
    ]
}

fn step() -> impl Strategy<Value = StepReport> {
    let log = prop_oneof![
        vec(any::<u8>(), 0..200).prop_map(Log::Inline),
        (blob(), number()).prop_map(|(hash, size)| Log::Blob { hash, size }),
    ];
    let times = (number(), number(), number());
    (text(16), option::of(any::<i32>()), text(32), times, log).prop_map(
        |(name, exit, ending, (wall_ms, cpu_ms, memory), log)| StepReport {
            name,
            exit,
            ending,
            wall_ms,
            cpu_ms,
            memory,
            log,
        },
    )
}

fn artifact() -> impl Strategy<Value = Artifact> {
    let part = text(16).prop_map(|part| format!("x{}", part.replace('/', "")));
    let path = vec(part, 1..4).prop_map(|parts| parts.join("/"));
    (path, blob(), number()).prop_map(|(path, hash, size)| Artifact { path, hash, size })
}

pub fn result() -> impl Strategy<Value = JobResult> {
    let lists = (vec(step(), 0..5), vec(artifact(), 0..5));
    let place = (platform(), text(32), runtime());
    let ownership = option::of(Just(()).prop_map(|()| owned()));
    (task(), envelope(), ended(), lists, place, ownership, (time(), time(), time())).prop_map(
        |(
            task,
            lease,
            ended,
            (steps, artifacts),
            (platform, system, runtime),
            ownership,
            times,
        )| {
            JobResult {
                project: project(),
                task,
                lease,
                ended,
                steps,
                artifacts,
                platform,
                system,
                runtime,
                ownership,
                started: times.0,
                finished: times.1,
                expires: times.2,
            }
        },
    )
}

pub fn receipt() -> impl Strategy<Value = Receipt> {
    let verdict = prop_oneof![
        number().prop_map(|credit| Verdict::Accepted(Credit(credit))),
        text(64).prop_map(Verdict::Rejected),
        text(64).prop_map(Verdict::Again),
    ];
    (id(), task(), key(), verdict, time(), time()).prop_map(
        |(result, task, volunteer, verdict, issued, expires)| Receipt {
            project: project(),
            result,
            task,
            volunteer,
            verdict,
            issued,
            delegation: delegated(),
            expires,
        },
    )
}
