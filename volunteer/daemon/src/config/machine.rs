//! What is there to donate from, and what is donated where the owner says nothing.

use std::path::Path;

use capability::{Resources, format_bytes};

/// What there is; `None` for what cannot be told.
#[derive(Debug, Clone, Copy)]
pub(super) struct Machine {
    pub(super) cores: Option<u32>,
    pub(super) memory: Option<u64>,
    /// Free where the state directory is.
    pub(super) disk: Option<u64>,
}

pub(super) fn doubts(donated: Resources, machine: &Machine) -> Vec<String> {
    let bytes = |what: &str, donated: u64, there: Option<u64>, at_all: &str| {
        let there = there.filter(|there| *there < donated)?;
        let (donated, there) = (format_bytes(donated), format_bytes(there));
        Some(format!("`{what}` donates {donated}, and only {there} {at_all}"))
    };
    let cores = machine.cores.filter(|there| *there < donated.cores).map(|there| {
        format!("`cores` donates {}, and the machine has only {there}", donated.cores)
    });
    let memory = bytes("memory", donated.memory, machine.memory, "are in the machine");
    let disk = bytes("disk", donated.disk, machine.disk, "are free on the disk");
    [cores, memory, disk].into_iter().flatten().collect()
}

/// What is donated where the owner says nothing, in words of the file.
#[derive(Debug)]
pub struct Usual {
    /// Cores.
    pub cores: String,
    /// Memory.
    pub memory: String,
    /// Disk space.
    pub disk: String,
}

/// See [`Usual`]; the disk is that of the state directory `state`.
pub fn usual(state: &Path) -> Usual {
    let machine = machine(state);
    Usual {
        cores: "all-1".to_owned(),
        memory: format_bytes(half_of(machine.memory)),
        disk: format_bytes(some_of(machine.disk)),
    }
}

pub(super) fn half_of(memory: Option<u64>) -> u64 {
    /// Where it cannot be told: what a job takes by default.
    const GUESS: u64 = 1 << 30;
    memory.map_or(GUESS, |memory| memory / 2)
}

pub(super) fn some_of(disk_free: Option<u64>) -> u64 {
    (disk_free.unwrap_or_default() / 2).min(8 << 30)
}

pub(super) fn machine(state: &Path) -> Machine {
    Machine { cores: cores(), memory: memory(), disk: disk_free(state) }
}

pub(super) fn cores() -> Option<u32> {
    u32::try_from(std::thread::available_parallelism().ok()?.get()).ok()
}

pub(super) fn memory() -> Option<u64> {
    let mut system = sysinfo::System::new().ok()?;
    system.refresh_memory();
    Some(system.total_memory())
}

fn disk_free(state: &Path) -> Option<u64> {
    mesh_store::disk_free(existing(state)).ok()
}

/// Bytes of the whole disk that `state` is on.
pub(super) fn disk_size(state: &Path) -> Option<u64> {
    mesh_store::disk_size(existing(state)).ok()
}

/// The directory itself may not be there yet.
fn existing(state: &Path) -> &Path {
    state.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"))
}
