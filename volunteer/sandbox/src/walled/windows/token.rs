//! The token of a walled program: its user's, with fewer rights.

use std::io;
use std::mem::size_of;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::ptr::{null, null_mut};

use windows_sys::Win32::Foundation::HANDLE;
use windows_sys::Win32::Security::{
    CreateRestrictedToken, CreateWellKnownSid, DISABLE_MAX_PRIVILEGE, GetTokenInformation,
    IsWellKnownSid, PSID, SECURITY_MAX_SID_SIZE, SID_AND_ATTRIBUTES, SetTokenInformation,
    TOKEN_ADJUST_DEFAULT, TOKEN_ASSIGN_PRIMARY, TOKEN_DUPLICATE, TOKEN_MANDATORY_LABEL,
    TOKEN_QUERY, TOKEN_USER, TokenIntegrityLevel, TokenUser, WELL_KNOWN_SID_TYPE,
    WinBuiltinAdministratorsSid, WinLocalSystemSid, WinLowLabelSid,
};
use windows_sys::Win32::System::SystemServices::SE_GROUP_INTEGRITY;
use windows_sys::Win32::System::Threading::{GetCurrentProcess, OpenProcessToken};

use super::succeeded;

/// The daemon's own token without privileges, without what administrators may, and of low integrity: what is not
/// labelled low cannot be written to with it.
pub fn of_low_integrity() -> io::Result<OwnedHandle> {
    let own = own()?;
    if is_system(&own)? {
        return Err(io::Error::other(
            "nothing runs as the system itself; start the daemon as an ordinary user",
        ));
    }
    let token = restricted(&own)?;
    lower(&token)?;
    Ok(token)
}

fn own() -> io::Result<OwnedHandle> {
    let rights = TOKEN_DUPLICATE | TOKEN_QUERY | TOKEN_ASSIGN_PRIMARY | TOKEN_ADJUST_DEFAULT;
    let mut token: HANDLE = null_mut();
    #[expect(unsafe_code, reason = "no safe wrapper exists")]
    // SAFETY: the handle outlives the call, and what comes in it is nobody else's.
    unsafe {
        succeeded(OpenProcessToken(GetCurrentProcess(), rights, &raw mut token))?;
        Ok(OwnedHandle::from_raw_handle(token))
    }
}

/// Whose rights no token takes away: the system's own account.
fn is_system(token: &OwnedHandle) -> io::Result<bool> {
    // The structure, and behind it the identity that it points to; aligned for pointers.
    const WORDS: usize = (size_of::<TOKEN_USER>() + SECURITY_MAX_SID_SIZE as usize).div_ceil(8);
    let mut buffer = [0_u64; WORDS];
    let size = size_in_bytes(&buffer);
    let mut needed = 0;
    #[expect(unsafe_code, reason = "no safe wrapper exists")]
    // SAFETY: the buffer outlives the calls, is aligned for the structure, and its size is passed; the system has
    // written the structure if it succeeded, and what that points to lies in the buffer.
    unsafe {
        let start = buffer.as_mut_ptr();
        let handle = token.as_raw_handle();
        succeeded(GetTokenInformation(handle, TokenUser, start.cast(), size, &raw mut needed))?;
        let user = &*start.cast::<TOKEN_USER>();
        Ok(IsWellKnownSid(user.User.Sid, WinLocalSystemSid) != 0)
    }
}

fn restricted(own: &OwnedHandle) -> io::Result<OwnedHandle> {
    let mut administrators = Identity::well_known(WinBuiltinAdministratorsSid)?;
    let denied = SID_AND_ATTRIBUTES { Sid: administrators.as_raw(), Attributes: 0 };
    let mut token: HANDLE = null_mut();
    #[expect(unsafe_code, reason = "no safe wrapper exists")]
    // SAFETY: one identity is passed, which outlives the call, and no privileges and restrictions; what comes in the handle is nobody
    // else's.
    unsafe {
        succeeded(CreateRestrictedToken(
            own.as_raw_handle(),
            DISABLE_MAX_PRIVILEGE,
            1,
            &raw const denied,
            0,
            null(),
            0,
            null(),
            &raw mut token,
        ))?;
        Ok(OwnedHandle::from_raw_handle(token))
    }
}

fn lower(token: &OwnedHandle) -> io::Result<()> {
    let mut low = Identity::well_known(WinLowLabelSid)?;
    let attributes = SE_GROUP_INTEGRITY.cast_unsigned();
    let label = TOKEN_MANDATORY_LABEL {
        Label: SID_AND_ATTRIBUTES { Sid: low.as_raw(), Attributes: attributes },
    };
    let size = u32::try_from(size_of::<TOKEN_MANDATORY_LABEL>()).expect("some bytes") + low.length;
    #[expect(unsafe_code, reason = "no safe wrapper exists")]
    // SAFETY: the structure of that class, and the identity that it points to, outlive the call.
    let answer = unsafe {
        let handle = token.as_raw_handle();
        SetTokenInformation(handle, TokenIntegrityLevel, (&raw const label).cast(), size)
    };
    succeeded(answer)
}

/// A user, a group or a label.
struct Identity {
    /// Aligned for what is in it.
    buffer: [u64; (SECURITY_MAX_SID_SIZE as usize).div_ceil(8)],
    length: u32,
}

impl Identity {
    fn well_known(kind: WELL_KNOWN_SID_TYPE) -> io::Result<Self> {
        let mut it = Self { buffer: Default::default(), length: 0 };
        it.length = size_in_bytes(&it.buffer);
        #[expect(unsafe_code, reason = "no safe wrapper exists")]
        // SAFETY: the buffer and its size outlive the call.
        let answer = unsafe {
            CreateWellKnownSid(kind, null_mut(), it.buffer.as_mut_ptr().cast(), &raw mut it.length)
        };
        succeeded(answer)?;
        Ok(it)
    }

    fn as_raw(&mut self) -> PSID {
        self.buffer.as_mut_ptr().cast()
    }
}

fn size_in_bytes(buffer: &[u64]) -> u32 {
    u32::try_from(size_of_val(buffer)).expect("some dozen bytes")
}
