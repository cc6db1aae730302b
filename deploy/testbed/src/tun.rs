//! A network interface whose packets a program reads and writes.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;

use anyhow::{Context, Result, bail};
use rustix::fs::OFlags;
use rustix::ioctl::{self, Opcode, Updater};

/// `TUNSETIFF` of `linux/if_tun.h`, the same on all architectures that we build for.
const SET_INTERFACE: Opcode = 0x4004_54ca;
/// `IFF_TUN | IFF_NO_PI`: bare IP packets, one each read and write.
const BARE_PACKETS: u16 = 0x1001;
/// `IFNAMSIZ`, with the zero at the end.
const NAME_BYTES: usize = 16;

/// `struct ifreq`, as far as this request reads it.
#[repr(C)]
struct Request {
    name: [u8; NAME_BYTES],
    flags: u16,
    rest: [u8; 22],
}

/// Makes the interface `name` in the calling thread's network namespace; it is gone when the file is
/// closed. Reads and writes do not block.
///
/// # Errors
/// If the name has over 15 bytes, or the kernel refuses: the module `tun` may be missing.
pub fn open(name: &str) -> Result<File> {
    let mut request = Request { name: [0; NAME_BYTES], flags: BARE_PACKETS, rest: [0; 22] };
    if name.len() >= NAME_BYTES {
        bail!("{name} is too long for an interface's name");
    }
    request.name[..name.len()].copy_from_slice(name.as_bytes());
    let mut options = OpenOptions::new();
    options.read(true).write(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed());
    let tun = options.open("/dev/net/tun").context("cannot open /dev/net/tun")?;
    #[expect(unsafe_code, reason = "no safe wrapper of this request exists")]
    // SAFETY: the request reads and writes a `struct ifreq`, which has the size and layout of `Request`.
    unsafe { ioctl::ioctl(&tun, Updater::<SET_INTERFACE, _>::new(&mut request)) }
        .with_context(|| format!("cannot make the interface {name}"))?;
    Ok(tun)
}
