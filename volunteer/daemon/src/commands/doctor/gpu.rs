//! The graphics processors of the machine, which the sandbox shows to nobody.
//!
//! Read from `/sys`: sysinfo would load the vendors' libraries into this program to say more.

use std::path::Path;

use serde::Serialize;

/// One of them, as the kernel describes it. A text may be empty.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Gpu {
    /// Who makes it.
    pub vendor: String,
    /// Numbers of vendor and model, as in `10de:2204`.
    pub model: String,
    /// The kernel's driver.
    pub driver: String,
}

/// Numbers of vendors on the PCI bus.
const VENDORS: [(&str, &str); 4] =
    [("1002", "AMD"), ("10de", "NVIDIA"), ("8086", "Intel"), ("1af4", "virtio")];

/// Those in the `directory` of the kernel's graphics devices.
pub fn outside(directory: &Path) -> Vec<Gpu> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    // Besides the cards there are their outputs, such as `card0-HDMI-A-1`.
    let is_card = |name: &str| {
        name.strip_prefix("card").is_some_and(|rest| rest.bytes().all(|it| it.is_ascii_digit()))
    };
    let cards = entries.filter(|entry| entry.file_name().to_str().is_some_and(is_card));
    let mut gpus: Vec<_> = cards.map(|card| gpu(&card.path().join("device"))).collect();
    gpus.sort();
    gpus
}

fn gpu(device: &Path) -> Gpu {
    let number = |name: &str| {
        let text = std::fs::read_to_string(device.join(name)).unwrap_or_default();
        text.trim().trim_start_matches("0x").to_owned()
    };
    let (vendor, model) = (number("vendor"), number("device"));
    let driver = std::fs::read_link(device.join("driver")).ok();
    let driver = driver.as_deref().and_then(Path::file_name).unwrap_or_default();
    let known = VENDORS.iter().find(|(number, _)| *number == vendor);
    Gpu {
        model: if vendor.is_empty() { String::new() } else { format!("{vendor}:{model}") },
        vendor: known.map_or_else(String::new, |(_, name)| (*name).to_owned()),
        driver: driver.to_string_lossy().into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cards_are_told_by_what_the_kernel_says_of_them() {
        let sys = tempfile::tempdir().expect("a directory");
        let device = |name: &str| {
            let device = sys.path().join(name).join("device");
            std::fs::create_dir_all(&device).expect("made");
            device
        };
        let nvidia = device("card1");
        std::fs::write(nvidia.join("vendor"), "0x10de\n").expect("written");
        std::fs::write(nvidia.join("device"), "0x2204\n").expect("written");
        #[cfg(unix)]
        std::os::unix::fs::symlink("/nowhere/nvidia", nvidia.join("driver")).expect("linked");
        device("card1-HDMI-A-1");
        device("renderD128");
        let [gpu] = outside(sys.path()).try_into().expect("one card");
        assert_eq!((gpu.vendor.as_str(), gpu.model.as_str()), ("NVIDIA", "10de:2204"));
        #[cfg(unix)]
        assert_eq!(gpu.driver, "nvidia");
        assert_eq!(outside(&sys.path().join("nowhere")), []);
    }
}
