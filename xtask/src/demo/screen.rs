//! What goes on, in lines that a person can follow, above a progress bar on a terminal.

use std::io::IsTerminal;
use std::sync::atomic::{AtomicU64, Ordering};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use xtask::events::Event;

use super::cast::Cast;

/// The terminal, or the pipe.
pub struct Screen {
    sweep: ProgressBar,
    accepted: AtomicU64,
    tasks: u64,
}

impl Screen {
    /// A progress bar for `tasks` if standard output is a terminal.
    pub fn new(tasks: u64) -> Self {
        let terminal = std::io::stdout().is_terminal();
        let target =
            if terminal { ProgressDrawTarget::stdout() } else { ProgressDrawTarget::hidden() };
        let sweep = ProgressBar::with_draw_target(Some(tasks), target);
        let style = ProgressStyle::with_template("sweep {wide_bar} {pos}/{len}");
        sweep.set_style(style.expect("the template is sound"));
        Self { sweep, accepted: AtomicU64::new(0), tasks }
    }

    /// Begins a part of the demo.
    pub fn title(&self, title: &str) {
        self.line(&format!("\n{title}"));
    }

    /// Prints a line without disturbing the progress bar.
    pub fn line(&self, line: &str) {
        self.sweep.suspend(|| println!("{line}"));
    }

    /// The sweep is over.
    pub fn finish(&self) {
        self.sweep.finish_and_clear();
    }

    /// Tells what `event` means, if it is of interest.
    pub fn show(&self, event: &Event, cast: &Cast) {
        if event.name == "offer taken" {
            cast.name(&event.field("offer"), &event.field("name"));
        }
        let Some(sentence) = self.sentence(event, cast) else { return };
        let at = event.at.as_secs_f64();
        self.line(&format!("{at:6.2} s  {:12} {sentence}", event.who));
    }

    fn sentence(&self, event: &Event, cast: &Cast) -> Option<String> {
        let field = |name| event.field(name);
        let named = |name| cast.of(&event.field(name));
        let task = || format!("{} task {}", named("offer"), event.field("task"));
        Some(match event.name.as_str() {
            "listening" => format!("listens on {}", field("address")),
            "link up" => format!("is linked with {}", named("peer")),
            "runtime" => format!("offers {} ({})", field("runtime"), field("strength")),
            "runtime not offered" => {
                format!("does not offer {}: {}", field("runtime"), field("reason"))
            }
            "ad sent" => format!("sends its signed ad to {}", named("peer")),
            "published" => format!("has its offer {} at {}", named("offer"), named("peer")),
            "offer taken" => {
                let (name, tasks) = (field("name"), field("tasks"));
                format!("keeps the offer {name} of {} ({tasks} tasks)", field("project"))
            }
            "offer declined" => format!("declines {}: {}", field("name"), field("reason")),
            "lease lapsed" => format!("takes {} back from {}", task(), named("volunteer")),
            "rejected" => format!("rejects {}: {}", task(), field("reason")),
            "job done" => {
                let (passed, failed) = (field("passed"), field("failed"));
                format!("has all of {}: {passed} passed, {failed} failed", named("offer"))
            }
            "accepted" => return self.accepted(event, &named("offer"), &named("volunteer")),
            name if name.starts_with("error:") || name.starts_with("hint:") => name.to_owned(),
            _ => return self.about_single_tasks(event, cast),
        })
    }

    /// The life of a task, told for jobs of one task only: forty lives are a progress bar.
    fn about_single_tasks(&self, event: &Event, cast: &Cast) -> Option<String> {
        let offer = cast.of(&event.field("offer"));
        if offer == "sweep" || event.field("offer").is_empty() {
            return None;
        }
        let named = |name| cast.of(&event.field(name));
        Some(match event.name.as_str() {
            "claim granted" => format!("leases {offer} to {}", named("volunteer")),
            "started" => format!("runs {offer} ({})", event.field("runtime")),
            "finished" => format!("has run {offer}: {}", event.field("ended")),
            "custody taken" => {
                format!("has the {} of {offer} from {}", event.field("kind"), named("from"))
            }
            "receipt" => format!("has the receipt for {offer}: {}", event.field("verdict")),
            _ => return None,
        })
    }

    fn accepted(&self, event: &Event, offer: &str, volunteer: &str) -> Option<String> {
        if offer != "sweep" {
            return Some(format!("accepts {offer} of {volunteer}: {}", event.field("ended")));
        }
        self.sweep.inc(1);
        let accepted = self.accepted.fetch_add(1, Ordering::Relaxed) + 1;
        let told = accepted.is_multiple_of(10) || accepted == self.tasks;
        told.then(|| format!("has accepted {accepted} of {} sweep results", self.tasks))
    }
}
