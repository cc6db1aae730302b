//! Asks a job that runs for checkpoints, and takes them out of its work directory.
//!
//! A checkpoint is one file, which the job puts in its place by a rename, so that what is there is whole. The
//! first is taken as soon as it is there, others when they are due and have changed, or after a last request when the job is put by. What is no honest file is
//! refused, and the job goes on without.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::{Duration, Instant};

use capability::{Checkpoint, format_bytes};
use volunteer_sandbox::{make_mark, open_beneath, remove_mark};

use super::checkpoints::{Attempts, Kept};
use super::version::{Version, has_one_name};
use super::{Reins, desk};

/// Between two looks at the job.
const TICK: Duration = Duration::from_secs(1);

/// Between two looks when it is to end.
const LAST_TICK: Duration = Duration::from_millis(20);

/// How long a job has for its last checkpoint: the owner waits.
const GRACE: Duration = Duration::from_secs(1);

/// Between two notes of the time that was spent: so much of it a power cut may cost.
const NOTE_INTERVAL: Duration = Duration::from_secs(60);

/// See the module.
pub struct Keeper<'a> {
    reins: &'a Reins,
    work: &'a Path,
    kept: &'a Kept,
    checkpoint: Checkpoint,
    attempts: Attempts,
    /// Fuel that former attempts took.
    fuel_before: u64,
    /// What was taken or refused last.
    seen: Option<Version>,
    refusal: Option<String>,
    /// When a checkpoint is to be taken, and when the job is to be asked for it.
    due: Instant,
    ask_at: Instant,
    noted: Instant,
    ticked: Instant,
    /// Time of this attempt that was not noted.
    unnoted: Duration,
}

/// What a job is to do, as [`Reins::nap`] finds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nap {
    /// It goes on, or stands still.
    Goes { still: bool },
    /// It is to end after a moment, unless it stands still.
    PutBy { still: bool },
    /// It has ended.
    Over,
}

impl<'a> Keeper<'a> {
    /// For the job in `work`, which has tried so far what `attempts` say.
    pub fn new(
        reins: &'a Reins,
        work: &'a Path,
        kept: &'a Kept,
        checkpoint: Checkpoint,
        attempts: Attempts,
    ) -> Self {
        let now = Instant::now();
        let mut this = Self {
            reins,
            work,
            kept,
            checkpoint,
            attempts,
            fuel_before: attempts.fuel,
            seen: None,
            refusal: None,
            due: now,
            ask_at: now + checkpoint.every(),
            noted: now,
            ticked: now,
            unnoted: Duration::ZERO,
        };
        // What it goes on from need not be taken again.
        this.seen = this.look().ok().flatten().map(|(_, version)| version);
        this
    }

    /// Until the job has ended or is put by; gives why its last checkpoint was refused, if it was.
    pub fn run(mut self) -> Option<String> {
        loop {
            let nap = self.reins.nap(TICK);
            self.count(nap);
            match nap {
                Nap::Goes { still: true } => {}
                Nap::Goes { still: false } => self.tick(),
                Nap::PutBy { still } => {
                    self.take_last(still);
                    self.reins.stop();
                    return self.refusal;
                }
                Nap::Over => return self.refusal,
            }
        }
    }

    fn count(&mut self, nap: Nap) {
        let now = Instant::now();
        if nap != (Nap::Goes { still: true }) {
            self.unnoted += now - self.ticked;
        }
        self.ticked = now;
    }

    fn tick(&mut self) {
        let now = Instant::now();
        if now >= self.due && !self.take_new() && now >= self.ask_at {
            self.ask();
        }
        if self.noted.elapsed() >= NOTE_INTERVAL {
            self.note();
        }
    }

    /// Asks for one last checkpoint, and waits for it a moment.
    fn take_last(&mut self, still: bool) {
        let before = self.look().ok().flatten().map(|(_, version)| version);
        self.ask();
        let begun = Instant::now();
        while !still && begun.elapsed() < GRACE {
            let now = self.look().ok().flatten().map(|(_, version)| version);
            if now.is_some() && now != before {
                break;
            }
            std::thread::sleep(LAST_TICK);
        }
        if !self.take_new() {
            // It ends at the owner's wish, and not by what it went on from.
            self.attempts.tries = self.attempts.tries.saturating_sub(1);
        }
        self.count(Nap::PutBy { still });
        self.note();
    }

    /// Takes the checkpoint if there is another one than before; whether it did.
    fn take_new(&mut self) -> bool {
        let (file, version) = match self.look() {
            Ok(Some(found)) => found,
            Ok(None) => return false,
            Err(reason) => {
                self.refuse(reason);
                return false;
            }
        };
        if self.seen == Some(version) {
            return false;
        }
        self.seen = Some(version);
        let mut stood_still = Duration::ZERO;
        let obedient = Obedient { inner: file, reins: self.reins, stood_still: &mut stood_still };
        let taken = self.kept.store(obedient, version.size);
        // A pause amid the copying is no time of the job.
        self.ticked += stood_still;
        self.put_off();
        // Gone already, if the job takes it for its own.
        let _ = remove_mark(self.work, desk::FOLDER, desk::WANTED);
        if let Err(error) = taken {
            self.refuse(format!("it could not be kept: {error}"));
            return false;
        }
        self.refusal = None;
        self.attempts.tries = 0;
        self.note();
        self.reins.kept();
        true
    }

    /// The checkpoint as it is now, if there is one; or why it is none, for people.
    fn look(&self) -> Result<Option<(File, Version)>, String> {
        let file = match open_beneath(self.work, Path::new(desk::CHECKPOINT)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(_) => return Err("it is a link, or no regular file".to_owned()),
        };
        let found = file.metadata().map_err(|error| error.to_string())?;
        if !has_one_name(&found) {
            return Err("it has several names, or none".to_owned());
        }
        let version = Version::of(&found);
        if version.size > self.checkpoint.size {
            let (size, most) = (format_bytes(version.size), format_bytes(self.checkpoint.size));
            return Err(format!("it has {size}, and may have {most}"));
        }
        Ok(Some((file, version)))
    }

    fn ask(&self) {
        // A job that has done away with its desk does without.
        let _ = make_mark(self.work, desk::FOLDER, desk::WANTED);
    }

    fn refuse(&mut self, reason: String) {
        if self.refusal.as_ref() != Some(&reason) {
            tracing::warn!(reason, "checkpoint refused; the job goes on without");
            self.reins.refused(&reason);
            self.refusal = Some(reason);
        }
        // As seldom as if it had been taken.
        self.put_off();
    }

    fn put_off(&mut self) {
        self.due = Instant::now() + self.checkpoint.every();
        self.ask_at = self.due;
    }

    fn note(&mut self) {
        self.noted = Instant::now();
        let unnoted = u64::try_from(self.unnoted.as_millis()).unwrap_or(u64::MAX);
        self.attempts.spent_ms = self.attempts.spent_ms.saturating_add(unnoted);
        self.unnoted = Duration::ZERO;
        self.attempts.fuel = self.fuel_before.saturating_add(self.reins.fuel());
        if let Err(error) = self.kept.note(&self.attempts) {
            tracing::warn!(%error, "the time that a job has had is not noted");
        }
    }
}

/// Reads piece by piece as the job goes on.
struct Obedient<'a, R> {
    inner: R,
    reins: &'a Reins,
    /// For how long it did not.
    stood_still: &'a mut Duration,
}

impl<R: Read> Read for Obedient<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let asked = Instant::now();
        self.reins.go_on();
        *self.stood_still += asked.elapsed();
        self.inner.read(buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::super::checkpoints::Checkpoints;
    use super::*;

    #[test]
    fn what_is_no_honest_file_is_refused_and_an_honest_one_is_taken_afterwards() {
        let directory = tempfile::tempdir().expect("a directory");
        let work = directory.path().join("work");
        std::fs::create_dir(&work).expect("made");
        desk::lay_out(&work).expect("made");
        let place = work.join(desk::CHECKPOINT);
        let checkpoints = Checkpoints::open(directory.path().join("kept")).expect("made");
        let kept = checkpoints.of(capability::StatementId::from_bytes([7; 32]));
        let reins = Reins::default();
        let checkpoint = Checkpoint { every_ms: 10_000, size: 1 << 20 };
        let attempts = Attempts::first(capability::Timestamp(0));
        let mut keeper = Keeper::new(&reins, &work, &kept, checkpoint, attempts);
        let secret = directory.path().join("secret");
        std::fs::write(&secret, "secret").expect("written");

        let mut check = |make: &dyn Fn(&Path), expected: &str| {
            make(&place);
            assert!(!keeper.take_new(), "{expected}");
            assert_eq!(keeper.refusal.take().as_deref(), Some(expected));
            assert!(!kept.is_of_use(), "{expected}");
            let _ = std::fs::remove_file(&place).or_else(|_| std::fs::remove_dir_all(&place));
        };
        let irregular = "it is a link, or no regular file";
        check(&|place| std::os::unix::fs::symlink(&secret, place).expect("linked"), irregular);
        check(
            &|place| std::os::unix::fs::symlink("../../secret", place).expect("linked"),
            irregular,
        );
        let (fifo, rwx) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU);
        check(
            &|place| rustix::fs::mknodat(rustix::fs::CWD, place, fifo, rwx, 0).expect("made"),
            irregular,
        );
        let thousands = |place: &Path| {
            std::fs::create_dir(place).expect("made");
            (0..2000).for_each(|n| std::fs::write(place.join(n.to_string()), "").expect("made"));
        };
        check(&thousands, irregular);
        check(
            &|place| std::fs::hard_link(&secret, place).expect("linked"),
            "it has several names, or none",
        );
        let sparse = |place: &Path| File::create(place).expect("made").set_len(100 << 30);
        check(&|place| sparse(place).expect("sparse"), "it has 100 GiB, and may have 1 MiB");

        std::fs::write(&place, "state").expect("written");
        assert!(keeper.take_new() && kept.is_of_use());
        assert!(!keeper.take_new(), "it has not changed");
    }

    #[test]
    fn a_pause_amid_the_copying_is_no_time_of_the_job() {
        const PAUSE: Duration = Duration::from_millis(1500);
        let directory = tempfile::tempdir().expect("a directory");
        let work = directory.path().join("work");
        std::fs::create_dir(&work).expect("made");
        desk::lay_out(&work).expect("made");
        let checkpoints = Checkpoints::open(directory.path().join("kept")).expect("made");
        let kept = checkpoints.of(capability::StatementId::from_bytes([7; 32]));
        let reins = Reins::default();
        let checkpoint = Checkpoint { every_ms: 10_000, size: 1 << 20 };
        let attempts = Attempts::first(capability::Timestamp(0));
        let mut keeper = Keeper::new(&reins, &work, &kept, checkpoint, attempts);
        std::fs::write(work.join(desk::CHECKPOINT), "state").expect("written");

        reins.pause();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(PAUSE);
                reins.resume();
            });
            assert!(keeper.take_new());
        });
        keeper.count(Nap::Goes { still: false });

        assert!(keeper.unnoted < PAUSE / 2, "{:?}", keeper.unnoted);
    }
}
