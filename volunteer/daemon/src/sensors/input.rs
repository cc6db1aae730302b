//! When somebody used this machine by hand last, as far as a daemon without a display can tell.
//!
//! | what | how |
//! |---|---|
//! | terminals and consoles, also by ssh | the kernel notes when input was read from `/dev/tty*` and `/dev/pts/*`, to 8 s |
//! | keyboards and touchpads of the i8042 kind | interrupts in `/proc/interrupts` |
//! | USB keyboards and mice | requests to the device, `urbnum`, of which each input makes one |
//!
//! Not seen: Bluetooth, touchpads on I²C, and whoever works on the screen from afar. The devices
//! themselves would tell more, to whoever may read all that is typed; a daemon for strangers' jobs is
//! better not given that.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use capability::Timestamp;
use mesh_core::{Mono, Now};

use super::{Roots, entries, read};

/// Bytes of `/proc/interrupts`: a line for each source, with a number for each processor.
const MAX_INTERRUPTS: u64 = 4 << 20;

/// A human interface device of USB that is a keyboard or a mouse from the start.
const HID_CLASS: &str = "03";
const HID_PROTOCOLS: [&str; 2] = ["01", "02"];

/// Counters that input makes go up, and when they did so last.
#[derive(Debug, Default)]
pub struct Input {
    counters: BTreeMap<PathBuf, u64>,
    counted: Option<Mono>,
}

impl Input {
    /// Since when nobody has used it. `None` if there is nothing to go by.
    pub fn untouched(&mut self, roots: &Roots, now: Now) -> Option<Duration> {
        let counters = counters(roots);
        let known = |(path, count): (&PathBuf, &u64)| {
            self.counters.get(path).is_some_and(|before| before != count)
        };
        if counters.iter().any(known) {
            self.counted = Some(now.mono);
        }
        self.counters = counters;
        let counted = self.counted.map(|at| now.mono - at);
        let terminal = terminal(&roots.dev).map(|at| now.wall.since(at));
        counted.into_iter().chain(terminal).min()
    }
}

/// What there is to go by, for people.
pub fn sees(roots: &Roots) -> Option<String> {
    let (interrupts, usb) = (interrupts(&roots.proc).is_some(), !mice(&roots.sys).is_empty());
    let terminals = terminal(&roots.dev).is_some();
    let seen = [
        (terminals, "terminals"),
        (interrupts, "keyboard and touchpad (i8042)"),
        (usb, "keyboards and mice (USB)"),
    ];
    let seen: Vec<_> = seen.iter().filter(|(is, _)| *is).map(|(_, what)| *what).collect();
    match seen.as_slice() {
        [] => None,
        ["terminals"] => Some("terminals only, seeing no keyboard or mouse".to_owned()),
        seen => Some(seen.join(", ")),
    }
}

fn counters(roots: &Roots) -> BTreeMap<PathBuf, u64> {
    let mice = mice(&roots.sys).into_iter();
    let mice = mice.filter_map(|path| Some((path.clone(), read(&path)?.parse().ok()?)));
    let interrupts = interrupts(&roots.proc).map(|count| (roots.proc.join("interrupts"), count));
    mice.chain(interrupts).collect()
}

/// The counters of USB keyboards and mice.
fn mice(sys: &Path) -> Vec<PathBuf> {
    let devices = sys.join("bus/usb/devices");
    let mut found: Vec<_> = entries(&devices)
        .filter(|interface| {
            let says = |name: &str| read(&interface.join(name)).unwrap_or_default();
            interface.to_string_lossy().contains(':')
                && says("bInterfaceClass") == HID_CLASS
                && HID_PROTOCOLS.contains(&says("bInterfaceProtocol").as_str())
        })
        .filter_map(|interface| {
            let name = interface.file_name()?.to_str()?.split(':').next()?.to_owned();
            Some(devices.join(name).join("urbnum"))
        })
        .collect();
    found.sort_unstable();
    found.dedup();
    found
}

/// Interrupts of the controller of keyboards and touchpads; `None` where there is none.
fn interrupts(proc: &Path) -> Option<u64> {
    let mut text = String::new();
    let file = fs::File::open(proc.join("interrupts")).ok()?;
    file.take(MAX_INTERRUPTS).read_to_string(&mut text).ok()?;
    let lines = text.lines().filter(|line| line.ends_with("i8042"));
    let of_line = |line: &str| -> u64 {
        let counts = line.split_whitespace().skip(1).map_while(|count| count.parse::<u64>().ok());
        counts.sum()
    };
    lines.map(of_line).reduce(|one, other| one + other)
}

/// When input was read from a terminal last.
fn terminal(dev: &Path) -> Option<Timestamp> {
    let is_console = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let number = name.strip_prefix("tty").unwrap_or_default();
        // `tty0` is whichever is shown, and read by nobody.
        number != "0" && !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    };
    let is_terminal = |path: &PathBuf| path.file_name().is_some_and(|name| name != "ptmx");
    let consoles = entries(dev).filter(is_console);
    let all = consoles.chain(entries(&dev.join("pts")).filter(is_terminal));
    let accessed = all.filter_map(|path| fs::metadata(path).and_then(|it| it.accessed()).ok());
    let seconds = accessed.max()?.duration_since(UNIX_EPOCH).ok()?.as_secs();
    Some(Timestamp(seconds.saturating_mul(1000)))
}
