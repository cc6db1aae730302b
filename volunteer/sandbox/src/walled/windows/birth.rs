//! The start of a process with a token of its own, in a job object from its first instruction, and with no handle but
//! those that it is given.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::mem::{size_of, size_of_val};
use std::os::windows::ffi::OsStrExt;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle, RawHandle};
use std::ptr::{null, null_mut};

use windows_sys::Win32::Foundation::{HANDLE_FLAG_INHERIT, SetHandleInformation};
use windows_sys::Win32::System::Threading::{
    CREATE_NO_WINDOW, CREATE_UNICODE_ENVIRONMENT, CreateProcessAsUserW,
    DeleteProcThreadAttributeList, EXTENDED_STARTUPINFO_PRESENT, IDLE_PRIORITY_CLASS,
    InitializeProcThreadAttributeList, LPPROC_THREAD_ATTRIBUTE_LIST,
    PROC_THREAD_ATTRIBUTE_HANDLE_LIST, PROC_THREAD_ATTRIBUTE_JOB_LIST, PROCESS_INFORMATION,
    STARTF_USESTDHANDLES, STARTUPINFOEXW, STARTUPINFOW, UpdateProcThreadAttribute,
};

use super::job::Job;
use super::succeeded;
use crate::walled::WalledSpec;
use crate::walled::job_object::{command_line, in_plain_words};

/// A process that runs.
pub struct Born {
    pub process: OwnedHandle,
    pub id: u32,
}

/// A command line has fewer characters than this.
const MAX_COMMAND_LINE: usize = 32_767;

/// Starts `spec` with `token` in `job`; it writes to `output`, and reads nothing.
pub fn start(
    spec: &WalledSpec,
    token: &OwnedHandle,
    job: &Job,
    output: OwnedHandle,
) -> io::Result<Born> {
    let program = in_plain_words(text(spec.program.as_os_str())?);
    let work = in_plain_words(text(spec.work.as_os_str())?);
    let mut line = wide(OsStr::new(&command_line(program, &spec.arguments)))?;
    if line.len() > MAX_COMMAND_LINE {
        return Err(io::Error::other("the arguments and variables are too long for this system"));
    }
    let (program, work) = (wide(OsStr::new(program))?, wide(OsStr::new(work))?);
    let environment = environment()?;
    let input: OwnedHandle = File::open("NUL")?.into();
    // For as long as it takes; who is started meanwhile by others names the handles that it inherits, as this does.
    inheritable(&input)?;
    inheritable(&output)?;
    let handles = [input.as_raw_handle(), output.as_raw_handle()];
    let jobs = [job.as_raw()];
    let mut attributes = Attributes::new(2)?;
    attributes.set(PROC_THREAD_ATTRIBUTE_HANDLE_LIST, &handles)?;
    attributes.set(PROC_THREAD_ATTRIBUTE_JOB_LIST, &jobs)?;
    let startup = STARTUPINFOEXW {
        StartupInfo: STARTUPINFOW {
            cb: u32::try_from(size_of::<STARTUPINFOEXW>()).expect("some hundred bytes"),
            dwFlags: STARTF_USESTDHANDLES,
            hStdInput: input.as_raw_handle(),
            hStdOutput: output.as_raw_handle(),
            hStdError: output.as_raw_handle(),
            ..Default::default()
        },
        lpAttributeList: attributes.as_raw(),
    };
    let flags = EXTENDED_STARTUPINFO_PRESENT
        | CREATE_UNICODE_ENVIRONMENT
        | CREATE_NO_WINDOW
        | IDLE_PRIORITY_CLASS;
    let mut born = PROCESS_INFORMATION::default();
    #[expect(unsafe_code, reason = "no safe wrapper exists")]
    // SAFETY: all texts end with a zero, the environment with two; they, the handles and the attributes outlive the
    // call, and the line may be written to. The handles that come are nobody else's.
    unsafe {
        succeeded(CreateProcessAsUserW(
            token.as_raw_handle(),
            program.as_ptr(),
            line.as_mut_ptr(),
            null(),
            null(),
            1,
            flags,
            environment.as_ptr().cast(),
            work.as_ptr(),
            (&raw const startup).cast(),
            &raw mut born,
        ))?;
        drop(OwnedHandle::from_raw_handle(born.hThread));
        Ok(Born { process: OwnedHandle::from_raw_handle(born.hProcess), id: born.dwProcessId })
    }
}

/// The one variable without which the system's own libraries do not work.
fn environment() -> io::Result<Vec<u16>> {
    let mut block = Vec::new();
    if let Some(root) = std::env::var_os("SystemRoot") {
        let mut variable = std::ffi::OsString::from("SystemRoot=");
        variable.push(root);
        block = wide(&variable)?;
    }
    // Of an empty one as well, its end is two zeroes.
    block.extend([0, 0]);
    Ok(block)
}

fn inheritable(handle: &OwnedHandle) -> io::Result<()> {
    #[expect(unsafe_code, reason = "no safe wrapper exists")]
    // SAFETY: the handle is open.
    let answer = unsafe {
        SetHandleInformation(handle.as_raw_handle(), HANDLE_FLAG_INHERIT, HANDLE_FLAG_INHERIT)
    };
    succeeded(answer)
}

fn text(path: &OsStr) -> io::Result<&str> {
    path.to_str().ok_or_else(|| io::Error::other("a path is not Unicode"))
}

/// With a zero at its end, and none before.
fn wide(text: &OsStr) -> io::Result<Vec<u16>> {
    let mut wide: Vec<u16> = text.encode_wide().collect();
    if wide.contains(&0) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    wide.push(0);
    Ok(wide)
}

/// What a process is born with beside the usual.
struct Attributes {
    /// Aligned for pointers.
    list: Vec<u64>,
}

impl Attributes {
    fn new(count: u32) -> io::Result<Self> {
        let mut size = 0;
        #[expect(unsafe_code, reason = "no safe wrapper exists")]
        // SAFETY: without a list it tells the size of one, and fails by design.
        unsafe {
            InitializeProcThreadAttributeList(null_mut(), count, 0, &raw mut size);
        }
        let mut list = vec![0_u64; size.div_ceil(size_of::<u64>())];
        #[expect(unsafe_code, reason = "no safe wrapper exists")]
        // SAFETY: the list has the size that the system asked for.
        let answer = unsafe {
            let list = list.as_mut_ptr().cast();
            InitializeProcThreadAttributeList(list, count, 0, &raw mut size)
        };
        succeeded(answer)?;
        Ok(Self { list })
    }

    /// `value` has to stay until the process is born.
    fn set(&mut self, attribute: u32, value: &[RawHandle]) -> io::Result<()> {
        #[expect(unsafe_code, reason = "no safe wrapper exists")]
        // SAFETY: the list was initialized; the handles outlive it by this function's contract, and their size in
        // bytes is passed.
        let answer = unsafe {
            UpdateProcThreadAttribute(
                self.as_raw(),
                0,
                attribute as usize,
                value.as_ptr().cast(),
                size_of_val(value),
                null_mut(),
                null(),
            )
        };
        succeeded(answer)
    }

    fn as_raw(&mut self) -> LPPROC_THREAD_ATTRIBUTE_LIST {
        self.list.as_mut_ptr().cast()
    }
}

impl Drop for Attributes {
    fn drop(&mut self) {
        #[expect(unsafe_code, reason = "no safe wrapper exists")]
        // SAFETY: the list was initialized, and is used by nobody any more.
        unsafe {
            DeleteProcThreadAttributeList(self.as_raw());
        }
    }
}
