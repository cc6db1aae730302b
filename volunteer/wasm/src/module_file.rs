//! Reading the module, and refusing what need not be compiled to be refused.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::Path;

use crate::ending::Ending;

/// Bytes of a module, at most. Compiling takes time and memory in proportion: an honest module of
/// 30 MB takes 18 s and 670 MB.
pub const MODULE_LIMIT: u64 = 32 << 20;

/// Reads the module at `path`.
///
/// # Errors
///
/// [`Ending::Refused`] if it is not there, too large, or not a core module in binary format: the
/// job named and packed it. [`Ending::Failed`] if this machine cannot read it.
pub fn read(path: &Path) -> Result<Vec<u8>, Ending> {
    let bytes = read_bounded(path).map_err(|error| {
        let reason = format!("cannot read the module {}: {error}", path.display());
        match error.kind() {
            ErrorKind::NotFound
            | ErrorKind::PermissionDenied
            | ErrorKind::IsADirectory
            | ErrorKind::NotADirectory
            | ErrorKind::InvalidFilename => Ending::refused(reason),
            _ => Ending::failed(reason),
        }
    })?;
    if bytes.len() as u64 > MODULE_LIMIT {
        return Err(Ending::refused(format_args!(
            "the module is larger than {MODULE_LIMIT} bytes"
        )));
    }
    match bytes.first_chunk() {
        Some(b"\0asm\x01\0\0\0") => Ok(bytes),
        Some(b"\0asm\x0d\0\x01\0") => {
            Err(Ending::refused("a component; only core modules with WASI preview 1 can be run"))
        }
        _ => Err(Ending::refused("not a WebAssembly module in binary format")),
    }
}

/// One byte more than the limit tells a module that is too large from one that just fits.
fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MODULE_LIMIT + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
