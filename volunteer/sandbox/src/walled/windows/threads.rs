//! Stopping a process thread by thread, which is the documented way.

use std::collections::BTreeMap;
use std::io;
use std::mem::size_of;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};

use windows_sys::Win32::Foundation::INVALID_HANDLE_VALUE;
use windows_sys::Win32::System::Diagnostics::ToolHelp::{
    CreateToolhelp32Snapshot, TH32CS_SNAPTHREAD, THREADENTRY32, Thread32First, Thread32Next,
};
use windows_sys::Win32::System::Threading::{
    OpenThread, ResumeThread, SuspendThread, THREAD_SUSPEND_RESUME,
};

use super::succeeded;

/// A thread that was not stopped yet may start others meanwhile; each look finds the rest. The runner has a handful.
const LOOKS: u32 = 16;

/// The threads of a process, which go on when this is dropped.
pub struct Stopped(BTreeMap<u32, OwnedHandle>);

impl Stopped {
    /// Stops all threads of `process`.
    ///
    /// # Errors
    /// If one of them cannot be stopped, or new ones come and come; then all go on.
    pub fn all_of(process: u32) -> io::Result<Self> {
        let mut stopped = Self(BTreeMap::new());
        for _ in 0..LOOKS {
            let all = threads_of(process)?;
            let others: Vec<u32> =
                all.into_iter().filter(|thread| !stopped.0.contains_key(thread)).collect();
            if others.is_empty() {
                return Ok(stopped);
            }
            for thread in others {
                stopped.stop(thread)?;
            }
        }
        Err(io::Error::other("its threads are too many to be stopped"))
    }

    fn stop(&mut self, id: u32) -> io::Result<()> {
        #[expect(unsafe_code, reason = "no safe wrapper exists")]
        // SAFETY: takes numbers; the handle that comes is nobody else's.
        let thread = unsafe {
            let handle = OpenThread(THREAD_SUSPEND_RESUME, 0, id);
            succeeded(i32::from(!handle.is_null()))?;
            OwnedHandle::from_raw_handle(handle)
        };
        #[expect(unsafe_code, reason = "no safe wrapper exists")]
        // SAFETY: the handle is open.
        let before = unsafe { SuspendThread(thread.as_raw_handle()) };
        if before == u32::MAX {
            return Err(io::Error::last_os_error());
        }
        self.0.insert(id, thread);
        Ok(())
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        for thread in self.0.values() {
            #[expect(unsafe_code, reason = "no safe wrapper exists")]
            // SAFETY: the handle is open. Fails only if the thread is over.
            unsafe {
                ResumeThread(thread.as_raw_handle());
            }
        }
    }
}

fn threads_of(process: u32) -> io::Result<Vec<u32>> {
    let mut entry = THREADENTRY32 {
        dwSize: u32::try_from(size_of::<THREADENTRY32>()).expect("some dozen bytes"),
        ..Default::default()
    };
    let mut found = Vec::new();
    #[expect(unsafe_code, reason = "no safe wrapper exists")]
    // SAFETY: the handle that comes is nobody else's and stays open meanwhile; the entry, which tells its size,
    // outlives the calls.
    unsafe {
        let handle = CreateToolhelp32Snapshot(TH32CS_SNAPTHREAD, 0);
        succeeded(i32::from(handle != INVALID_HANDLE_VALUE))?;
        let snapshot = OwnedHandle::from_raw_handle(handle);
        let mut more = Thread32First(snapshot.as_raw_handle(), &raw mut entry);
        while more != 0 {
            if entry.th32OwnerProcessID == process {
                found.push(entry.th32ThreadID);
            }
            more = Thread32Next(snapshot.as_raw_handle(), &raw mut entry);
        }
    }
    Ok(found)
}
