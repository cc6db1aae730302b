//! What a guest is made of, compiled.

use wasmtime::component::Component;
use wasmtime::{Engine, Module};

use crate::arguments::Arguments;
use crate::ending::Ending;
use crate::module_file::{self, Format};

/// A guest's code.
pub enum Program {
    /// A core module, which imports WASI preview 1.
    Module(Module),
    /// A component, which imports WASI preview 2.
    Component(Component),
}

impl Program {
    /// Compiles what `arguments` name.
    ///
    /// # Errors
    ///
    /// [`Ending::Refused`] if it cannot be compiled, which is the job's fault, and what
    /// [`module_file::read`] says.
    pub fn load(engine: &Engine, arguments: &Arguments) -> Result<Self, Ending> {
        let (format, bytes) = module_file::read(&arguments.dir, &arguments.module)?;
        let program = match format {
            Format::Module => Module::from_binary(engine, &bytes).map(Self::Module),
            Format::Component => Component::from_binary(engine, &bytes).map(Self::Component),
        };
        program.map_err(|error| Ending::refused(format_args!("{error:#}")))
    }
}
