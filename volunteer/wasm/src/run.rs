//! Running a guest to its end.

use tokio::runtime;
use wasmtime::component::{self, Component};
use wasmtime::{Engine, Error, ExternType, InstancePre, Linker, Module, Store, Trap};
use wasmtime_wasi::p1::{self, WasiP1Ctx};
use wasmtime_wasi::p2::{self, bindings::CommandPre};
use wasmtime_wasi::{FsPerms, I32Exit, WasiCtxBuilder, WasiCtxView, WasiView};

use crate::arguments::Arguments;
use crate::budget::MemoryBudget;
use crate::ending::{Ending, Finished};
use crate::engine;
use crate::program::{Compiled, Program};

/// Runs the guest that `arguments` name, to its end; from `compiled` if that will do.
pub fn run(arguments: &Arguments, compiled: Option<Compiled>) -> Finished {
    let (guest, mut store) = match prepare(arguments, compiled) {
        Ok(prepared) => prepared,
        Err(ending) => return ending.into(),
    };
    // On this thread alone: a task is accounted as one core, and starting a pool would take longer
    // than most guests. The clock is for `poll_oneoff`, with which guests sleep.
    let runtime = match runtime::Builder::new_current_thread().enable_time().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            return Ending::failed(format_args!("cannot start a runtime: {error}")).into();
        }
    };
    let ending = runtime.block_on(guest.execute(&mut store));
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

impl WasiView for Host {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        self.wasi.ctx()
    }
}

/// A guest whose imports are all there, and its entry.
enum Guest {
    Module(InstancePre<Host>),
    Component(CommandPre<Host>),
}

/// What a module exports to be run.
const ENTRY: &str = "_start";
/// What a component exports, behind which is a version.
const COMPONENT_ENTRY: &str = "wasi:cli/run";

fn prepare(
    arguments: &Arguments,
    compiled: Option<Compiled>,
) -> Result<(Guest, Store<Host>), Ending> {
    let engine = engine::start(arguments)?;
    let guest = match Program::load(&engine, arguments, compiled)? {
        Program::Module(module) => Guest::Module(link_module(&engine, &module)?),
        Program::Component(component) => Guest::Component(link_component(&engine, &component)?),
    };
    Ok((guest, store(&engine, arguments)?))
}

fn link_module(engine: &Engine, module: &Module) -> Result<InstancePre<Host>, Ending> {
    if !has_entry(module) {
        return Err(Ending::refused(format_args!(
            "the module exports no function `{ENTRY}` without parameters and results"
        )));
    }
    let mut linker = Linker::new(engine);
    p1::add_to_linker_async(&mut linker, |host: &mut Host| &mut host.wasi)
        .map_err(|error| cannot_define(&error))?;
    linker.instantiate_pre(module).map_err(|error| refused(&error))
}

fn has_entry(module: &Module) -> bool {
    let Some(ExternType::Func(entry)) = module.get_export(ENTRY) else { return false };
    entry.params().len() == 0 && entry.results().len() == 0
}

fn link_component(engine: &Engine, component: &Component) -> Result<CommandPre<Host>, Ending> {
    let mut linker = component::Linker::new(engine);
    p2::add_to_linker_async(&mut linker).map_err(|error| cannot_define(&error))?;
    let pre = linker.instantiate_pre(component).map_err(|error| refused(&error))?;
    CommandPre::new(pre).map_err(|error| {
        Ending::refused(format_args!("the component exports no `{COMPONENT_ENTRY}`: {error:#}"))
    })
}

impl Guest {
    async fn execute(&self, store: &mut Store<Host>) -> Ending {
        match self {
            Self::Module(module) => execute_module(module, store).await,
            Self::Component(component) => execute_component(component, store).await,
        }
    }
}

async fn execute_module(guest: &InstancePre<Host>, store: &mut Store<Host>) -> Ending {
    let instance = match guest.instantiate_async(&mut *store).await {
        Ok(instance) => instance,
        Err(error) => return not_instantiated(&error),
    };
    let entry = instance
        .get_typed_func::<(), ()>(&mut *store, ENTRY)
        .expect("a module without an entry is refused before");
    match entry.call_async(store, ()).await {
        Ok(()) => Ending::Exited { code: 0 },
        Err(error) => ending(&error),
    }
}

async fn execute_component(guest: &CommandPre<Host>, store: &mut Store<Host>) -> Ending {
    let command = match guest.instantiate_async(&mut *store).await {
        Ok(command) => command,
        Err(error) => return not_instantiated(&error),
    };
    match command.wasi_cli_run().call_run(store).await {
        Ok(result) => Ending::Exited { code: result.is_err().into() },
        Err(error) => ending(&error),
    }
}

/// A start section runs already then; all other errors come before any instruction.
fn not_instantiated(error: &Error) -> Ending {
    if error.is::<Trap>() || error.is::<I32Exit>() { ending(error) } else { refused(error) }
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

fn cannot_define(error: &Error) -> Ending {
    Ending::failed(format_args!("cannot define the imports: {error:#}"))
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

/// The same for both: that of preview 1 is made of that of preview 2, in which no socket is allowed
/// unless one says so.
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
