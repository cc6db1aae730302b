//! WebAssembly modules with WASI preview 1, and components with preview 2, by the runner beside this
//! program.
//!
//! The runner is a process of its own, in the sandbox where there is one. Elsewhere the engine keeps
//! the module in, behind that is the wall that the platform has for trusted programs, and the ad says so: on Linux
//! none, where the runner limits itself and gives up root's rights.

mod compiled;
mod compiling;
mod errand;
mod phases;

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use capability::{Fact, Facts, FactsError, Runtime};
use serde::Deserialize;
use volunteer_sandbox::{Ending, Limits};

use self::compiled::{BOUND, CompiledModules};
use self::compiling::Compiling;
use self::errand::Errand;
use super::isolation::Isolation;
use super::network::{NO_NETWORK, StepNetwork};
use super::{JobRuntime, Measured, Slot, Step, StepOrder};
use crate::live::LiveTail;

/// A module whose `_start` does nothing.
const EMPTY_MODULE: [u8; 36] = *b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x03\x02\x01\0\x07\x0a\x01\x06_start\0\0\x0a\x04\x01\x02\0\x0b";

/// A component whose `run` does nothing.
const EMPTY_COMPONENT: [u8; 119] = *b"\0asm\r\0\x01\0\x01$\0asm\x01\0\0\0\x01\x05\x01`\0\x01\x7f\x03\x02\x01\0\x07\x07\x01\x03run\0\0\n\x06\x01\x04\0A\0\x0b\x02\x04\x01\0\0\0\x06\t\x01\0\0\x01\0\x03run\x07\x08\x02j\0\0@\0\0\0\x08\x06\x01\0\0\0\0\x01\x05\n\x01\x01\x01\0\x03run\x01\0\x0b\x18\x01\0\x12wasi:cli/run@0.2.0\x05\0\0";

/// A module that traps if it can open the file `../canary` for reading.
const NOSY_MODULE: [u8; 143] = *b"\0asm\x01\0\0\0\x01\x11\x02`\t\x7f\x7f\x7f\x7f\x7f~~\x7f\x7f\x01\x7f`\0\0\x02$\x01\x16wasi_snapshot_preview1\tpath_open\0\0\x03\x02\x01\x01\x05\x03\x01\0\x01\x07\x13\x02\x06memory\x02\0\x06_start\0\x01\n\x1d\x01\x1b\0A\x03A\0A\x08A\tA\0B\x02B\0A\0A\0\x10\0E\x04@\0\x0b\x0b\x0b\x0f\x01\0A\x08\x0b\t../canary";

/// What is tried before anything is advertised, by what it is.
const TRIALS: [(&str, &[u8]); 3] = [
    ("an empty module", &EMPTY_MODULE),
    ("an empty component", &EMPTY_COMPONENT),
    ("a module that looks outside its folder", &NOSY_MODULE),
];

/// What that must not find: a file beside the folder.
const CANARY: &str = "canary";

/// The versions of WASI that those need.
const WASI: [&str; 2] = ["preview1", "preview2"];

/// What the ad says where there is neither a sandbox nor a wall.
const BARE_STRENGTH: &str = "wasm process, no sandbox";

const PROBE_LIMITS: Limits = Limits {
    wall: Duration::from_secs(60),
    memory: 64 << 20,
    disk: 1 << 20,
    output: 64 << 10,
    processes: 64,
};

/// The wasm runtime.
#[derive(Debug)]
pub struct Wasm {
    isolation: Arc<Isolation>,
    /// The cache's directory.
    directory: PathBuf,
    engine: OnceLock<Engine>,
    /// Empty before the first self-test, and where nothing can be kept.
    compiling: OnceLock<Compiling>,
}

/// What the runner says of itself and its engine.
#[derive(Debug, Deserialize)]
struct Engine {
    runner: String,
    engine: String,
    version: String,
    compatibility: String,
    features: Vec<String>,
}

impl Wasm {
    /// Uses `isolation` if that is to be had, and keeps what it has compiled below `cache`.
    pub fn new(isolation: Arc<Isolation>, cache: &Path) -> Self {
        let directory = cache.join("wasm");
        Self { isolation, directory, engine: OnceLock::new(), compiling: OnceLock::new() }
    }

    /// Opens the cache. Without it every step compiles its module itself.
    fn open_cache(&self, engine: &Engine) {
        match CompiledModules::open(&self.directory, BOUND) {
            Ok(cache) => {
                let Engine { runner, version, compatibility, .. } = engine;
                let compiler = [runner, version, compatibility].map(Clone::clone);
                let _ = self.compiling.set(Compiling::new(cache, compiler));
            }
            Err(error) => {
                let path = self.directory.display();
                tracing::warn!(%path, %error, "compiled modules cannot be kept");
            }
        }
    }

    /// Runs a guest that is to end well.
    fn try_guest(&self, what: &str, guest: &[u8]) -> Result<(), String> {
        let folder = lay_out(guest).map_err(|error| format!("no directory to try in: {error}"))?;
        let step = StepOrder {
            command: &["guest.wasm".to_owned()],
            environment: &[].into(),
            work: &folder.path().join("work"),
            root: None,
            limits: PROBE_LIMITS,
            fuel: None,
            // No job runs yet.
            slot: &Slot::default(),
            tail: None,
            network: StepNetwork::default(),
        };
        let Step { wait, .. } = self.start(&step)?;
        let end = wait();
        match end.ending {
            Ending::Exited { code: 0 } => Ok(()),
            ending => Err(format!("{what} ended with {ending:?} {}", end.note)),
        }
    }
}

/// A folder with a work directory, in which `guest` is, and the canary beside it.
fn lay_out(guest: &[u8]) -> std::io::Result<tempfile::TempDir> {
    let folder = tempfile::tempdir()?;
    std::fs::create_dir(folder.path().join("work"))?;
    std::fs::write(folder.path().join("work/guest.wasm"), guest)?;
    std::fs::write(folder.path().join(CANARY), "for the owner only")?;
    Ok(folder)
}

impl JobRuntime for Wasm {
    fn runtime(&self) -> Runtime {
        Runtime::Wasm
    }

    fn self_test(&self) -> Result<String, String> {
        let engine = Engine::ask(&errand::runner()?)?;
        self.open_cache(&engine);
        TRIALS.iter().try_for_each(|(what, guest)| self.try_guest(what, guest))?;
        // A second test would find the same.
        let _ = self.engine.set(engine);
        if let Ok(strength) = self.isolation.strength() {
            return Ok(format!("wasm+{strength}"));
        }
        let wall = self.isolation.wall()?;
        Ok(match wall.is_more_than_a_process() {
            true => format!("wasm+{}", wall.layers.join("+")),
            false => BARE_STRENGTH.to_owned(),
        })
    }

    fn measure(&self) -> Result<Measured, String> {
        let engine = self.engine.get().ok_or("the runner was not asked")?;
        let layers = match self.isolation.layers() {
            Ok(layers) => layers,
            Err(_) => self.isolation.wall()?.layers.iter().map(ToString::to_string).collect(),
        };
        let facts = engine.facts(&layers).map_err(|error| error.to_string())?;
        Ok(Measured { facts, ..Measured::default() })
    }

    fn system(&self) -> String {
        "WASI preview 1 and 2".to_owned()
    }

    fn start(&self, step: &StepOrder<'_>) -> Result<Step, String> {
        let errand = Errand::run(step)?;
        let observer = step.tail.map(LiveTail::observer);
        let Some(compiling) = self.compiling.get() else {
            return errand.start(&self.isolation, observer);
        };
        compiling.start(errand, &self.isolation, observer)
    }
}

impl Engine {
    /// Asks the runner what its engine can do. Outside the sandbox, since nothing of a job is there.
    fn ask(runner: &Path) -> Result<Self, String> {
        let output = std::process::Command::new(runner)
            .arg("--features")
            .env_clear()
            .output()
            .map_err(|error| format!("cannot start {}: {error}", runner.display()))?;
        serde_json::from_slice(&output.stdout).map_err(|_| {
            format!("{} is damaged, or of another version than this program", runner.display())
        })
    }

    /// What a module finds, behind `layers` beside the engine itself.
    fn facts(&self, layers: &[String]) -> Result<Facts, FactsError> {
        let Self { runner, engine, version, features, .. } = self;
        let texts = [
            ("os", "wasi"),
            ("arch", "wasm32"),
            // A single word, and of preview 1, since job files are about that have `wasi = "preview1"`.
            ("wasi", WASI[0]),
            ("wasm.runner", runner),
            ("wasm.engine", engine),
            ("wasm.engine.version", version),
            ("network", NO_NETWORK),
        ];
        let mut facts = Facts::new();
        for (name, value) in texts {
            facts.insert(name, value)?;
        }
        facts.insert("wasi.versions", WASI.into_iter().collect::<Fact>())?;
        facts.insert("wasm.features", features.iter().map(String::as_str).collect::<Fact>())?;
        let layers = std::iter::once("wasm").chain(layers.iter().map(String::as_str));
        facts.insert("sandbox.layers", layers.collect::<Fact>())?;
        Ok(facts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_told_of_the_engine_in_facts_that_job_files_may_name() {
        let engine = Engine {
            runner: "0.1.0".to_owned(),
            engine: "wasmtime".to_owned(),
            version: "48.0.8".to_owned(),
            compatibility: String::new(),
            features: vec!["simd128".to_owned(), "bulk-memory".to_owned()],
        };
        let facts = engine.facts(&["process".to_owned()]).expect("within all limits");
        assert_eq!(
            facts.get("wasm.features"),
            Some(&["bulk-memory", "simd128"].into_iter().collect())
        );
        assert_eq!(facts.get("sandbox.layers"), Some(&["process", "wasm"].into_iter().collect()));
        for (name, _) in facts.iter() {
            assert!(capability::fact_kind(name.as_str()).is_some(), "{name}");
        }
    }

    #[test]
    fn what_is_tried_is_what_it_says() {
        let module = r#"(module (func (export "_start")))"#;
        let component = r#"(component
          (core module (func (export "run") (result i32) (i32.const 0)))
          (core instance (instantiate 0))
          (alias core export 0 "run" (core func))
          (func (result (result)) (canon lift (core func 0)))
          (instance (export "run" (func 0)))
          (export "wasi:cli/run@0.2.0" (instance 0)))"#;
        let nosy = r#"(module
          (import "wasi_snapshot_preview1" "path_open"
            (func (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
          (memory (export "memory") 1)
          (data (i32.const 8) "../canary")
          (func (export "_start")
            (if (i32.eqz (call 0 (i32.const 3) (i32.const 0) (i32.const 8) (i32.const 9)
                  (i32.const 0) (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 0)))
              (then unreachable))))"#;
        for ((what, guest), text) in TRIALS.iter().zip([module, component, nosy]) {
            assert_eq!(wat::parse_str(text).expect(what), *guest, "{what}");
        }
    }

    #[test]
    fn a_job_that_asks_for_preview_1_alone_finds_it_as_before() {
        let engine = Engine {
            runner: "0.1.0".to_owned(),
            engine: "wasmtime".to_owned(),
            version: "48.0.8".to_owned(),
            compatibility: String::new(),
            features: Vec::new(),
        };
        let facts = engine.facts(&["process".to_owned()]).expect("within all limits");
        assert_eq!(facts.get("wasi"), Some(&Fact::from("preview1")));
        let versions = ["preview1", "preview2"].into_iter().collect();
        assert_eq!(facts.get("wasi.versions"), Some(&versions));
    }
}
