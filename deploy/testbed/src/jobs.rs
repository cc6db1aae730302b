//! Jobs that cost little: modules of a few instructions, packed as people pack theirs.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// A job for [`Job::write`].
#[derive(Debug, Clone, Copy)]
pub struct Job<'a> {
    /// What it is called.
    pub name: &'a str,
    /// How many tasks it has.
    pub tasks: u32,
    /// How long each takes, in milliseconds of waiting.
    pub milliseconds: u64,
    /// The size of the artifact that each leaves, in bytes; none for 0.
    pub artifact: u32,
}

impl<'a> Job<'a> {
    /// Tasks that do nothing.
    pub const fn idle(name: &'a str, tasks: u32) -> Self {
        Self { name, tasks, milliseconds: 0, artifact: 0 }
    }

    /// Writes the package into a new folder of `directory`; gives the job file.
    pub fn write(&self, directory: &Path) -> Result<PathBuf> {
        let folder = directory.join(format!("{}-package", self.name));
        std::fs::create_dir(&folder)
            .with_context(|| format!("cannot make {}", folder.display()))?;
        let module = wat::parse_str(self.module()).context("the module is unsound")?;
        std::fs::write(folder.join("task.wasm"), module).context("cannot write the module")?;
        let job = folder.join("job.toml");
        std::fs::write(&job, self.job_file()).context("cannot write the job file")?;
        Ok(job)
    }

    fn job_file(&self) -> String {
        let Self { name, tasks, artifact, .. } = self;
        let artifacts = if *artifact == 0 { "[]" } else { r#"["artifact"]"# };
        format!(
            r#"
            name = "{name}"
            tasks = {tasks}
            [requirements]
            runtimes = ["wasm"]
            [[step]]
            name = "task"
            run = ["task.wasm"]
            [limits]
            wall = "5m"
            memory = "64 MiB"
            disk = "32 MiB"
            output = "1 MiB"
            [results]
            artifacts = {artifacts}
            "#
        )
    }

    fn module(&self) -> String {
        let Self { milliseconds, artifact, .. } = self;
        let nanoseconds = milliseconds * 1_000_000;
        format!(
            r#"
            (module
              (import "wasi_snapshot_preview1" "poll_oneoff"
                (func $poll_oneoff (param i32 i32 i32 i32) (result i32)))
              (import "wasi_snapshot_preview1" "path_open"
                (func $path_open
                  (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
              (import "wasi_snapshot_preview1" "fd_write"
                (func $fd_write (param i32 i32 i32 i32) (result i32)))
              (import "wasi_snapshot_preview1" "random_get"
                (func $random_get (param i32 i32) (result i32)))

              ;; 0 a subscription, 64 its event, 128 what is answered, 256 a name, 65536 a buffer
              (memory (export "memory") 2)
              (data (i32.const 256) "artifact")

              (func (export "_start")
                (if (i64.gt_u (i64.const {nanoseconds}) (i64.const 0)) (then (call $wait)))
                (if (i32.gt_u (i32.const {artifact}) (i32.const 0)) (then (call $leave_artifact))))

              (func $wait
                ;; the monotonic clock, in nanoseconds from now
                (i32.store (i32.const 16) (i32.const 1))
                (i64.store (i32.const 24) (i64.const {nanoseconds}))
                (call $check
                  (call $poll_oneoff
                    (i32.const 0) (i32.const 64) (i32.const 1) (i32.const 128))))

              ;; Pieces of 64 KiB of noise, and one of the rest.
              (func $leave_artifact (local $left i32) (local $piece i32)
                (local.set $left (i32.const {artifact}))
                ;; created in the first folder that is open, for writing
                (call $check
                  (call $path_open
                    (i32.const 3) (i32.const 0) (i32.const 256) (i32.const 8)
                    (i32.const 9) (i64.const 64) (i64.const 0) (i32.const 0) (i32.const 128)))
                (loop $more
                  (local.set $piece
                    (select (local.get $left) (i32.const 65536)
                      (i32.lt_u (local.get $left) (i32.const 65536))))
                  (call $check (call $random_get (i32.const 65536) (local.get $piece)))
                  (i32.store (i32.const 136) (i32.const 65536))
                  (i32.store (i32.const 140) (local.get $piece))
                  (call $check
                    (call $fd_write
                      (i32.load (i32.const 128)) (i32.const 136) (i32.const 1) (i32.const 144)))
                  (local.set $left
                    (i32.sub (local.get $left) (i32.load (i32.const 144))))
                  (br_if $more (local.get $left))))

              (func $check (param $error i32)
                (if (local.get $error) (then (unreachable)))))
            "#
        )
    }
}
