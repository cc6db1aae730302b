//! The label by which a work directory can be written to with a token of low integrity.

use std::fs;
use std::io;
use std::os::windows::ffi::OsStrExt;
use std::os::windows::fs::MetadataExt;
use std::path::Path;
use std::ptr::null_mut;

use windows_sys::Win32::Foundation::{ERROR_SUCCESS, LocalFree};
use windows_sys::Win32::Security::Authorization::{
    ConvertStringSecurityDescriptorToSecurityDescriptorW, SDDL_REVISION_1, SE_FILE_OBJECT,
    SetNamedSecurityInfoW,
};
use windows_sys::Win32::Security::{
    ACL, GetSecurityDescriptorSacl, LABEL_SECURITY_INFORMATION, PSECURITY_DESCRIPTOR,
};
use windows_sys::core::{BOOL, PCWSTR};

use super::succeeded;

/// Low, for who writes; what is made in a folder later is as the folder.
const FOLDER: PCWSTR = windows_sys::w!("S:(ML;OICI;NW;;;LW)");
const FILE: PCWSTR = windows_sys::w!("S:(ML;;NW;;;LW)");

/// Deeper nests stay as they are.
const MAX_DEPTH: usize = 128;

/// Labels `directory` and what is in it. Links, and what is behind them, are left alone.
pub fn as_low(directory: &Path) -> io::Result<()> {
    let folder = Label::parse(FOLDER)?;
    let file = Label::parse(FILE)?;
    folder.put_on(directory)?;
    let mut pending = vec![(directory.to_owned(), 1)];
    while let Some((directory, depth)) = pending.pop() {
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            if metadata.file_attributes() & REPARSE_POINT != 0 {
                continue;
            }
            if !metadata.is_dir() {
                file.put_on(&entry.path())?;
            } else if depth < MAX_DEPTH {
                folder.put_on(&entry.path())?;
                pending.push((entry.path(), depth + 1));
            }
        }
    }
    Ok(())
}

/// `FILE_ATTRIBUTE_REPARSE_POINT`: a link of any kind.
const REPARSE_POINT: u32 = 0x400;

/// A label, made by the system.
struct Label(PSECURITY_DESCRIPTOR);

impl Label {
    fn parse(text: PCWSTR) -> io::Result<Self> {
        let mut made: PSECURITY_DESCRIPTOR = null_mut();
        #[expect(unsafe_code, reason = "no safe wrapper exists")]
        // SAFETY: the text ends with a zero, and the pointer outlives the call.
        let answer = unsafe {
            ConvertStringSecurityDescriptorToSecurityDescriptorW(
                text,
                SDDL_REVISION_1,
                &raw mut made,
                null_mut(),
            )
        };
        succeeded(answer)?;
        Ok(Self(made))
    }

    fn put_on(&self, path: &Path) -> io::Result<()> {
        let name: Vec<u16> = path.as_os_str().encode_wide().chain([0]).collect();
        let (mut is_there, mut by_default): (BOOL, BOOL) = (0, 0);
        let mut list: *mut ACL = null_mut();
        #[expect(unsafe_code, reason = "no safe wrapper exists")]
        // SAFETY: the descriptor is the system's own and lives as long as this; the list lies in it; the name ends with
        // a zero. All of them outlive the calls.
        let error = unsafe {
            succeeded(GetSecurityDescriptorSacl(
                self.0,
                &raw mut is_there,
                &raw mut list,
                &raw mut by_default,
            ))?;
            SetNamedSecurityInfoW(
                name.as_ptr(),
                SE_FILE_OBJECT,
                LABEL_SECURITY_INFORMATION,
                null_mut(),
                null_mut(),
                null_mut(),
                list,
            )
        };
        if error == ERROR_SUCCESS {
            return Ok(());
        }
        Err(io::Error::from_raw_os_error(error.cast_signed()))
    }
}

impl Drop for Label {
    fn drop(&mut self) {
        #[expect(unsafe_code, reason = "no safe wrapper exists")]
        // SAFETY: the system has allocated it for us, and nobody has it any more.
        unsafe {
            LocalFree(self.0);
        }
    }
}
