//! What the daemon can see of the use of its machine: thin readers, each of which says so when there is
//! nothing to read. What follows from it is the core's to decide.
//!
//! Only what the configuration asks for is read. Nothing here needs privileges, and nothing learns what
//! somebody types: only that there was input.

mod battery;
mod heat;
mod input;
mod processes;

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mesh_core::{Mono, Now};
use serde::{Deserialize, Serialize};
use volunteer_core::{GiveWay, Sample};

use self::input::Input;
use self::processes::Processes;

/// Between two walks over all processes: about 10 µs for each process.
const WALK_INTERVAL: Duration = Duration::from_secs(10);

/// Bytes of a file below `/sys`, or about one process, that are read.
const MAX_FILE: u64 = 4096;

/// When jobs give way, as the owner has written it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Yields {
    /// What the core goes by.
    pub preferences: GiveWay,
    /// Whether the battery counts.
    pub on_battery: bool,
    /// Programs that count while they run.
    pub programs: Vec<String>,
}

/// Where the kernel shows things; elsewhere in tests.
#[derive(Debug, Clone)]
struct Roots {
    dev: PathBuf,
    proc: PathBuf,
    sys: PathBuf,
}

/// A setting that needs a sensor, and whether there is one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SensorStatus {
    /// The setting.
    pub setting: String,
    /// What is looked at; nothing, if the setting is without effect here.
    pub sees: Option<String>,
}

/// Reads what `yields` asks for.
#[derive(Debug)]
pub struct Sensors {
    yields: Yields,
    roots: Roots,
    input: Input,
    processes: Processes,
    walked: Option<Mono>,
    /// What the last walk has found.
    load: Option<u8>,
    program: Option<String>,
}

impl Sensors {
    /// For this machine.
    pub fn new(yields: Yields) -> Self {
        Self::at(Roots { dev: "/dev".into(), proc: "/proc".into(), sys: "/sys".into() }, yields)
    }

    fn at(roots: Roots, yields: Yields) -> Self {
        let (load, program) = (None, None);
        let (input, processes) = (Input::default(), Processes::default());
        Self { yields, roots, input, processes, walked: None, load, program }
    }

    /// Whether there is anything to look at.
    pub fn are_wanted(&self) -> bool {
        let GiveWay { away_after, load, ceiling, .. } = &self.yields.preferences;
        let others = self.yields.on_battery || !self.yields.programs.is_empty();
        others || away_after.is_some() || load.is_some() || ceiling.is_some()
    }

    /// Reads all that is wanted. Takes some ten microseconds, and now and then a few milliseconds.
    pub fn sample(&mut self, now: Now) -> Sample {
        let GiveWay { away_after, load, ceiling, .. } = self.yields.preferences;
        let walks = load.is_some() || !self.yields.programs.is_empty();
        if walks && self.walked.is_none_or(|at| at + WALK_INTERVAL <= now.mono) {
            self.walked = Some(now.mono);
            let seen = self.processes.walk(&self.roots.proc, &self.yields.programs);
            (self.load, self.program) = (seen.load.filter(|_| load.is_some()), seen.program);
        }
        Sample {
            untouched: away_after.and_then(|_| self.input.untouched(&self.roots, now)),
            load: self.load,
            program: self.program.clone(),
            on_battery: self.yields.on_battery.then(|| battery::is_used(&self.roots.sys)).flatten(),
            heat: ceiling.and_then(|_| heat::hottest(&self.roots.sys)),
        }
    }

    /// What each setting that needs a sensor looks at.
    pub fn report(&self) -> Vec<SensorStatus> {
        let GiveWay { away_after, load, ceiling, .. } = self.yields.preferences;
        let Roots { sys, proc, .. } = &self.roots;
        let status = |setting: &str, sees: Option<String>| {
            Some(SensorStatus { setting: setting.to_owned(), sees })
        };
        let processes = || proc.join("stat").exists().then(|| "all processes".to_owned());
        let wanted = |is: bool, setting, sees: &dyn Fn() -> Option<String>| {
            is.then(|| status(setting, sees())).flatten()
        };
        let programs = !self.yields.programs.is_empty();
        [
            wanted(away_after.is_some(), "in-use.away-after", &|| input::sees(&self.roots)),
            wanted(load.is_some(), "in-use.load", &processes),
            wanted(programs, "in-use.programs", &processes),
            wanted(self.yields.on_battery, "pause-on-battery", &|| {
                battery::is_used(sys).map(|_| "the battery".to_owned())
            }),
            wanted(ceiling.is_some(), "max-temperature", &|| {
                heat::hottest(sys).map(|now| format!("the processor's sensors, now {now} °C"))
            }),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

impl SensorStatus {
    /// For people.
    pub fn line(&self) -> String {
        match &self.sees {
            Some(sees) => format!("{} looks at {sees}", self.setting),
            None => format!("{} has no effect: this machine has no sensor for it", self.setting),
        }
    }
}

/// What a small file says, without the white space around it.
fn read(path: &Path) -> Option<String> {
    let mut text = String::new();
    fs::File::open(path).ok()?.take(MAX_FILE).read_to_string(&mut text).ok()?;
    Some(text.trim().to_owned())
}

/// What is in a directory; nothing, if it is not there.
fn entries(directory: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path())
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use capability::Timestamp;

    use super::*;

    /// A machine of files.
    pub struct Machine {
        directory: tempfile::TempDir,
    }

    impl Machine {
        pub fn new(files: &[(&str, &str)]) -> Self {
            let machine = Self { directory: tempfile::tempdir().expect("a directory") };
            files.iter().for_each(|(path, text)| machine.set(path, text));
            machine
        }

        pub fn set(&self, path: &str, text: &str) {
            let path = self.directory.path().join(path);
            fs::create_dir_all(path.parent().expect("below")).expect("made");
            fs::write(path, text).expect("written");
        }

        fn sensors(&self, yields: Yields) -> Sensors {
            let at = |name: &str| self.directory.path().join(name);
            Sensors::at(Roots { dev: at("dev"), proc: at("proc"), sys: at("sys") }, yields)
        }
    }

    fn now(seconds: u64) -> Now {
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
        let wall = Timestamp(u64::try_from(wall.as_millis()).expect("in time"));
        Now { mono: Mono(Duration::from_secs(seconds)), wall }
    }

    fn on_battery() -> Yields {
        Yields { on_battery: true, ..Yields::default() }
    }

    #[test]
    fn a_laptop_without_its_plug_runs_on_its_battery() {
        let battery = "sys/class/power_supply/BAT0";
        let machine = Machine::new(&[
            (&format!("{battery}/type"), "Battery\n"),
            (&format!("{battery}/status"), "Discharging\n"),
            ("sys/class/power_supply/AC/type", "Mains\n"),
            ("sys/class/power_supply/AC/online", "0\n"),
        ]);
        let mut sensors = machine.sensors(on_battery());
        assert_eq!(sensors.sample(now(0)).on_battery, Some(true));
        machine.set("sys/class/power_supply/AC/online", "1\n");
        assert_eq!(sensors.sample(now(2)).on_battery, Some(false));
        assert_eq!(sensors.report()[0].line(), "pause-on-battery looks at the battery");
    }

    #[test]
    fn a_mouse_with_a_battery_makes_no_laptop() {
        let mouse = "sys/class/power_supply/hidpp_battery_0";
        let machine = Machine::new(&[
            (&format!("{mouse}/type"), "Battery\n"),
            (&format!("{mouse}/scope"), "Device\n"),
            (&format!("{mouse}/status"), "Discharging\n"),
        ]);
        let mut sensors = machine.sensors(on_battery());
        assert_eq!(sensors.sample(now(0)).on_battery, None);
        let line = sensors.report()[0].line();
        assert_eq!(line, "pause-on-battery has no effect: this machine has no sensor for it");
    }

    #[test]
    fn the_hottest_sensor_of_the_processor_counts_and_no_disk() {
        let preferences = GiveWay { ceiling: Some(80), ..GiveWay::default() };
        let yields = Yields { preferences, ..Yields::default() };
        let machine = Machine::new(&[
            ("sys/class/hwmon/hwmon0/name", "nvme\n"),
            ("sys/class/hwmon/hwmon0/temp1_input", "91000\n"),
            ("sys/class/thermal/thermal_zone0/temp", "40000\n"),
        ]);
        let mut sensors = machine.sensors(yields);
        assert_eq!(sensors.sample(now(0)).heat, Some(40), "the zones are there instead");
        machine.set("sys/class/hwmon/hwmon1/name", "coretemp\n");
        machine.set("sys/class/hwmon/hwmon1/temp1_input", "61000\n");
        machine.set("sys/class/hwmon/hwmon1/temp2_input", "72500\n");
        assert_eq!(sensors.sample(now(2)).heat, Some(72));
    }

    #[test]
    fn a_terminal_a_keyboard_or_a_mouse_that_is_used_counts_as_input() {
        let preferences =
            GiveWay { away_after: Some(Duration::from_secs(60)), ..GiveWay::default() };
        let yields = Yields { preferences, ..Yields::default() };
        let machine = Machine::new(&[
            ("dev/tty1", ""),
            ("proc/interrupts", "  CPU0 CPU1\n  1:  10  3  IO-APIC  1-edge  i8042\n 24: 5 5 x\n"),
            ("sys/bus/usb/devices/1-1/urbnum", "100\n"),
            ("sys/bus/usb/devices/1-1:1.0/bInterfaceClass", "03\n"),
            ("sys/bus/usb/devices/1-1:1.0/bInterfaceProtocol", "02\n"),
            ("sys/bus/usb/devices/1-2/urbnum", "7\n"),
        ]);
        let old = SystemTime::now() - Duration::from_secs(3600);
        let terminal = fs::File::open(machine.directory.path().join("dev/tty1")).expect("there");
        terminal.set_times(fs::FileTimes::new().set_accessed(old)).expect("set");
        let mut sensors = machine.sensors(yields);
        let minutes = |sample: Sample| sample.untouched.expect("seen").as_secs() / 60;
        assert_eq!(minutes(sensors.sample(now(0))), 60);
        machine.set("sys/bus/usb/devices/1-2/urbnum", "8\n");
        assert_eq!(minutes(sensors.sample(now(2))), 60, "a disk is no mouse");
        machine.set("sys/bus/usb/devices/1-1/urbnum", "101\n");
        assert_eq!(sensors.sample(now(4)).untouched, Some(Duration::ZERO));
        assert_eq!(sensors.sample(now(34)).untouched, Some(Duration::from_secs(30)));
        machine.set("proc/interrupts", "  CPU0 CPU1\n  1:  10  4  IO-APIC  1-edge  i8042\n");
        assert_eq!(sensors.sample(now(40)).untouched, Some(Duration::ZERO));
        let accessed = SystemTime::now() - Duration::from_secs(5);
        terminal.set_times(fs::FileTimes::new().set_accessed(accessed)).expect("set");
        let since = sensors.sample(now(100)).untouched.expect("seen");
        assert!((5..30).contains(&since.as_secs()), "{since:?}");
    }

    #[test]
    fn a_program_that_runs_is_seen_by_its_name_and_none_of_our_own() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().expect("started");
        let look = |name: &str| {
            let programs = vec![name.to_owned()];
            let mut sensors = Sensors::new(Yields { programs, ..Yields::default() });
            sensors.sample(now(0)).program
        };
        let own = look("sleep");
        let init = read(Path::new("/proc/1/comm")).expect("there is an init");
        assert_eq!(look(&init), Some(init), "seen");
        assert_eq!(look("no-such-program-runs-here"), None);
        child.kill().expect("it runs");
        child.wait().expect("it ended");
        // Somebody else may have a `sleep` of his own, so that only its absence says something.
        drop(own);
    }

    #[test]
    fn what_others_compute_is_load_and_what_our_own_do_is_not() {
        let me = std::process::id();
        let stat = |pid: u32, parent: u32, user: u64| {
            format!("{pid} (a (b) c) R {parent} 0 0 0 0 0 0 0 0 0 {user} 0 0 0 20 0 1 0 5 0 0")
        };
        let machine = Machine::new(&[
            ("proc/stat", "cpu  1000 0 0 1000 0 0 0 0 0 0\ncpu0 1 2\n"),
            (&format!("proc/{me}/stat"), &stat(me, 1, 100)),
            ("proc/4000000/stat", &stat(4_000_000, me, 100)),
            ("proc/4000001/stat", &stat(4_000_001, 1, 100)),
        ]);
        let preferences = GiveWay { load: Some(50), ..GiveWay::default() };
        let mut sensors = machine.sensors(Yields { preferences, ..Yields::default() });
        assert_eq!(sensors.sample(now(0)).load, None, "a rate needs two looks");
        // 800 of 1000 ticks were busy, of which a child of ours had 600.
        machine.set("proc/stat", "cpu  1800 0 0 1200 0 0 0 0 0 0\n");
        machine.set("proc/4000000/stat", &stat(4_000_000, me, 700));
        assert_eq!(sensors.sample(now(5)).load, None, "not before its time");
        assert_eq!(sensors.sample(now(10)).load, Some(20));
    }
}
