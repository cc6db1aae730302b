//! How hot the processor is, as `/sys/class/hwmon` or `/sys/class/thermal` has it.

use std::path::{Path, PathBuf};

use super::{entries, read};

/// Drivers of sensors in processors. Disks and network cards are hotter by nature.
const OF_PROCESSORS: [&str; 6] =
    ["coretemp", "k10temp", "zenpower", "cpu_thermal", "soc_thermal", "scpi_sensors"];

/// Degrees Celsius, rounded down, of the hottest of its sensors; of all zones, if the processor has none
/// of its own. `None` without any.
pub fn hottest(sys: &Path) -> Option<i16> {
    let of_processor = |chip: &PathBuf| {
        read(&chip.join("name")).is_some_and(|name| OF_PROCESSORS.contains(&name.as_str()))
    };
    let chips = entries(&sys.join("class/hwmon")).filter(of_processor);
    let inputs = chips.flat_map(|chip| entries(&chip)).filter(|path| is_input(path));
    let zones = || entries(&sys.join("class/thermal")).map(|zone| zone.join("temp"));
    inputs.filter_map(|path| degrees(&path)).max().or_else(|| {
        let zones = zones().filter_map(|path| degrees(&path));
        zones.max()
    })
}

fn is_input(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.starts_with("temp") && name.ends_with("_input")
}

fn degrees(path: &Path) -> Option<i16> {
    let thousandths: i32 = read(path)?.parse().ok()?;
    i16::try_from(thousandths.div_euclid(1000)).ok()
}
