//! Machines and jobs as a public network might have them: made up, but from one seed the same each
//! time, and skewed as reality is. Whoever makes matching faster must not look here first.

use capability::{
    Capabilities, Clause, Fact, FactName, Facts, Platform, Preference, Requirements, Resource,
    Resources, Runtime, RuntimeFacts, Runtimes,
};
use fastrand::Rng;

/// Platforms, and how many of a thousand machines are of them.
const PLATFORMS: [(&str, &str, u32); 6] = [
    ("linux", "x86_64", 620),
    ("linux", "aarch64", 140),
    ("windows", "x86_64", 130),
    ("macos", "aarch64", 70),
    ("freebsd", "x86_64", 25),
    ("linux", "riscv64", 15),
];

const DISTRIBUTIONS: [(&str, &[&str], u32); 6] = [
    ("debian", &["11", "12", "13"], 350),
    ("ubuntu", &["20.04", "22.04", "24.04", "26.04"], 300),
    ("fedora", &["41", "42", "43"], 120),
    ("arch", &["2026.11.01"], 110),
    ("alpine", &["3.20", "3.21", "3.22"], 80),
    ("nixos", &["25.05", "25.11"], 40),
];

/// Tools: how many of a thousand machines have them, and the major versions from the rarest on.
const TOOLS: [(&str, u32, &[u64]); 24] = [
    ("bash", 930, &[4, 5]),
    ("cargo", 300, &[1]),
    ("ccache", 120, &[4]),
    ("clang", 380, &[11, 14, 16, 18, 19]),
    ("cmake", 520, &[3, 4]),
    ("g++", 700, &[9, 10, 11, 12, 13, 14, 15]),
    ("gcc", 720, &[9, 10, 11, 12, 13, 14, 15]),
    ("gdb", 300, &[12, 13, 15, 16]),
    ("git", 880, &[2]),
    ("go", 220, &[1]),
    ("java", 340, &[8, 11, 17, 21, 25]),
    ("make", 840, &[3, 4]),
    ("meson", 210, &[0, 1]),
    ("ninja", 330, &[1]),
    ("node", 360, &[16, 18, 20, 22, 24]),
    ("ocaml", 40, &[4, 5]),
    ("perl", 860, &[5]),
    ("pkg-config", 560, &[0, 1, 2]),
    ("python3", 900, &[3]),
    ("ruby", 180, &[2, 3]),
    ("rustc", 290, &[1]),
    ("swift", 30, &[5, 6]),
    ("valgrind", 160, &[3]),
    ("zig", 50, &[0]),
];

/// What compilers call the features that each level of x86-64 adds.
const LEVELS: [&[&str]; 3] = [
    &["popcnt", "sse4.1", "sse4.2", "ssse3"],
    &["avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "lzcnt", "movbe"],
    &["avx512bw", "avx512cd", "avx512dq", "avx512f", "avx512vl"],
];

/// A machine. No two have the same donations and tools, but for rare accidents.
pub fn machine(rng: &mut Rng) -> Capabilities {
    let (os, arch) =
        weighted(rng, PLATFORMS.iter().map(|(os, arch, share)| ((*os, *arch), *share)));
    let mut facts = Facts::new();
    state(&mut facts, "os", os);
    state(&mut facts, "arch", arch);
    let mut linux = |facts: &mut Facts| {
        let choice =
            DISTRIBUTIONS.iter().map(|(name, versions, share)| ((*name, *versions), *share));
        let (distribution, versions) = weighted(rng, choice);
        state(facts, "distribution", distribution);
        state(facts, "distribution.version", versions[rng.usize(..versions.len())]);
        state(facts, "libc", if distribution == "alpine" { "musl" } else { "gnu" });
        state(facts, "libc.version", version(rng, 2, 31..43));
        let kernel = 5 + rng.u64(..2);
        state(facts, "kernel", version(rng, kernel, 0..18));
    };
    if os == "linux" {
        linux(&mut facts);
    }
    let level = if arch == "x86_64" { [1, 2, 3, 3, 3, 4][rng.usize(..6)] } else { 0 };
    if level > 0 {
        state(&mut facts, "cpu.level", level);
        let features: Fact = LEVELS[..usize::try_from(level - 1).expect("small")]
            .iter()
            .copied()
            .flatten()
            .copied()
            .collect();
        state(&mut facts, "cpu.features", features);
    }
    for (tool, share, majors) in TOOLS {
        if rng.u32(..1000) < share {
            // The later ones more often.
            let major = majors[rng.usize(..majors.len()).max(rng.usize(..majors.len()))];
            state(&mut facts, &format!("tool.{tool}"), version(rng, major, 0..12));
        }
    }
    let cores = 1 << rng.u32(..6).min(rng.u32(..6));
    let memory = (u64::from(cores) << 30) * rng.u64(1..5) + (rng.u64(..64) << 24);
    let disk = rng.u64(2..500) << 30;
    let native = RuntimeFacts { strength: "namespaces+landlock+seccomp".into(), facts };
    let mut inside = Facts::new();
    state(&mut inside, "os", "wasi");
    state(&mut inside, "arch", "wasm32");
    let wasm = RuntimeFacts { strength: "wasm".into(), facts: inside };
    let mut runtimes = Runtimes::from([(Runtime::Wasm, wasm)]);
    if os == "linux" || rng.u32(..10) < 3 {
        runtimes.insert(Runtime::Native, native);
    }
    Capabilities {
        platform: Platform::new(os, arch).expect("words"),
        resources: Resources { cores, memory, disk },
        runtimes,
    }
}

/// A job: two bounds on donations, a range of versions and more, six clauses at least, with
/// alternatives or an exclusion in three of ten, and three preferences.
pub fn job(rng: &mut Rng) -> Requirements {
    let mut clauses = vec![
        donates(Resource::Cores, 1 << rng.u32(..4)),
        donates(Resource::Memory, rng.u64(1..9) << 29),
        donates(Resource::Disk, rng.u64(1..80) << 30),
    ];
    let (os, arch, _) = PLATFORMS[[0, 0, 0, 0, 0, 1, 1, 2, 3][rng.usize(..9)]];
    clauses.push(equals("os", os));
    if rng.u32(..10) < 7 {
        clauses.push(equals("arch", arch));
    }
    clauses.push(needs_tool(rng));
    if rng.u32(..10) < 5 {
        let tool = TOOLS[rng.usize(..TOOLS.len())].0;
        clauses.push(Clause::Present { fact: name(&format!("tool.{tool}")) });
    }
    match rng.u32(..10) {
        0 => clauses.push(Clause::Any(vec![needs_tool(rng), needs_tool(rng)])),
        1 => {
            let values = [DISTRIBUTIONS[rng.usize(..3)].0, DISTRIBUTIONS[rng.usize(3..6)].0];
            let values = values.map(Fact::from).to_vec();
            let wanted = Clause::OneOf { fact: name("distribution"), values };
            clauses.push(Clause::Any(vec![
                wanted,
                Clause::All(vec![needs_tool(rng), needs_tool(rng)]),
            ]));
        }
        2 => {
            let unwanted = equals("distribution", DISTRIBUTIONS[rng.usize(..6)].0);
            clauses.push(Clause::Not(Box::new(unwanted)));
        }
        3 => {
            let words = LEVELS[rng.usize(..2)].iter().map(|word| (*word).to_owned()).collect();
            clauses.push(Clause::Includes { fact: name("cpu.features"), words });
        }
        _ => {}
    }
    while clauses.len() < 6 {
        clauses.push(needs_tool(rng));
    }
    let rank = vec![
        Preference::Holds { weight: rng.u16(1..20), clause: needs_tool(rng) },
        Preference::Holds {
            weight: rng.u16(1..20),
            clause: donates(Resource::Memory, rng.u64(4..64) << 30),
        },
        Preference::More { weight: rng.u16(1..20), fact: name("cpu.level"), enough: 4 },
    ];
    Requirements { runtimes: vec![Runtime::Native], clauses, rank }
}

fn needs_tool(rng: &mut Rng) -> Clause {
    let (tool, _, majors) = TOOLS[rng.usize(..TOOLS.len()).min(rng.usize(..TOOLS.len()))];
    let (major, minor) = (majors[rng.usize(..majors.len())], rng.u64(..6));
    let range = match rng.u32(..3) {
        0 => format!(">={major}.{minor}"),
        1 => format!("^{major}"),
        _ => format!(">={major}, <{}", major + 3),
    };
    Clause::Version { fact: name(&format!("tool.{tool}")), range: range.parse().expect("a range") }
}

fn donates(resource: Resource, amount: u64) -> Clause {
    Clause::Donates { resource, amount }
}

fn equals(fact: &str, value: &str) -> Clause {
    Clause::Equals { fact: name(fact), value: value.into() }
}

fn version(rng: &mut Rng, major: u64, minors: std::ops::Range<u64>) -> String {
    format!("{major}.{}.{}", rng.u64(minors), rng.u64(..4))
}

fn state(facts: &mut Facts, name: &str, fact: impl Into<Fact>) {
    facts.insert(name, fact).expect("a sound fact");
}

fn name(name: &str) -> FactName {
    name.parse().expect("the name of a fact")
}

/// One of `choices`, each as often as its share of all shares says.
fn weighted<T: Copy>(rng: &mut Rng, choices: impl Iterator<Item = (T, u32)> + Clone) -> T {
    let all: u32 = choices.clone().map(|(_, share)| share).sum();
    let mut left = rng.u32(..all);
    let chosen = choices.into_iter().find(|(_, share)| {
        let is_it = left < *share;
        left = left.saturating_sub(*share);
        is_it
    });
    chosen.expect("the shares add up").0
}
