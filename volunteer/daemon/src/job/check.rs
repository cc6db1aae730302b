//! A check of a project: one step of a job that has no package and leaves nothing but what it says.

use std::path::Path;

use capability::statements::Ended;
use mesh_shell::chain;
use volunteer_core::{CheckEnd, CheckOrder};
use volunteer_sandbox::{Ending, remove_tree};

use super::{Place, Reins, describe, judge, limits, short};
use crate::runtimes::{JobRuntime, Slot, Step, StepEnd, StepNetwork, StepOrder};

/// Runs `order` in an empty folder. Blocks until it has ended.
pub fn run(
    order: &CheckOrder,
    runtime: &dyn JobRuntime,
    slot: &Slot,
    reins: &Reins,
    place: &Place,
) -> CheckEnd {
    let home = place.directory.join("check");
    let work = home.join("work");
    // What a former check may have left, because it could not be removed then.
    let made = remove_tree(&home).and_then(|()| std::fs::create_dir_all(&work));
    let end = match made {
        Ok(()) => run_in(&work, order, runtime, slot, reins),
        Err(error) => {
            CheckEnd::NotRun(short(&format!("cannot make a work directory: {}", chain(&error))))
        }
    };
    if let Err(error) = remove_tree(&home) {
        tracing::warn!(path = %home.display(), %error, "work directory not removed");
    }
    end
}

fn run_in(
    work: &Path,
    order: &CheckOrder,
    runtime: &dyn JobRuntime,
    slot: &Slot,
    reins: &Reins,
) -> CheckEnd {
    let step = StepOrder {
        command: &order.check.command,
        environment: &[].into(),
        work,
        root: None,
        limits: limits(&order.limits, order.limits.wall()),
        fuel: None,
        slot,
        tail: None,
        network: StepNetwork::default(),
    };
    match runtime.start(&step) {
        Ok(Step { control, wait }) => {
            reins.take(control);
            end(wait())
        }
        Err(reason) => CheckEnd::NotRun(short(&reason)),
    }
}

fn end(end: StepEnd) -> CheckEnd {
    let why = match (judge(&end), &end.ending) {
        (None, _) => return CheckEnd::Passed(end.output),
        (Some(Ended::Machine(why)), _) => return CheckEnd::NotRun(why),
        (Some(Ended::Limit(what)), _) => format!("it reached its limit on {what}"),
        (Some(_), Ending::Exited { code }) => format!("it exited with {code}"),
        (Some(_), _) => describe(&end),
    };
    CheckEnd::Failed(short(&format!("{why}{}", said(&end.output))))
}

/// What stands in the first line that has anything to be seen.
fn said(output: &[u8]) -> String {
    let output = String::from_utf8_lossy(output);
    let unseen = |c: char| c.is_whitespace() || c.is_control();
    let said = output.lines().map(|line| line.trim_matches(unseen)).find(|line| !line.is_empty());
    said.map(|said| format!(": {said}")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use capability::statements::Check;
    use capability::{Limits, ProjectKey, Runtime};

    use super::super::tests::{Shell, Site};
    use super::*;

    fn order(script: &str, limits: Limits) -> CheckOrder {
        let check = Check {
            name: "it".to_owned(),
            runtime: Runtime::Native,
            command: vec![script.to_owned()],
            depends: Vec::new(),
        };
        CheckOrder { project: ProjectKey::from_bytes([1; 32]), check, limits }
    }

    fn limits() -> Limits {
        Limits { wall_ms: 60_000, disk: 1 << 20, output: 1 << 10, ..Limits::default() }
    }

    /// How `script` ends within `limits`, and that it has left nothing.
    fn ends(site: &Site, script: &str, limits: Limits) -> CheckEnd {
        let end =
            run(&order(script, limits), &Shell, &Slot::default(), &Reins::default(), &site.place);
        assert!(std::fs::read_dir(&site.place.directory).expect("there").next().is_none());
        end
    }

    #[track_caller]
    fn fails(script: &str, limits: Limits, expected: &str) {
        let end = ends(&Site::new(), script, limits);
        assert_eq!(end, CheckEnd::Failed(expected.to_owned()), "{script}");
    }

    #[test]
    fn what_a_check_prints_comes_back_whatever_it_is() {
        let site = Site::new();
        let passes = |script: &str, output: &[u8]| {
            assert_eq!(ends(&site, script, limits()), CheckEnd::Passed(output.to_owned()));
        };
        passes("echo yes", b"yes\n");
        passes("true", b"");
        passes("echo out; echo err >&2", b"out\nerr\n");
        passes(r"printf '\377\0\033'", b"\xff\0\x1b");
    }

    #[test]
    fn each_check_finds_an_empty_folder() {
        let site = Site::new();
        let look = "ls -A; mkdir -p a/b; touch a/b/left";
        for _ in 0..2 {
            assert_eq!(ends(&site, look, limits()), CheckEnd::Passed(Vec::new()));
        }
        let former = site.place.directory.join("check/work/former");
        std::fs::create_dir_all(former).expect("made");
        assert_eq!(ends(&site, look, limits()), CheckEnd::Passed(Vec::new()));
    }

    #[test]
    fn why_a_check_has_failed_is_told_with_the_first_line_that_it_said() {
        fails(
            "echo >&2; echo ' no make ' >&2; echo more; exit 3",
            limits(),
            "it exited with 3: no make",
        );
        fails("exit 1", limits(), "it exited with 1");
        fails("kill -9 $$", limits(), "ended by signal 9");
        fails("cd nowhere 2>/dev/null", limits(), "it exited with 2");
    }

    #[test]
    fn a_check_that_runs_for_ever_floods_or_fills_the_disk_reaches_its_limit() {
        let short_lived = Limits { wall_ms: 200, ..limits() };
        let wall = "it reached its limit on wall time";
        fails("exec sleep 60", short_lived, wall);
        fails("while :; do :; done", short_lived, wall);
        fails("echo begun; exec sleep 60", short_lived, &format!("{wall}: begun"));
        let output = "it reached its limit on output";
        fails("head -c 100000000 /dev/zero", limits(), output);
        fails("yes | head -c 100000000", limits(), &format!("{output}: y"));
        let disk = "it reached its limit on disk";
        fails("head -c 2000000 /dev/zero >large; exec sleep 60", limits(), disk);
    }

    #[test]
    fn a_reason_is_one_short_line_that_moves_no_cursor() {
        let script = r"printf '\033[2J\377'; head -c 900 /dev/zero | tr '\0' x; exit 1";
        let CheckEnd::Failed(reason) = ends(&Site::new(), script, limits()) else {
            panic!("it exits with 1");
        };
        assert!(reason.starts_with("it exited with 1: [2J\u{fffd}xxx"), "{reason}");
        assert!(reason.len() <= 256 && !reason.contains(char::is_control), "{reason:?}");
    }

    #[test]
    fn a_check_that_is_stopped_has_not_run() {
        let site = Site::new();
        let reins = Reins::default();
        reins.stop();
        let end = run(
            &order("echo yes; exec sleep 60", limits()),
            &Shell,
            &Slot::default(),
            &reins,
            &site.place,
        );
        assert_eq!(end, CheckEnd::NotRun("stopped by the owner of the machine".to_owned()));
    }

    #[test]
    fn where_there_is_no_room_for_its_folder_a_check_has_not_run() {
        let site = Site::new();
        std::fs::remove_dir(&site.place.directory).expect("empty");
        std::fs::write(&site.place.directory, "").expect("written");
        let end =
            run(&order("true", limits()), &Shell, &Slot::default(), &Reins::default(), &site.place);
        let CheckEnd::NotRun(reason) = end else { panic!("{end:?}") };
        assert!(reason.starts_with("cannot make a work directory: "), "{reason}");
    }
}
