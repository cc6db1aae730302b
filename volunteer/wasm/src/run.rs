//! Compiling the module and calling its `_start`.

use tokio::runtime;
use wasmtime::{
    Config, Engine, Error, ExternType, InstancePre, Linker, Module, Store, Trap,
    WasmBacktraceDetails,
};
use wasmtime_wasi::p1::{self, WasiP1Ctx};
use wasmtime_wasi::{FsPerms, I32Exit, WasiCtxBuilder};

use crate::arguments::Arguments;
use crate::budget::MemoryBudget;
use crate::ending::{Ending, Finished};
use crate::module_file;

/// Runs the module that `arguments` name, to its end.
pub fn run(arguments: &Arguments) -> Finished {
    let (guest, mut store) = match prepare(arguments) {
        Ok(prepared) => prepared,
        Err(ending) => return ending.into(),
    };
    // On this thread alone: a task is accounted as one core, and starting a pool would take longer
    // than most modules. The clock is for `poll_oneoff`, with which guests sleep.
    let runtime = match runtime::Builder::new_current_thread().enable_time().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            return Ending::failed(format_args!("cannot start a runtime: {error}")).into();
        }
    };
    let ending = runtime.block_on(execute(&guest, &mut store));
    let fuel_used = arguments.fuel.map(|given| {
        let left = store.get_fuel().expect("fuel is counted whenever it is given");
        given - left
    });
    Finished { ending, fuel_used }
}

/// What the guest's calls act upon.
struct Host {
    wasi: WasiP1Ctx,
    budget: MemoryBudget,
}

const ENTRY: &str = "_start";

fn prepare(arguments: &Arguments) -> Result<(InstancePre<Host>, Store<Host>), Ending> {
    let bytes = module_file::read(&arguments.dir, &arguments.module)?;
    let engine = Engine::new(&config(arguments))
        .map_err(|error| Ending::failed(format_args!("cannot set up the engine: {error:#}")))?;
    let module = Module::from_binary(&engine, &bytes).map_err(|error| refused(&error))?;
    if !has_entry(&module) {
        return Err(Ending::refused(format_args!(
            "the module exports no function `{ENTRY}` without parameters and results"
        )));
    }
    let mut linker = Linker::new(&engine);
    p1::add_to_linker_async(&mut linker, |host: &mut Host| &mut host.wasi)
        .map_err(|error| Ending::failed(format_args!("cannot define the imports: {error:#}")))?;
    let guest = linker.instantiate_pre(&module).map_err(|error| refused(&error))?;
    Ok((guest, store(&engine, arguments)?))
}

fn has_entry(module: &Module) -> bool {
    let Some(ExternType::Func(entry)) = module.get_export(ENTRY) else { return false };
    entry.params().len() == 0 && entry.results().len() == 0
}

async fn execute(guest: &InstancePre<Host>, store: &mut Store<Host>) -> Ending {
    let instance = match guest.instantiate_async(&mut *store).await {
        Ok(instance) => instance,
        // A start section runs already here; all other errors come before any instruction.
        Err(error) if error.is::<Trap>() || error.is::<I32Exit>() => return ending(&error),
        Err(error) => return refused(&error),
    };
    let entry = instance
        .get_typed_func::<(), ()>(&mut *store, ENTRY)
        .expect("a module without an entry is refused before");
    match entry.call_async(store, ()).await {
        Ok(()) => Ending::Exited { code: 0 },
        Err(error) => ending(&error),
    }
}

fn ending(error: &Error) -> Ending {
    if let Some(I32Exit(code)) = error.downcast_ref() {
        let code = u8::try_from(*code).expect("WASI refuses codes above 125");
        return Ending::Exited { code };
    }
    match error.downcast_ref() {
        Some(Trap::OutOfFuel) => Ending::OutOfFuel,
        Some(trap) => Ending::trapped(trap.to_string().trim_start_matches("wasm trap: ")),
        None => Ending::trapped(error.root_cause()),
    }
}

fn refused(error: &Error) -> Ending {
    Ending::refused(format_args!("{error:#}"))
}

fn store(engine: &Engine, arguments: &Arguments) -> Result<Store<Host>, Ending> {
    let host = Host { wasi: wasi(arguments)?, budget: MemoryBudget::new(arguments.memory) };
    let mut store = Store::new(engine, host);
    store.limiter(|host| &mut host.budget);
    if let Some(fuel) = arguments.fuel {
        store.set_fuel(fuel).expect("the engine counts fuel whenever it is given");
    }
    Ok(store)
}

fn wasi(arguments: &Arguments) -> Result<WasiP1Ctx, Ending> {
    let name = arguments.module.file_name().unwrap_or_default().to_string_lossy();
    let mut builder = WasiCtxBuilder::new();
    builder
        .allow_blocking_current_thread(true) // Before the folder is opened, which takes it over.
        .arg(name) // Not the path, which tells about the volunteer's machine.
        .args(&arguments.guest)
        .envs(&arguments.variables)
        .inherit_stdout()
        .inherit_stderr()
        .preopened_dir(&arguments.dir, "/work", FsPerms::ReadWrite)
        // wasi-libc resolves relative paths against a preopen of that name.
        .and_then(|context| context.preopened_dir(&arguments.dir, ".", FsPerms::ReadWrite))
        .map_err(|error| {
            let folder = arguments.dir.display();
            Ending::failed(format_args!("cannot open the folder {folder}: {error:#}"))
        })?;
    Ok(builder.build_p1())
}

/// Bytes of machine stack that the guest's calls may take. C keeps its own stack in linear memory.
const GUEST_STACK: usize = 1 << 20;
/// Bytes of machine stack for the guest and, above it, the host calls that it makes.
const STACK: usize = GUEST_STACK + (1 << 20);

/// Guards that catch what an access with a constant offset adds to a checked address.
const SMALL_GUARD: u64 = 64 << 10;

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
        // Masters compare the results of different machines byte by byte; the bits of a NaN, and
        // relaxed vector instructions, depend on the processor unless told otherwise.
        .cranelift_nan_canonicalization(true)
        .relaxed_simd_deterministic(true)
        // A module runs once in a process: an image to instantiate from again is of no use.
        .memory_init_cow(false)
        // A reason is one line: what backtraces need is not made.
        .wasm_backtrace_max_frames(None)
        .wasm_backtrace_details(WasmBacktraceDetails::Disable)
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
