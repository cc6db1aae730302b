//! The engine's settings, which decide what a guest computes and what it may use.

use wasmtime::{Config, Engine, WasmBacktraceDetails};

use crate::arguments::Arguments;
use crate::ending::Ending;

/// Bytes of machine stack that the guest's calls may take. C keeps its own stack in linear memory.
const GUEST_STACK: usize = 1 << 20;
/// Bytes of machine stack for the guest and, above it, the host calls that it makes.
const STACK: usize = GUEST_STACK + (1 << 20);

/// Guards that catch what an access with a constant offset adds to a checked address.
const SMALL_GUARD: u64 = 64 << 10;

/// The engine for what `arguments` ask for.
///
/// # Errors
///
/// [`Ending::Failed`] if this machine has none.
pub fn start(arguments: &Arguments) -> Result<Engine, Ending> {
    Engine::new(&config(arguments))
        .map_err(|error| Ending::failed(format_args!("cannot set up the engine: {error:#}")))
}

fn config(arguments: &Arguments) -> Config {
    let mut config = common_config();
    config.consume_fuel(arguments.fuel.is_some());
    if address_space_is_limited() {
        // A memory cannot then have the 4 GiB of addresses that make checks of bounds unnecessary.
        config
            .memory_reservation(arguments.memory)
            .memory_reservation_for_growth(0)
            .memory_guard_size(SMALL_GUARD);
    }
    config
}

/// What is the same for all guests.
pub fn common_config() -> Config {
    let mut config = Config::new();
    config
        .max_wasm_stack(GUEST_STACK)
        .async_stack_size(STACK)
        // Masters compare the results of different machines byte by byte: what relaxed vector
        // instructions compute depends on the processor unless told otherwise. So do the bits of a
        // NaN, but to make each canonical would cost programs that compute with floats more than half
        // of their speed (ADR 0030).
        .relaxed_simd_deterministic(true)
        // A module runs once in a process: an image to instantiate from again is of no use.
        .memory_init_cow(false)
        // A reason is one line: what backtraces need is not made.
        .wasm_backtrace_max_frames(None)
        .wasm_backtrace_details(WasmBacktraceDetails::Disable)
        // What the wall on macOS lets a process do: handle its signals, and not to name ports for its exceptions.
        .macos_use_mach_ports(false)
        .generate_address_map(false);
    config
}

#[cfg(unix)]
fn address_space_is_limited() -> bool {
    rustix::process::getrlimit(rustix::process::Resource::As).current.is_some()
}

#[cfg(not(unix))]
fn address_space_is_limited() -> bool {
    false
}
