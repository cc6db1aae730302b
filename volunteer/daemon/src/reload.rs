//! Settings that change while the daemon runs.
//!
//! The configuration file is looked at with the other files, every 2 s. What can be applied is; what is
//! built once at the start, such as the address of the page, keeps its former value, and the log and
//! `status` name it. A file with a mistake changes nothing.

use mesh_shell::config::CommonArgs;
use mesh_shell::{Outcome, Watch, default_config};

use crate::arguments::RunArgs;
use crate::config::{self, ROLE, Settings};
use crate::images::Engine;

/// Where the settings of a running daemon come from.
#[derive(Debug)]
pub struct Source {
    common: CommonArgs,
    flags: RunArgs,
    watch: Watch,
    /// What is wrong with the file as it is now.
    pub complaint: Option<String>,
    /// Settings that wait for the next start.
    pub waiting: Vec<&'static str>,
}

impl Source {
    /// The file that `common` names, below `flags`.
    pub fn new(common: CommonArgs, flags: RunArgs) -> Outcome<Self> {
        let path = match &common.config {
            Some(path) => path.clone(),
            None => default_config(ROLE)?,
        };
        let watch = Watch::new(path);
        Ok(Self { common, flags, watch, complaint: None, waiting: Vec::new() })
    }

    /// The settings as they are now.
    pub fn load(&self) -> Outcome<Settings> {
        config::load(&self.common, self.flags.clone())
    }

    /// What `running` becomes, if the file has changed since the last look, and is sound.
    pub fn changed(&mut self, running: &Settings) -> Option<Settings> {
        if !self.watch.has_changed() {
            return None;
        }
        match self.load() {
            Ok(read) => {
                self.complaint = None;
                let settings;
                (settings, self.waiting) = carry_over(running, read);
                tracing::info!("configuration read again");
                for setting in &self.waiting {
                    tracing::warn!(
                        setting,
                        "changed in the configuration, holds from the next start on"
                    );
                }
                Some(settings)
            }
            Err(failure) => {
                tracing::warn!(reason = %failure, "configuration not read, the former one holds");
                self.complaint = Some(failure.to_string().replace('\n', "; "));
                None
            }
        }
    }
}

/// `read`, but for what cannot change while the daemon runs; and which of that differs.
fn carry_over(running: &Settings, read: Settings) -> (Settings, Vec<&'static str>) {
    let Settings { state, cache, http, discover, network, runtimes, table, .. } = running.clone();
    let Settings { job_network, image_cache, image_engine, .. } = *running;
    let program = |engine: Option<Engine>| engine.map(|engine| engine.program);
    let pulls = |engine: Option<Engine>| engine.is_some_and(|engine| engine.pulls);
    let differ = [
        ("http", http != read.http),
        ("discover", discover != read.discover),
        ("network", network != read.network),
        ("runtimes", runtimes != read.runtimes),
        ("tool", table != read.table),
        ("job-network", job_network.allowed != read.job_network.allowed),
        ("image-cache", image_cache != read.image_cache),
        ("image-engine", program(image_engine) != program(read.image_engine)),
        ("image-pull", pulls(image_engine) != pulls(read.image_engine)),
    ];
    let waiting = differ.iter().filter(|(_, differs)| *differs).map(|(setting, _)| *setting);
    let waiting = waiting.collect();
    let kept = Settings { state, cache, http, discover, network, runtimes, table, ..read };
    (Settings { job_network, image_cache, image_engine, ..kept }, waiting)
}
