//! Whether the machine runs on its battery, as `/sys/class/power_supply` has it.

use std::path::Path;

use super::{entries, read};

/// Whether it does; `None` without a battery that feeds the machine.
pub fn is_used(sys: &Path) -> Option<bool> {
    let (mut there, mut drained, mut mains) = (false, false, false);
    for supply in entries(&sys.join("class/power_supply")) {
        let says = |name: &str, value: &str| read(&supply.join(name)).is_some_and(|it| it == value);
        if says("type", "Mains") {
            mains |= says("online", "1");
        } else if (says("type", "Battery") || says("type", "UPS")) && !says("scope", "Device") {
            there = true;
            drained |= says("status", "Discharging");
        }
    }
    there.then_some(drained && !mains)
}
