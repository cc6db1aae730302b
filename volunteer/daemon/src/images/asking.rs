//! A question to a program of the owner's, which may hang, write without an end, or leave processes behind.
//!
//! It runs with the rights and the environment of the daemon, which is what its owner gave it, in a process group of its
//! own. One thread reads what it writes and looks at the time; whoever holds the job may pause and end it.

use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use mesh_shell::escape_line;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, WaitIdStatus, kill_process_group, waitid,
};

use super::{Hold, ImageError};
use crate::runtimes::Control;

/// Between two looks at whether the job goes on.
const LOOK: Duration = Duration::from_millis(100);

/// Between two looks at whether it is over, once it has answered.
const LAST_LOOK: Duration = Duration::from_millis(10);

/// Bytes of what it says on standard error: the end of it, where programs say what went wrong.
const SAID: usize = 4 << 10;

/// Characters of that for people.
const SHOWN: usize = 240;

/// What a question may take.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Time in which its program answers, without that in which the job is paused.
    pub wall: Duration,
    /// Bytes of the answer.
    pub bytes: u64,
}

/// A program that was asked and answers. Reading reads its standard output. Dropping it ends it.
pub struct Asked<'a> {
    name: String,
    hold: &'a Hold<'a>,
    child: Child,
    group: Arc<Mutex<Group>>,
    output: ChildStdout,
    /// Until it is closed.
    complaints: Option<ChildStderr>,
    said: Vec<u8>,
    bounds: Bounds,
    left: Bounds,
    /// Whether its answer was read to the end.
    is_read: bool,
    /// Why there is no use in reading on.
    failure: Option<ImageError>,
}

impl<'a> Asked<'a> {
    /// Asks `command`.
    pub fn start(
        mut command: Command,
        bounds: Bounds,
        hold: &'a Hold<'a>,
    ) -> Result<Self, ImageError> {
        let name = command.get_program().to_string_lossy().into_owned();
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.current_dir("/").process_group(0).spawn().map_err(|error| {
            ImageError::Machine(match error.kind() {
                io::ErrorKind::NotFound => format!("there is no program {name} here"),
                _ => format!("cannot start {name}: {error}"),
            })
        })?;
        let output = child.stdout.take().expect("it is piped");
        let complaints = child.stderr.take();
        let group =
            Arc::new(Mutex::new(Group(i32::try_from(child.id()).ok().and_then(Pid::from_raw))));
        (hold.take)(Box::new(Held(Arc::clone(&group))));
        let (said, is_read, failure) = (Vec::new(), false, None);
        Ok(Self {
            name,
            hold,
            child,
            group,
            output,
            complaints,
            said,
            is_read,
            bounds,
            left: bounds,
            failure,
        })
    }

    /// All that it answers, if it ends well.
    pub fn answer(mut self) -> Result<Vec<u8>, ImageError> {
        let mut answer = Vec::new();
        // What goes wrong is kept for the end.
        let _ = self.read_to_end(&mut answer);
        self.end()?;
        Ok(answer)
    }

    /// Whether it has nothing more to say: its answer is over, or was cut off.
    pub fn is_over(&self) -> bool {
        self.is_read || self.failure.is_some()
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// If it did not end well, or within its bounds.
    pub fn end(mut self) -> Result<(), ImageError> {
        loop {
            if let Some(failure) = self.failure.take() {
                return Err(failure);
            }
            let id = WaitId::Pid(Pid::from_child(&self.child));
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
            match waitid(id, options) {
                Ok(None) => drop(self.listen(false)),
                Ok(Some(status)) => return self.judge(&status),
                Err(error) => return Err(self.machine(&format!("cannot be waited for: {error}"))),
            }
        }
    }

    fn judge(&mut self, status: &WaitIdStatus) -> Result<(), ImageError> {
        if status.exit_status() == Some(0) {
            return Ok(());
        }
        if !(self.hold.goes_on)() {
            return Err(ImageError::Stopped);
        }
        // What it said last may still be in the pipe.
        self.listen(false);
        let said = String::from_utf8_lossy(&self.said);
        let last = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("nothing");
        let last: String = escape_line(last.trim()).chars().take(SHOWN).collect();
        Err(self.machine(&format!("says: {last}")))
    }

    /// Waits for some of its answer if that is `awaited`, else for a while; hears what it complains of, and looks at the
    /// time. Says whether there is something to read.
    fn listen(&mut self, awaited: bool) -> bool {
        if !(self.hold.goes_on)() {
            self.fail(ImageError::Stopped);
            return false;
        }
        let (begun, look) = (Instant::now(), if awaited { LOOK } else { LAST_LOOK });
        let (answers, complains) = self.poll(awaited, look);
        if complains {
            self.hear();
        }
        match self.left.wall.checked_sub(begun.elapsed()) {
            Some(left) => self.left.wall = left,
            None => {
                let why = format!("has not answered within {:?}", self.bounds.wall);
                self.fail(self.machine(&why));
            }
        }
        answers
    }

    /// Waits for `look` at most; says whether there is an answer to read, if that is awaited, and a complaint. A closed end
    /// counts as both.
    fn poll(&self, awaited: bool, look: Duration) -> (bool, bool) {
        let mut ends = Vec::new();
        ends.extend(awaited.then(|| PollFd::new(&self.output, PollFlags::IN)));
        ends.extend(self.complaints.as_ref().map(|it| PollFd::new(it, PollFlags::IN)));
        let look = Timespec { tv_sec: 0, tv_nsec: look.subsec_nanos().into() };
        // One that is interrupted is tried again.
        let _ = poll(&mut ends, Some(&look));
        let mut ready = ends.iter().map(|end| !end.revents().is_empty());
        let answers = awaited && ready.next().unwrap_or_default();
        (answers, ready.next().unwrap_or_default())
    }

    fn hear(&mut self) {
        let mut piece = [0; SAID];
        let Some(complaints) = &mut self.complaints else { return };
        match complaints.read(&mut piece) {
            Ok(0) | Err(_) => self.complaints = None,
            Ok(length) => {
                self.said.extend_from_slice(&piece[..length]);
                let surplus = self.said.len().saturating_sub(SAID);
                self.said.drain(..surplus);
            }
        }
    }

    fn fail(&mut self, failure: ImageError) {
        self.failure.get_or_insert(failure);
        lock(&self.group).signal(Signal::KILL);
    }

    fn machine(&self, why: &str) -> ImageError {
        ImageError::Machine(format!("{} {why}", self.name))
    }
}

impl Read for Asked<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.failure.is_none() {
            if !self.listen(true) {
                continue;
            }
            let length = self.output.read(buffer)?;
            self.is_read |= length == 0 && !buffer.is_empty();
            match self.left.bytes.checked_sub(length as u64) {
                Some(left) => {
                    self.left.bytes = left;
                    return Ok(length);
                }
                None => {
                    let why = format!("answers with more than {} bytes", self.bounds.bytes);
                    self.fail(self.machine(&why));
                }
            }
        }
        Err(io::Error::other("the answer was cut off"))
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        // With all that it has started, while its own id cannot be anybody else's.
        let mut group = lock(&self.group);
        group.signal(Signal::KILL);
        let _ = self.child.wait();
        group.0 = None;
    }
}

/// The process group of a question, until its first process was waited for.
struct Group(Option<Pid>);

impl Group {
    fn signal(&self, signal: Signal) {
        // It fails only if all of it is over.
        let _ = self.0.map(|group| kill_process_group(group, signal));
    }
}

struct Held(Arc<Mutex<Group>>);

impl Control for Held {
    fn kill(&self) {
        lock(&self.0).signal(Signal::KILL);
    }

    fn pause(&self) {
        lock(&self.0).signal(Signal::STOP);
    }

    fn resume(&self) {
        lock(&self.0).signal(Signal::CONT);
    }
}

fn lock(group: &Mutex<Group>) -> MutexGuard<'_, Group> {
    // Each holder leaves it whole.
    group.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { wall: Duration::from_secs(60), bytes: 1 << 10 };

    fn ask(script: &str, bounds: Bounds, goes_on: bool) -> Result<Vec<u8>, ImageError> {
        let mut shell = Command::new("sh");
        shell.args(["-c", script]);
        let hold = Hold { goes_on: &|| goes_on, take: &|_| () };
        Asked::start(shell, bounds, &hold)?.answer()
    }

    #[track_caller]
    fn fails(script: &str, bounds: Bounds, expected: &str) {
        let error = ask(script, bounds, true).expect_err(script);
        assert!(matches!(error, ImageError::Machine(_)), "{error:?}");
        assert!(error.to_string().contains(expected), "{error}");
    }

    #[test]
    fn an_answer_comes_whole_and_complaints_are_no_part_of_it() {
        let script = "head -c 100000 /dev/zero >&2; echo out; echo warning >&2";
        assert_eq!(ask(script, BOUNDS, true).expect("sound"), b"out\n");
    }

    #[test]
    fn what_goes_wrong_is_told_by_the_last_words_without_their_escapes() {
        fails(
            "echo first >&2; printf 'no such\\033[2J image\\n\\n' >&2; exit 3",
            BOUNDS,
            "sh says: no such",
        );
        let error = ask("printf '\\033[2J' >&2; exit 1", BOUNDS, true).expect_err("it fails");
        assert!(!error.to_string().contains('\u{1b}'), "{error}");
        let mut nothing = Command::new("/no/such/program");
        nothing.arg("x");
        let hold = Hold { goes_on: &|| true, take: &|_| () };
        let error = Asked::start(nothing, BOUNDS, &hold).map(drop).expect_err("none");
        assert_eq!(error.to_string(), "there is no program /no/such/program here");
    }

    #[test]
    fn who_hangs_or_writes_without_an_end_is_ended_with_what_he_has_started() {
        let short = Bounds { wall: Duration::from_millis(200), ..BOUNDS };
        for script in ["sleep 600", "exec >&-; sleep 600", "sleep 600 & wait", "echo a; sleep 600"]
        {
            fails(script, short, "sh has not answered within 200ms");
        }
        // The second process has the pipe for as long as it lives.
        fails("yes & yes", BOUNDS, "answers with more than 1024 bytes");
        assert!(ask("sleep 600 & echo out", short, true).is_err());
        assert!(matches!(ask("sleep 600", BOUNDS, false), Err(ImageError::Stopped)));
    }

    #[test]
    fn whoever_holds_the_job_ends_it() {
        let held = Mutex::new(None);
        let take = |control| *held.lock().expect("nobody panics") = Some(control);
        let hold = Hold { goes_on: &|| true, take: &take };
        let mut shell = Command::new("sleep");
        shell.arg("600");
        let asked = Asked::start(shell, BOUNDS, &hold).expect("it starts");
        let control: Box<dyn Control> = held.lock().expect("nobody panics").take().expect("taken");
        control.pause();
        control.resume();
        control.kill();
        assert!(asked.answer().is_err());
        // Its id may be another's by now.
        control.kill();
    }
}
