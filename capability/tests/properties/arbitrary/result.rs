//! What happened, and what the master made of it.

use capability::statements::{
    Artifact, Blob, BlobPart, Credit, Ended, JobResult, Log, Receipt, Report, StepReport, Verdict,
};
use capability::{BlobHash, BlobKey, Encapsulated, Sealed, encrypted_size};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::machine::platform;
use super::{
    delegated, encryption_key, envelope, id, key, number, owned, project, runtime, task, text, time,
};

fn ended() -> impl Strategy<Value = Ended> {
    prop_oneof![
        Just(Ended::Passed),
        Just(Ended::Failed),
        text(64).prop_map(Ended::Limit),
        text(64).prop_map(Ended::Machine),
    ]
}

fn step() -> impl Strategy<Value = StepReport> {
    let log =
        prop_oneof![vec(any::<u8>(), 0..200).prop_map(Log::Inline), part().prop_map(Log::Blob),];
    let used = (number(), number(), number(), option::of(number()));
    (text(16), option::of(any::<i32>()), text(32), used, log).prop_map(
        |(name, exit, ending, (wall_ms, cpu_ms, memory, fuel), log)| StepReport {
            name,
            exit,
            ending,
            wall_ms,
            cpu_ms,
            memory,
            fuel,
            log,
        },
    )
}

fn part() -> impl Strategy<Value = BlobPart> {
    (number(), any::<[u8; 32]>()).prop_map(|(size, hash)| BlobPart {
        blob: 0,
        size,
        hash: BlobHash::of(&hash),
    })
}

fn artifact() -> impl Strategy<Value = Artifact> {
    let name = text(16).prop_map(|name| format!("x{}", name.replace('/', "")));
    let path = vec(name, 1..4).prop_map(|parts| parts.join("/"));
    (path, part()).prop_map(|(path, content)| Artifact { path, content })
}

fn blob() -> impl Strategy<Value = Blob> {
    (any::<[u8; 32]>(), number()).prop_map(|(hash, size)| Blob { hash: BlobHash::of(&hash), size })
}

fn sealed() -> impl Strategy<Value = Sealed> {
    (encryption_key(), any::<[u8; 32]>(), any::<u32>(), vec(any::<u8>(), 0..700)).prop_map(
        |(to, encapsulated, number, body)| Sealed {
            to,
            encapsulated: Encapsulated::from_bytes(encapsulated),
            number,
            body,
        },
    )
}

pub fn result() -> impl Strategy<Value = JobResult> {
    (task(), envelope(), vec(blob(), 0..5), sealed(), time()).prop_map(
        |(task, lease, blobs, report, expires)| JobResult {
            project: project(),
            task,
            lease,
            blobs,
            report,
            expires,
        },
    )
}

/// A report, and the blobs that go with it.
pub fn report() -> impl Strategy<Value = (Report, Vec<Blob>)> {
    let lists = (vec(step(), 0..5), vec(artifact(), 0..5));
    let place = (platform(), text(32), runtime());
    let ownership = option::of(Just(()).prop_map(|()| owned()));
    let times = (time(), time(), any::<u32>());
    (ended(), lists, any::<[u8; 32]>(), place, ownership, times).prop_map(
        |(ended, (steps, artifacts), key, (platform, system, runtime), ownership, times)| {
            let mut report = Report {
                ended,
                steps,
                artifacts,
                key: BlobKey::from_bytes(key),
                platform,
                system,
                runtime,
                ownership,
                started: times.0,
                finished: times.1,
                resumed: times.2,
            };
            let blobs = number_blobs(&mut report);
            (report, blobs)
        },
    )
}

/// Gives each blob its index.
fn number_blobs(report: &mut Report) -> Vec<Blob> {
    let logs = report.steps.iter_mut().filter_map(|step| match &mut step.log {
        Log::Blob(part) => Some(part),
        Log::Inline(_) => None,
    });
    let parts = logs.chain(report.artifacts.iter_mut().map(|artifact| &mut artifact.content));
    let blobs = parts.zip(0..).map(|(part, index)| {
        part.blob = index;
        let hash = BlobHash::of(&index.to_be_bytes());
        Blob { hash, size: encrypted_size(part.size) }
    });
    blobs.collect()
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
