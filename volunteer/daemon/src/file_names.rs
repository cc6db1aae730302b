//! Names of files, which are bytes in an archive and whatever the system takes on a disk.

use std::ffi::OsStr;

/// `name` as the system has it, directories and all; none if a file there cannot have it.
#[cfg(unix)]
pub fn from_bytes(name: &[u8]) -> Option<&OsStr> {
    Some(std::os::unix::ffi::OsStrExt::from_bytes(name))
}

/// Windows takes Unicode, apart from what means something else to it: another separator, a drive or a second content of a
/// file, patterns, and names of devices, whatever follows a full stop in them. It drops full stops and spaces at the end.
#[cfg(windows)]
pub fn from_bytes(name: &[u8]) -> Option<&OsStr> {
    let name = str::from_utf8(name).ok()?;
    name.split('/').all(windows::is_plain).then(|| OsStr::new(name))
}

#[cfg(any(windows, test))]
mod windows {
    /// What Windows' own documentation lists, and the two consoles that it does not.
    const DEVICES: [&str; 6] = ["aux", "con", "conin$", "conout$", "nul", "prn"];

    /// Whether one part of a path names what it spells.
    pub fn is_plain(part: &str) -> bool {
        let is_odd = |letter: char| letter.is_control() || r#"\:*?"<>|"#.contains(letter);
        // `.` and `..` are judged by whoever asks.
        let is_dots = matches!(part, "." | "..");
        !part.contains(is_odd) && (is_dots || !part.ends_with(['.', ' '])) && !is_device(part)
    }

    fn is_device(part: &str) -> bool {
        let stem = part.split('.').next().unwrap_or_default().trim_end().to_lowercase();
        let is_port = |kind: &str| {
            let number = stem.strip_prefix(kind).unwrap_or_default();
            number.chars().count() == 1 && number.contains(|it: char| "0123456789¹²³".contains(it))
        };
        DEVICES.contains(&stem.as_str()) || is_port("com") || is_port("lpt")
    }
}

#[cfg(test)]
mod tests {
    use super::windows::is_plain;

    #[test]
    fn what_means_something_else_to_windows_names_no_file_there() {
        for honest in ["", ".", "..", "a", ".config", "a.b.c", "com", "com10", "null", "ä ö.txt"]
        {
            assert!(is_plain(honest), "{honest:?}");
        }
        let odd = ["a\\b", "C:", "a:stream", "*", "a?", "a|b", "tab\t", "end.", "end ", "..."];
        let devices = ["nul", "NUL.txt", "con", "Com1", "com1.a.b", "lpt¹", "aux .c", "CONOUT$"];
        for wrong in odd.iter().chain(&devices) {
            assert!(!is_plain(wrong), "{wrong:?}");
        }
    }
}
