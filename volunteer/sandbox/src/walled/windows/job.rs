//! A job object.

use std::io;
use std::mem::size_of;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle, RawHandle};
use std::ptr::{null, null_mut};

use windows_sys::Win32::System::JobObjects::{
    CreateJobObjectW, IsProcessInJob, JOB_OBJECT_LIMIT_ACTIVE_PROCESS,
    JOB_OBJECT_LIMIT_DIE_ON_UNHANDLED_EXCEPTION, JOB_OBJECT_LIMIT_JOB_MEMORY,
    JOB_OBJECT_LIMIT_JOB_TIME, JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE, JOB_OBJECT_LIMIT_PRIORITY_CLASS,
    JOB_OBJECT_LIMIT_PROCESS_MEMORY, JOB_OBJECT_UILIMIT_DESKTOP,
    JOB_OBJECT_UILIMIT_DISPLAYSETTINGS, JOB_OBJECT_UILIMIT_EXITWINDOWS,
    JOB_OBJECT_UILIMIT_GLOBALATOMS, JOB_OBJECT_UILIMIT_HANDLES, JOB_OBJECT_UILIMIT_READCLIPBOARD,
    JOB_OBJECT_UILIMIT_SYSTEMPARAMETERS, JOB_OBJECT_UILIMIT_WRITECLIPBOARD,
    JOBOBJECT_BASIC_ACCOUNTING_INFORMATION, JOBOBJECT_BASIC_LIMIT_INFORMATION,
    JOBOBJECT_BASIC_UI_RESTRICTIONS, JOBOBJECT_EXTENDED_LIMIT_INFORMATION, JOBOBJECTINFOCLASS,
    JobObjectBasicAccountingInformation, JobObjectBasicUIRestrictions,
    JobObjectExtendedLimitInformation, QueryInformationJobObject, SetInformationJobObject,
    TerminateJobObject,
};
use windows_sys::Win32::System::Threading::{GetCurrentProcess, IDLE_PRIORITY_CLASS};

use super::succeeded;
use crate::walled::Usage;
use crate::walled::job_object::{JobLimits, processor_time};

/// A job object, whose processes end when this is dropped.
pub struct Job(OwnedHandle);

/// What the object as a whole holds its processes to.
const LIMITS: u32 = JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE
    | JOB_OBJECT_LIMIT_JOB_MEMORY
    | JOB_OBJECT_LIMIT_PROCESS_MEMORY
    | JOB_OBJECT_LIMIT_JOB_TIME
    | JOB_OBJECT_LIMIT_ACTIVE_PROCESS
    | JOB_OBJECT_LIMIT_PRIORITY_CLASS
    // Or a window would ask somebody what to do about it.
    | JOB_OBJECT_LIMIT_DIE_ON_UNHANDLED_EXCEPTION;

/// Windows, the clipboard and settings of whoever sits there.
const NO_INTERFACE: u32 = JOB_OBJECT_UILIMIT_DESKTOP
    | JOB_OBJECT_UILIMIT_DISPLAYSETTINGS
    | JOB_OBJECT_UILIMIT_EXITWINDOWS
    | JOB_OBJECT_UILIMIT_GLOBALATOMS
    | JOB_OBJECT_UILIMIT_HANDLES
    | JOB_OBJECT_UILIMIT_READCLIPBOARD
    | JOB_OBJECT_UILIMIT_SYSTEMPARAMETERS
    | JOB_OBJECT_UILIMIT_WRITECLIPBOARD;

/// Whether this program is in a job object, as what the Task Scheduler starts is. What it starts is then in that too,
/// and none of several can have restrictions of this kind.
fn is_in_a_job() -> io::Result<bool> {
    let mut answer = 0;
    #[expect(unsafe_code, reason = "no safe wrapper exists")]
    // SAFETY: this process, any job object, and a truth value that outlives the call.
    succeeded(unsafe { IsProcessInJob(GetCurrentProcess(), null_mut(), &raw mut answer) })?;
    Ok(answer != 0)
}

impl Job {
    /// One without a name and with `limits`, whose processes run when nobody else wants to.
    pub fn new(limits: JobLimits) -> io::Result<Self> {
        #[expect(unsafe_code, reason = "no safe wrapper exists")]
        // SAFETY: neither attributes nor a name are given; the handle that comes is nobody else's.
        let job = unsafe {
            let handle = CreateJobObjectW(null(), null());
            succeeded(i32::from(!handle.is_null()))?;
            Self(OwnedHandle::from_raw_handle(handle))
        };
        let basic = JOBOBJECT_BASIC_LIMIT_INFORMATION {
            PerJobUserTimeLimit: limits.user_time,
            LimitFlags: LIMITS,
            ActiveProcessLimit: limits.processes,
            PriorityClass: IDLE_PRIORITY_CLASS,
            ..Default::default()
        };
        let extended = JOBOBJECT_EXTENDED_LIMIT_INFORMATION {
            BasicLimitInformation: basic,
            ProcessMemoryLimit: limits.memory,
            JobMemoryLimit: limits.memory,
            ..Default::default()
        };
        job.set(JobObjectExtendedLimitInformation, &extended)?;
        if !is_in_a_job()? {
            let interface = JOBOBJECT_BASIC_UI_RESTRICTIONS { UIRestrictionsClass: NO_INTERFACE };
            job.set(JobObjectBasicUIRestrictions, &interface)?;
        }
        Ok(job)
    }

    /// For the birth of a process.
    pub fn as_raw(&self) -> RawHandle {
        self.0.as_raw_handle()
    }

    /// Ends all that is in it, if anything is.
    pub fn terminate(&self) {
        #[expect(unsafe_code, reason = "no safe wrapper exists")]
        // SAFETY: the handle is open. Fails only if there is nothing to end.
        unsafe {
            TerminateJobObject(self.0.as_raw_handle(), 1);
        }
    }

    /// What its processes have used.
    pub fn usage(&self) -> io::Result<Usage> {
        let mut times = JOBOBJECT_BASIC_ACCOUNTING_INFORMATION::default();
        self.ask(JobObjectBasicAccountingInformation, &mut times)?;
        let mut memory = JOBOBJECT_EXTENDED_LIMIT_INFORMATION::default();
        self.ask(JobObjectExtendedLimitInformation, &mut memory)?;
        let cpu = processor_time(times.TotalUserTime, times.TotalKernelTime);
        Ok(Usage { cpu, memory_peak: memory.PeakJobMemoryUsed as u64 })
    }

    fn set<T>(&self, class: JOBOBJECTINFOCLASS, value: &T) -> io::Result<()> {
        let size = u32::try_from(size_of::<T>()).expect("some hundred bytes");
        #[expect(unsafe_code, reason = "no safe wrapper exists")]
        // SAFETY: the callers pass the structure of the class; it outlives the call, and its size is passed.
        let answer = unsafe {
            let value = std::ptr::from_ref(value).cast();
            SetInformationJobObject(self.0.as_raw_handle(), class, value, size)
        };
        succeeded(answer)
    }

    fn ask<T>(&self, class: JOBOBJECTINFOCLASS, value: &mut T) -> io::Result<()> {
        let size = u32::try_from(size_of::<T>()).expect("some hundred bytes");
        #[expect(unsafe_code, reason = "no safe wrapper exists")]
        // SAFETY: the callers pass the structure of the class, plain data; it outlives the call, and its size is passed.
        let answer = unsafe {
            let value = std::ptr::from_mut(value).cast();
            QueryInformationJobObject(self.0.as_raw_handle(), class, value, size, null_mut())
        };
        succeeded(answer)
    }
}
