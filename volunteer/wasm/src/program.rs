//! What a guest is made of, compiled: here, or before.
//!
//! What was compiled before is trusted like this program. Who wrote it decides what runs, with the
//! rights of this process. Its header says which engine made it and with which settings, and one of
//! another is not taken; but nothing tells honest code from any other. Whoever keeps it must see that
//! it is what `--compile` wrote when it was given this very module, and nothing of a job beside it.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

use wasmtime::component::Component;
use wasmtime::{Engine, Error, Module, Precompiled};

use crate::arguments::Arguments;
use crate::ending::Ending;
use crate::engine;
use crate::module_file::{self, Format};

/// A guest's code.
pub enum Program {
    /// A core module, which imports WASI preview 1.
    Module(Module),
    /// A component, which imports WASI preview 2.
    Component(Component),
}

/// What was compiled before, open for reading.
#[derive(Debug)]
pub struct Compiled(File);

impl Compiled {
    /// Opens it at `path`, with the rights that this process has now.
    ///
    /// # Errors
    ///
    /// [`Ending::Failed`] if it cannot be opened: no job names it.
    pub fn open(path: &Path) -> Result<Self, Ending> {
        File::open(path).map(Self).map_err(|error| {
            Ending::failed(format_args!("cannot open {}: {error}", path.display()))
        })
    }

    /// Its code, unless it was made by another engine or with other settings.
    fn load(mut self, engine: &Engine) -> Result<Program, Error> {
        let mut bytes = Vec::new();
        self.0.read_to_end(&mut bytes)?;
        match Engine::detect_precompiled(&bytes) {
            #[expect(unsafe_code, reason = "the caller vouches for it, as the command line says")]
            Some(Precompiled::Module) => {
                // SAFETY: it is what this program made, which the parent has checked.
                unsafe { Module::deserialize(engine, bytes) }.map(Program::Module)
            }
            #[expect(unsafe_code, reason = "the caller vouches for it, as the command line says")]
            Some(Precompiled::Component) => {
                // SAFETY: as above.
                unsafe { Component::deserialize(engine, bytes) }.map(Program::Component)
            }
            None => Err(Error::msg("not compiled")),
        }
    }
}

impl Program {
    /// Takes `compiled`, or else compiles what `arguments` name.
    ///
    /// # Errors
    ///
    /// [`Ending::Refused`] if it cannot be compiled, which is the job's fault, and what
    /// [`module_file::read`] says.
    pub fn load(
        engine: &Engine,
        arguments: &Arguments,
        compiled: Option<Compiled>,
    ) -> Result<Self, Ending> {
        if let Some(Ok(program)) = compiled.map(|compiled| compiled.load(engine)) {
            return Ok(program);
        }
        let (format, bytes) = module_file::read(&arguments.dir, &arguments.module)?;
        let program = match format {
            Format::Module => Module::from_binary(engine, &bytes).map(Self::Module),
            Format::Component => Component::from_binary(engine, &bytes).map(Self::Component),
        };
        program.map_err(|error| refused(&error))
    }
}

/// Compiles what `arguments` name into the new file `target`.
pub fn compile(arguments: &Arguments, target: &Path) -> Ending {
    match try_compile(arguments, target) {
        Ok(()) => Ending::Exited { code: 0 },
        Err(ending) => ending,
    }
}

fn try_compile(arguments: &Arguments, target: &Path) -> Result<(), Ending> {
    let engine = engine::start(arguments)?;
    let (format, bytes) = module_file::read(&arguments.dir, &arguments.module)?;
    let code = match format {
        Format::Module => engine.precompile_module(&bytes),
        Format::Component => engine.precompile_component(&bytes),
    };
    let code = code.map_err(|error| refused(&error))?;
    let written = File::create_new(target).and_then(|mut file| file.write_all(&code));
    written
        .map_err(|error| Ending::failed(format_args!("cannot write {}: {error}", target.display())))
}

fn refused(error: &Error) -> Ending {
    Ending::refused(format_args!("{error:#}"))
}
