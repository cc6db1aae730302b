//! Which features of WebAssembly a guest may use, tried out.
//!
//! For each there is a module that needs it and next to nothing else; the engine compiles it, or not.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};

use serde::Serialize;
use wasmtime::{Engine, Error, Module};

use crate::arguments::ENGINE_VERSION;
use crate::engine;

/// What the engine can do, as `--features` prints it in JSON.
#[derive(Debug, Serialize)]
pub struct Features {
    /// The runner's own version.
    runner: &'static str,
    engine: &'static str,
    version: &'static str,
    /// The same where what one runner has compiled can be run by another.
    compatibility: String,
    features: Vec<&'static str>,
}

impl Features {
    /// Tries them all.
    pub fn try_all() -> Result<Self, Error> {
        let engine = Engine::new(&engine::common_config())?;
        let works = |(_, module): &&(&str, &[u8])| compiles(&engine, module);
        Ok(Self {
            runner: env!("CARGO_PKG_VERSION"),
            engine: "wasmtime",
            version: ENGINE_VERSION,
            compatibility: compatibility(&engine),
            features: FEATURES.iter().filter(works).map(|(name, _)| *name).collect(),
        })
    }
}

impl fmt::Display for Features {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self).map_err(|_| fmt::Error)?)
    }
}

/// A digest of the engine's version and settings and of what it uses of the processor.
fn compatibility(engine: &Engine) -> String {
    let mut hasher = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

/// What each module begins with: the magic number and the version of the format.
const PREAMBLE: &[u8] = b"\0asm\x01\0\0\0";

fn compiles(engine: &Engine, sections: &[u8]) -> bool {
    Module::from_binary(engine, &[PREAMBLE, sections].concat()).is_ok()
}

/// By the names that LLVM has for them, and the sections of a module that needs them; the tests have
/// the text of each.
const FEATURES: [(&str, &[u8]); 16] = [
    ("atomics", b"\x01\x04\x01\x60\x00\x00\x03\x02\x01\x00\x05\x04\x01\x03\x01\x01\x0a\x0b\x01\x09\x00\x41\x00\xfe\x10\x02\x00\x1a\x0b"),
    ("bulk-memory", b"\x01\x04\x01\x60\x00\x00\x03\x02\x01\x00\x05\x03\x01\x00\x01\x0a\x0e\x01\x0c\x00\x41\x00\x41\x00\x41\x00\xfc\x0a\x00\x00\x0b"),
    ("exception-handling", b"\x01\x04\x01\x60\x00\x00\x03\x02\x01\x00\x0d\x03\x01\x00\x00\x0a\x06\x01\x04\x00\x08\x00\x0b"),
    ("extended-const", b"\x06\x09\x01\x7f\x00\x41\x01\x41\x01\x6a\x0b"),
    ("gc", b"\x01\x03\x01\x5f\x00"),
    ("memory64", b"\x05\x03\x01\x04\x01"),
    ("multimemory", b"\x05\x05\x02\x00\x01\x00\x01"),
    ("multivalue", b"\x01\x06\x01\x60\x00\x02\x7f\x7f\x03\x02\x01\x00\x0a\x08\x01\x06\x00\x41\x00\x41\x00\x0b"),
    ("mutable-globals", b"\x06\x06\x01\x7f\x01\x41\x00\x0b\x07\x05\x01\x01\x67\x03\x00"),
    ("nontrapping-fptoint", b"\x01\x04\x01\x60\x00\x00\x03\x02\x01\x00\x0a\x0c\x01\x0a\x00\x43\x00\x00\x00\x00\xfc\x00\x1a\x0b"),
    ("reference-types", b"\x01\x04\x01\x60\x00\x00\x03\x02\x01\x00\x0a\x07\x01\x05\x00\xd0\x70\x1a\x0b"),
    ("relaxed-simd", b"\x01\x04\x01\x60\x00\x00\x03\x02\x01\x00\x0a\x1a\x01\x18\x00\xfd\x0c\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xfd\x81\x02\x1a\x0b"),
    ("sign-ext", b"\x01\x04\x01\x60\x00\x00\x03\x02\x01\x00\x0a\x08\x01\x06\x00\x41\x00\xc0\x1a\x0b"),
    ("simd128", b"\x01\x04\x01\x60\x00\x00\x03\x02\x01\x00\x0a\x17\x01\x15\x00\xfd\x0c\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x1a\x0b"),
    ("tail-call", b"\x01\x04\x01\x60\x00\x00\x03\x02\x01\x00\x0a\x06\x01\x04\x00\x12\x00\x0b"),
    ("wide-arithmetic", b"\x01\x06\x01\x60\x00\x02\x7e\x7e\x03\x02\x01\x00\x0a\x0e\x01\x0c\x00\x42\x00\x42\x00\x42\x00\x42\x00\xfc\x13\x0b"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_modules_need_what_they_are_named_after() {
        let texts = [
            (
                "atomics",
                r#"(module (memory 1 1 shared) (func (drop (i32.atomic.load (i32.const 0)))))"#,
            ),
            (
                "bulk-memory",
                r#"(module (memory 1) (func (memory.copy (i32.const 0) (i32.const 0) (i32.const 0))))"#,
            ),
            ("exception-handling", r#"(module (tag) (func (throw 0)))"#),
            ("extended-const", r#"(module (global i32 (i32.add (i32.const 1) (i32.const 1))))"#),
            ("gc", r#"(module (type (struct)))"#),
            ("memory64", r#"(module (memory i64 1))"#),
            ("multimemory", r#"(module (memory 1) (memory 1))"#),
            ("multivalue", r#"(module (func (result i32 i32) (i32.const 0) (i32.const 0)))"#),
            ("mutable-globals", r#"(module (global (export "g") (mut i32) (i32.const 0)))"#),
            (
                "nontrapping-fptoint",
                r#"(module (func (drop (i32.trunc_sat_f32_s (f32.const 0)))))"#,
            ),
            ("reference-types", r#"(module (func (drop (ref.null func))))"#),
            (
                "relaxed-simd",
                r#"(module (func (drop (i32x4.relaxed_trunc_f32x4_s (v128.const i32x4 0 0 0 0)))))"#,
            ),
            ("sign-ext", r#"(module (func (drop (i32.extend8_s (i32.const 0)))))"#),
            ("simd128", r#"(module (func (drop (v128.const i32x4 0 0 0 0))))"#),
            ("tail-call", r#"(module (func (return_call 0)))"#),
            (
                "wide-arithmetic",
                r#"(module (func (result i64 i64) (i64.add128 (i64.const 0) (i64.const 0) (i64.const 0) (i64.const 0))))"#,
            ),
        ];
        for ((name, sections), (text_of, text)) in FEATURES.iter().zip(texts) {
            let module = wat::parse_str(text).expect(text);
            let hex: String = module.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!([PREAMBLE, sections].concat(), module, "{name} {hex}");
            assert_eq!(*name, text_of);
        }
    }

    #[test]
    fn what_the_engine_does_not_know_is_no_feature() {
        let engine = Engine::new(&engine::common_config()).expect("an engine");
        assert!(!compiles(&engine, b"\x0a\x01"));
        // Without shared memory modules of two runs compute the same.
        let features = Features::try_all().expect("an engine").features;
        assert!(features.contains(&"simd128") && features.is_sorted(), "{features:?}");
    }
}
