//! `[limits]` and `[checkpoint]`: how much a job may take, and what it keeps to go on from.

use std::time::Duration;

use super::reader::{Field, Place, Section};
use super::spec::{
    Checkpoint, Limits, MAX_FUEL, MAX_OUTPUT, MAX_PROCESSES, MAX_WALL, MIN_CHECKPOINT,
    USUAL_CHECKPOINT_BYTES,
};
use super::{JobFileError, duration};
use crate::facts::Runtime;
use crate::quantity::{format_bytes, parse_bytes};

const LIMITS: [&str; 6] = ["wall", "memory", "disk", "output", "processes", "fuel"];

/// The limits, and where the file limits the fuel.
pub(super) fn limits<'t>(
    root: &mut Section<'t>,
) -> Result<(Limits, Option<Place<'t>>), JobFileError> {
    let mut section = root.section("limits", &LIMITS)?;
    let default = Limits::default();
    let wall = section.optional("wall", default.wall(), |field| duration(field, MAX_WALL))?;
    let mut place = None;
    let fuel = |field: Field<'t>| {
        place = Some(field.place());
        fuel(field).map(Some)
    };
    let fuel = section.optional("fuel", None, fuel)?;
    let limits = Limits {
        wall_ms: millis(wall),
        memory: section.optional("memory", default.memory, |field| bytes(field, u64::MAX))?,
        disk: section.optional("disk", default.disk, |field| bytes(field, u64::MAX))?,
        output: section.optional("output", default.output, |field| bytes(field, MAX_OUTPUT))?,
        processes: section
            .optional("processes", default.processes, |field| field.count(MAX_PROCESSES))?,
        fuel,
    };
    Ok((limits, place))
}

/// Refuses fuel, which the file limits at `place`, if a runtime other than wasm may run the job.
pub(super) fn check_fuel(
    place: Option<Place<'_>>,
    runtimes: &[Runtime],
) -> Result<(), JobFileError> {
    let Some(place) = place else { return Ok(()) };
    match runtimes.iter().find(|runtime| **runtime != Runtime::Wasm) {
        None => Ok(()),
        Some(other) => Err(place.refuse(format_args!(
            "nobody meters the fuel of {other}; write requirements.runtimes = [\"wasm\"], or leave it out"
        ))),
    }
}

/// How the job keeps checkpoints, if it does; within `disk` bytes.
pub(super) fn checkpoint(
    root: &mut Section<'_>,
    disk: u64,
) -> Result<Option<Checkpoint>, JobFileError> {
    let Some(field) = root.take("checkpoint") else { return Ok(None) };
    let place = field.place();
    let mut section = field.section(&["every", "size"])?;
    let every = section.require("every", "checkpoint = { every = \"10m\" }")?;
    let every_place = every.place();
    let every = duration(every, MAX_WALL)?;
    if every < MIN_CHECKPOINT {
        let least = humantime::format_duration(MIN_CHECKPOINT);
        return Err(every_place.refuse(format_args!("it must be at least {least}")));
    }
    let size = section.optional("size", USUAL_CHECKPOINT_BYTES, |field| bytes(field, u64::MAX))?;
    let checkpoint = Checkpoint { every_ms: millis(every), size };
    checkpoint.validate(disk).map_err(|_| {
        place.refuse(format_args!(
            "two checkpoints of {} leave nothing of limits.disk, {}; lower its size, or raise limits.disk",
            format_bytes(size),
            format_bytes(disk)
        ))
    })?;
    Ok(Some(checkpoint))
}

fn fuel(field: Field<'_>) -> Result<u64, JobFileError> {
    let place = field.place();
    let fuel = field.parse_amount(|text| text.replace('_', "").parse::<u64>())?;
    if (1..=MAX_FUEL).contains(&fuel) {
        Ok(fuel)
    } else {
        Err(place.refuse(format_args!("it must be 1 to {MAX_FUEL}")))
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).expect("a day of milliseconds fits")
}

pub(super) fn bytes(field: Field<'_>, max: u64) -> Result<u64, JobFileError> {
    let place = field.place();
    match field.parse_amount(parse_bytes)? {
        0 => Err(place.refuse("it must be above zero")),
        bytes if bytes > max => {
            Err(place.refuse(format_args!("it must be at most {}", format_bytes(max))))
        }
        bytes => Ok(bytes),
    }
}
