//! The facts that volunteers measure and those that offers have, by name and kind, so that a misspelt
//! one is found where it is written and not where it matches nobody.

use strsim::damerau_levenshtein;

/// What the value of a fact is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FactKind {
    /// A text that is one of few.
    Word,
    /// A text that names a version.
    Version,
    /// A number without a unit.
    Number,
    /// A number of bytes.
    Bytes,
    /// A number of seconds.
    Seconds,
    /// Yes or no.
    Flag,
    /// A set of words.
    Words,
    /// Whatever its owner or a project's check has made it.
    Any,
}

/// Facts that stand alone.
const FACTS: [(&str, FactKind); 32] = [
    ("arch", FactKind::Word),
    ("cpu.features", FactKind::Words),
    ("cpu.level", FactKind::Number),
    ("distribution", FactKind::Word),
    ("distribution.like", FactKind::Words),
    ("distribution.version", FactKind::Version),
    ("donated.cores", FactKind::Number),
    ("donated.disk", FactKind::Bytes),
    ("donated.memory", FactKind::Bytes),
    ("hours", FactKind::Word),
    ("hours.daily", FactKind::Number),
    ("image.engine", FactKind::Word),
    ("image.engine.version", FactKind::Version),
    ("image.pull", FactKind::Flag),
    ("kernel", FactKind::Version),
    ("label", FactKind::Word),
    ("labels", FactKind::Words),
    ("libc", FactKind::Word),
    ("libc.version", FactKind::Version),
    ("machine.cores", FactKind::Number),
    ("machine.memory", FactKind::Bytes),
    ("network", FactKind::Word),
    ("network.proxy", FactKind::Flag),
    ("os", FactKind::Word),
    ("os.family", FactKind::Word),
    ("sandbox.layers", FactKind::Words),
    ("wasi", FactKind::Word),
    ("wasi.versions", FactKind::Words),
    ("wasm.engine", FactKind::Word),
    ("wasm.engine.version", FactKind::Version),
    ("wasm.features", FactKind::Words),
    ("wasm.runner", FactKind::Version),
];

/// Facts of which there are many: what their names begin with.
const FAMILIES: [(&str, FactKind); 3] =
    [("check.", FactKind::Any), ("library.", FactKind::Version), ("tool.", FactKind::Version)];

/// The tools that every volunteer looks for, as facts `tool.<name>`. Owners may add others.
pub const TOOLS: [&str; 169] = [
    "7z",
    "aarch64-linux-gnu-gcc",
    "ant",
    "arm-linux-gnueabihf-gcc",
    "arm-none-eabi-gcc",
    "asciidoctor",
    "autoconf",
    "automake",
    "avr-gcc",
    "bash",
    "bats",
    "bazel",
    "bison",
    "black",
    "buildah",
    "bun",
    "bundle",
    "bwrap",
    "bzip2",
    "c++",
    "cargo",
    "cc",
    "ccache",
    "chromedriver",
    "chromium",
    "clang",
    "clang++",
    "clang-format",
    "clang-tidy",
    "cmake",
    "composer",
    "conan",
    "cpio",
    "cppcheck",
    "curl",
    "deno",
    "docker",
    "dot",
    "dotnet",
    "doxygen",
    "dpkg-deb",
    "dune",
    "elixir",
    "emcc",
    "erlc",
    "fakeroot",
    "firefox",
    "fish",
    "flake8",
    "flex",
    "fpc",
    "g++",
    "gawk",
    "gcc",
    "gcov",
    "gcovr",
    "gdb",
    "geckodriver",
    "gem",
    "gettext",
    "gfortran",
    "ghc",
    "git",
    "git-lfs",
    "gnatmake",
    "go",
    "google-chrome",
    "gperf",
    "gpg",
    "gradle",
    "groff",
    "guile",
    "gzip",
    "help2man",
    "hg",
    "java",
    "javac",
    "jq",
    "julia",
    "just",
    "latexmk",
    "lcov",
    "ld",
    "ld.lld",
    "libtoolize",
    "lldb",
    "ltrace",
    "lua",
    "luarocks",
    "m4",
    "make",
    "makeinfo",
    "meson",
    "mold",
    "mono",
    "musl-gcc",
    "mvn",
    "mypy",
    "nasm",
    "nim",
    "ninja",
    "node",
    "npm",
    "objdump",
    "ocamlc",
    "octave",
    "opam",
    "openssl",
    "pandoc",
    "patchelf",
    "pdflatex",
    "perf",
    "perl",
    "php",
    "pip3",
    "pkg-config",
    "pnpm",
    "podman",
    "poetry",
    "protoc",
    "prove",
    "pylint",
    "pytest",
    "python3",
    "qemu-aarch64-static",
    "qemu-system-aarch64",
    "qemu-system-x86_64",
    "qmake",
    "r",
    "riscv64-linux-gnu-gcc",
    "rpmbuild",
    "rr",
    "rsync",
    "ruby",
    "ruff",
    "runc",
    "runtest",
    "rustc",
    "rustfmt",
    "sbcl",
    "scons",
    "shellcheck",
    "shfmt",
    "sphinx-build",
    "sqlite3",
    "ssh",
    "strace",
    "svn",
    "swiftc",
    "swig",
    "tar",
    "tcc",
    "tclsh",
    "tox",
    "tsc",
    "unzip",
    "uv",
    "valac",
    "valgrind",
    "wine",
    "x86_64-w64-mingw32-gcc",
    "xmllint",
    "xz",
    "yarn",
    "yasm",
    "zig",
    "zip",
    "zsh",
    "zstd",
];

/// The libraries that every volunteer looks for, as facts `library.<name>`: most by the names of their
/// pkg-config modules.
pub const LIBRARIES: [&str; 27] = [
    "boost",
    "dbus-1",
    "expat",
    "fontconfig",
    "freetype2",
    "glib-2.0",
    "gmp",
    "gtk+-3.0",
    "gtk4",
    "icu-uc",
    "libcurl",
    "libffi",
    "libjpeg",
    "liblzma",
    "libpng",
    "libpq",
    "libuv",
    "libxml-2.0",
    "libzstd",
    "ncurses",
    "openssl",
    "readline",
    "sdl2",
    "sqlite3",
    "wayland-client",
    "x11",
    "zlib",
];

/// Facts of offers, of which volunteers' policies speak.
pub(crate) const OFFER_FACTS: [(&str, FactKind); 17] = [
    ("project", FactKind::Word),
    ("project-key", FactKind::Word),
    ("keywords", FactKind::Words),
    ("network", FactKind::Flag),
    ("name", FactKind::Word),
    ("builder", FactKind::Word),
    ("runtimes", FactKind::Words),
    ("needs", FactKind::Words),
    ("duration", FactKind::Seconds),
    ("cores", FactKind::Number),
    ("memory", FactKind::Bytes),
    ("disk", FactKind::Bytes),
    ("processes", FactKind::Number),
    ("package", FactKind::Bytes),
    ("tasks", FactKind::Number),
    ("replicas", FactKind::Number),
    ("others", FactKind::Number),
];

/// Features of processors, named as compilers do: `-C target-feature` of rustc, `-m` of GCC.
pub const CPU_FEATURES: [&str; 44] = [
    "adx",
    "aes",
    "asimd",
    "avx",
    "avx2",
    "avx512bf16",
    "avx512bitalg",
    "avx512bw",
    "avx512cd",
    "avx512dq",
    "avx512f",
    "avx512ifma",
    "avx512vbmi",
    "avx512vbmi2",
    "avx512vl",
    "avx512vnni",
    "avx512vpopcntdq",
    "bmi1",
    "bmi2",
    "bti",
    "crc",
    "dotprod",
    "f16c",
    "fma",
    "fp16",
    "fxsr",
    "gfni",
    "lse",
    "lzcnt",
    "movbe",
    "neon",
    "pclmulqdq",
    "popcnt",
    "rdrand",
    "rdseed",
    "sha",
    "sha2",
    "sha3",
    "sse4.1",
    "sse4.2",
    "ssse3",
    "sve",
    "vaes",
    "vpclmulqdq",
];

/// The kind of fact `name`, if volunteers of this version state such a fact.
pub fn fact_kind(name: &str) -> Option<FactKind> {
    let alone = FACTS.iter().find(|(known, _)| *known == name);
    let family = || {
        FAMILIES.iter().find(|(family, _)| name.len() > family.len() && name.starts_with(family))
    };
    alone.or_else(family).map(|(_, kind)| *kind)
}

/// The kind of the offers' fact `name`, if offers have such a fact.
pub fn offer_fact_kind(name: &str) -> Option<FactKind> {
    OFFER_FACTS.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind)
}

/// The known fact that `name` was probably meant to be.
pub fn nearest_fact(name: &str) -> Option<&'static str> {
    nearest(name, FACTS.iter().map(|(known, _)| *known))
}

/// The tool that `name`, which no volunteer looks for by itself, was probably meant to be.
///
/// Owners add tools of their own, so that only what differs by one slip from a word of five letters
/// or more is taken for one.
pub fn misspelt_tool(name: &str) -> Option<&'static str> {
    if TOOLS.contains(&name) || !(5..=64).contains(&name.len()) {
        return None;
    }
    TOOLS.into_iter().find(|known| damerau_levenshtein(name, known) == 1)
}

/// The word of `known` that `word` was probably meant to be.
pub(crate) fn nearest<'k>(word: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    // Distances grow with the product of the lengths; no known word is this long.
    if word.len() > 64 {
        return None;
    }
    let word = word.to_lowercase();
    // One slip in a short word, two in a long one; more is another word.
    let tolerated = if word.len() < 4 { 1 } else { 2 };
    known
        .map(|candidate| (damerau_levenshtein(&word, candidate), candidate))
        .filter(|(distance, _)| *distance <= tolerated)
        .min()
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_are_known_alone_or_by_their_family() {
        assert_eq!(fact_kind("os"), Some(FactKind::Word));
        assert_eq!(fact_kind("tool.gcc"), Some(FactKind::Version));
        assert_eq!(fact_kind("library.zlib"), Some(FactKind::Version));
        assert_eq!(fact_kind("donated.memory"), Some(FactKind::Bytes));
        assert_eq!(fact_kind("check.tree-sorter.gpu"), Some(FactKind::Any));
        for unknown in ["tool.", "tools.gcc", "oss", ""] {
            assert_eq!(fact_kind(unknown), None, "{unknown}");
        }
        assert_eq!(nearest_fact("kernal"), Some("kernel"));
        assert_eq!(nearest_fact("cpu.feature"), Some("cpu.features"));
        assert_eq!(nearest_fact("moon"), None);
    }

    #[test]
    fn a_slip_in_a_tools_name_is_told_from_a_tool_of_somebodys_own() {
        assert_eq!(misspelt_tool("cmkae"), Some("cmake"));
        assert_eq!(misspelt_tool("doxigenn"), None);
        assert_eq!(misspelt_tool("doxigen"), Some("doxygen"));
        for right in TOOLS {
            assert_eq!(misspelt_tool(right), None, "{right}");
        }
        for own in ["gdc", "frobnicate", "", &"x".repeat(10_000)] {
            assert_eq!(misspelt_tool(own), None, "{own}");
        }
    }

    #[test]
    fn the_words_stand_in_order_and_can_be_in_a_set() {
        assert!(CPU_FEATURES.is_sorted() && TOOLS.is_sorted() && LIBRARIES.is_sorted());
        let features: crate::Fact = CPU_FEATURES.into_iter().collect();
        features.check(&"cpu.features".parse().expect("a name")).expect("words");
    }
}
