//! How jobs and results look on a terminal.

pub mod explained;

use std::fmt::Write;
use std::time::Duration;

use capability::tap::TapReport;
use capability::{Explanation, Obstacle};
use master_core::JobState;

use crate::model::{
    GivenUpView, JobView, MatrixCell, MatrixView, ProjectView, StepView, TaskDetail, TaskView,
};
use mesh_shell::escape_line;

/// Needs that are named, of those for which machines cannot run a job.
const MAX_NEEDS: usize = 5;
/// Failed tests that are shown by name.
const MAX_FAILURES: usize = 10;

/// The project and its brokers.
pub fn project(project: &ProjectView) -> String {
    let mut text = format!("{}  {}\n", escape_line(&project.name), project.uri);
    let (node, expires) = (project.node, project.delegation_expires);
    writeln!(text, "delegation until {expires}, to node key {node}").expect("to a string");
    if project.revoked {
        text += "that key was REVOKED: run `talkoot-master rotate` and restart the adapter; if the \
                 project itself has ended, `rotate` says so\n";
    }
    if let Some(epoch) = project.superseded {
        writeln!(
            text,
            "ANOTHER ADAPTER with that node key has moved the home, to epoch {epoch}: this one stands \
             still; stop one of them, and restart the one that is to go on"
        )
        .expect("to a string");
    }
    for broker in &project.brokers {
        let role = match (&project.home, project.epoch) {
            (Some(home), Some(epoch)) if *home == broker.peer => format!("home, epoch {epoch}"),
            _ => "standby".to_owned(),
        };
        let state = if broker.connected { "connected" } else { "not connected" };
        writeln!(text, "broker {}  {role}, {state}", broker.peer.short()).expect("to a string");
    }
    text
}

/// A job in a line, and below who could run it if it waits, and which of its tasks are given up.
pub fn job_and_waiting(job: &JobView) -> String {
    let waiting = waiting(job).map(|text| format!("          {text}\n"));
    let given_up = given_up(job).into_iter().map(|line| format!("          {line}\n"));
    self::job(job) + "\n" + &waiting.into_iter().chain(given_up).collect::<String>()
}

/// The tasks that are given up, one a line.
pub fn given_up(job: &JobView) -> Vec<String> {
    let line = |it: &GivenUpView| format!("task {} given up: {}", it.task, escape_line(&it.reason));
    let mut lines: Vec<_> = job.given_up_for.iter().map(line).collect();
    let more = job.given_up - job.given_up_for.len().min(job.given_up);
    if more > 0 {
        lines.push(format!("and {} more", plural(more as u64, "task")));
    }
    lines
}

fn job(job: &JobView) -> String {
    let settled = job.passed + job.failed;
    let mut line = format!(
        "{}  {:<24} {:<9} {settled} of {}, {} failed",
        job.offer.short(),
        escape_line(&job.name),
        state(job.state),
        plural(u64::from(job.tasks), "task"),
        job.failed,
    );
    if job.one_owner > 0 {
        let tasks = plural(u64::from(job.one_owner), "task");
        write!(line, ", replicas of {tasks} by one owner alone").expect("to a string");
    }
    if let Some(trouble) = &job.trouble {
        write!(line, "  ({})", escape_line(trouble)).expect("to a string");
    }
    line
}

/// The word for a state.
pub fn state(state: JobState) -> &'static str {
    match state {
        JobState::Open => "open",
        JobState::Done | JobState::DoneAndWithdrawn => "done",
        JobState::Cancelled | JobState::CancelledAndWithdrawn => "cancelled",
    }
}

/// Who could run a job that waits, and what keeps the others from it. Nothing for a job that has
/// results: brokers are not asked any more.
pub fn waiting(job: &JobView) -> Option<String> {
    let waits = job.state == JobState::Open && job.passed + job.failed == 0;
    job.explanation.as_ref().filter(|_| waits).map(|it| could_run(it, job.replicas))
}

fn could_run(explanation: &Explanation, replicas: u16) -> String {
    let Explanation { known, matching, obstacles } = explanation;
    let mut text = format!("{} could run this", plural(*matching, "machine"));
    if replicas > 1 && *matching < u64::from(replicas) {
        write!(text, ", and its {replicas} replicas need one each").expect("to a string");
    }
    let others = known.saturating_sub(*matching);
    if others > 0 {
        write!(text, "; {others} could not").expect("to a string");
    }
    for (index, Obstacle { need, excludes, .. }) in obstacles.iter().take(MAX_NEEDS).enumerate() {
        let before = if index == 0 { ": " } else { "; " };
        let need = escape_line(&need.to_string());
        write!(text, "{before}{need} excludes {excludes}").expect("to a string");
    }
    text
}

/// An accepted result in a line.
pub fn task(task: &TaskView) -> String {
    let replica =
        if task.replica > 0 { format!(" replica {}", task.replica) } else { String::new() };
    let mut line = format!(
        "task {}{replica} {} after {} on {}",
        task.task,
        escape_line(&task.ended),
        millis(task.wall_ms),
        task.platform,
    );
    if !task.system.is_empty() {
        write!(line, " ({})", escape_line(&task.system)).expect("to a string");
    }
    write!(line, ", {}, volunteer {}", task.runtime, task.volunteer.short()).expect("to a string");
    if let Some(owner) = task.owner {
        write!(line, " of owner {}", owner.short()).expect("to a string");
    }
    if let Some(via) = task.via {
        write!(line, " via broker {}", via.short()).expect("to a string");
    }
    if task.resumed > 0 {
        let times = plural(task.resumed.into(), "time");
        write!(line, ", went on from a checkpoint {times}").expect("to a string");
    }
    if let Some(tap) = &task.tap {
        write!(line, "; {}", tests(tap)).expect("to a string");
    }
    line
}

/// The steps of a result, one a line, and the tests that failed.
pub fn steps(detail: &TaskDetail) -> String {
    let mut text = String::new();
    for step in &detail.steps {
        writeln!(text, "  {}", self::step(step)).expect("to a string");
    }
    for artifact in &detail.artifacts {
        let path = escape_line(&artifact.path);
        writeln!(text, "  artifact {path}, {}", plural(artifact.size, "byte"))
            .expect("to a string");
    }
    let tap = detail.summary.tap.iter().flat_map(|tap| &tap.failures);
    for failure in tap.take(MAX_FAILURES) {
        writeln!(text, "  failed test: {}", escape_line(failure)).expect("to a string");
    }
    text
}

fn step(step: &StepView) -> String {
    let ending = match step.exit {
        Some(code) => format!("exit {code}"),
        None => "no exit code".to_owned(),
    };
    let mut line = format!("{:<16} {ending}, {}", escape_line(&step.name), millis(step.wall_ms));
    if let Some(fuel) = step.fuel {
        write!(line, ", {} of fuel", plural(fuel, "unit")).expect("to a string");
    }
    if !step.ending.is_empty() {
        write!(line, ", {}", escape_line(&step.ending)).expect("to a string");
    }
    line
}

fn tests(tap: &TapReport) -> String {
    let mut text = format!("tests: {} passed, {} failed", tap.passed, tap.failed);
    for (count, word) in [(tap.skipped, "skipped"), (tap.todo, "todo")] {
        if count > 0 {
            write!(text, ", {count} {word}").expect("to a string");
        }
    }
    text
}

/// The matrix, platforms by builders.
pub fn matrix(matrix: &MatrixView) -> String {
    let mut table = vec![vec!["platform".to_owned()]];
    table[0].extend(matrix.builders.iter().cloned());
    for row in &matrix.rows {
        let system = escape_line(&row.system);
        let platform = format!("{} {} {system}", row.platform, row.runtime);
        let mut line = vec![platform.trim_end().to_owned()];
        line.extend(
            matrix.builders.iter().map(|it| row.cells.get(it).map_or_else(String::new, cell)),
        );
        table.push(line);
    }
    let columns = table[0].len();
    let width = |column: usize| {
        table.iter().map(|line| line[column].chars().count()).max().unwrap_or_default()
    };
    let widths: Vec<_> = (0..columns).map(width).collect();
    let mut text = String::new();
    for line in &table {
        let cells = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        writeln!(text, "{}", cells.collect::<Vec<_>>().join("  ").trim_end()).expect("to a string");
    }
    text
}

fn cell(cell: &MatrixCell) -> String {
    let mut text = format!("{} passed", cell.passed);
    if cell.failed > 0 {
        write!(text, ", {} FAILED", cell.failed).expect("to a string");
    }
    let tests = cell.tests_passed + cell.tests_failed;
    if tests > 0 {
        write!(text, " (tests {}/{tests})", cell.tests_passed).expect("to a string");
    }
    text
}

/// `1 task`, `2 tasks`.
pub fn plural(count: u64, word: &str) -> String {
    if count == 1 { format!("{count} {word}") } else { format!("{count} {word}s") }
}

fn millis(millis: u64) -> String {
    format!("{:.2} s", Duration::from_millis(millis).as_secs_f64())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use capability::{Clause, Need, Runtime};

    use super::*;

    #[test]
    fn what_machines_that_cannot_run_a_job_lack_is_told_in_a_line() {
        let obstacle = |need, excludes| Obstacle { need, excludes, alone: 0, relaxed: None };
        let text =
            Clause::Equals { fact: "label".parse().expect("a name"), value: "gpu\u{1b}[2J".into() };
        let obstacles =
            vec![obstacle(Need::Runtimes(vec![Runtime::Wasm]), 3), obstacle(Need::Clause(text), 1)];
        let known = Explanation { known: 5, matching: 1, obstacles };
        assert_eq!(
            could_run(&known, 1),
            "1 machine could run this; 4 could not: runtime wasm excludes 3; \
             label gpu\\u{1b}[2J excludes 1"
        );
        let text = could_run(&known, 2);
        assert!(text.starts_with("1 machine could run this, and its 2 replicas need"), "{text}");
        let text = could_run(&Explanation { matching: 2, ..known }, 2);
        assert!(text.starts_with("2 machines could run this; 3 could not"), "{text}");
    }

    #[test]
    fn a_step_says_what_it_took_and_a_task_how_often_it_went_on() {
        let step = StepView {
            name: "count".into(),
            exit: Some(0),
            ending: String::new(),
            wall_ms: 1500,
            cpu_ms: 1400,
            memory: 1 << 20,
            fuel: Some(7000),
            log_bytes: 0,
        };
        assert!(super::step(&step).ends_with(", 7000 units of fuel"), "{}", super::step(&step));
        let metered = StepView { fuel: None, ..step };
        assert!(!super::step(&metered).contains("fuel"));

        let key = capability::PublicKey::from_bytes([7; 32]);
        let view = TaskView {
            task: 3,
            replica: 0,
            result: capability::StatementId::from_bytes([8; 32]),
            passed: true,
            ended: "passed".into(),
            platform: capability::Platform::new("linux", "x86_64").expect("a platform"),
            system: String::new(),
            runtime: Runtime::Wasm,
            volunteer: key,
            owner: None,
            via: None,
            wall_ms: 1500,
            cpu_ms: 1400,
            resumed: 2,
            finished: capability::Timestamp(0),
            tap: None,
        };
        assert!(task(&view).ends_with(", went on from a checkpoint 2 times"), "{}", task(&view));
        assert!(!task(&TaskView { resumed: 0, ..view }).contains("checkpoint"));
    }

    #[test]
    fn a_matrix_has_a_line_for_each_kind_of_machine() {
        let cells = BTreeMap::from([(
            "gcc".to_owned(),
            MatrixCell { passed: 2, failed: 1, tests_passed: 7, tests_failed: 1, tests_skipped: 0 },
        )]);
        let row = crate::model::MatrixRow {
            platform: capability::Platform::new("linux", "x86_64").expect("a platform"),
            system: "Debian 12".into(),
            runtime: Runtime::Native,
            cells,
        };
        let view = MatrixView { builders: vec!["clang".into(), "gcc".into()], rows: vec![row] };
        let text = matrix(&view);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 2);
        assert!(lines[1].starts_with("linux-x86_64 native Debian 12  "), "{text}");
        assert!(lines[1].ends_with("2 passed, 1 FAILED (tests 7/8)"), "{text}");
    }
}
