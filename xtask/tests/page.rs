//! The volunteer's page in a real browser, while a real job runs.

mod support;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use support::{JOB_PATIENCE, Story};
use xtask::browser::Browser;
use xtask::tools;

/// For what the page shows at its next look.
const PATIENCE: Duration = Duration::from_secs(60);

impl Story {
    /// Runs a command of `talkoot-volunteer` on the state of the first volunteer; gives what it prints.
    fn volunteer(&self, arguments: &[&str]) -> String {
        let mut command = self.network.program("talkoot-volunteer");
        command.args(arguments).arg("--state").arg(self.network.state("volunteer-1"));
        tools::output(&mut command).unwrap_or_else(|error| panic!("{error:#}"))
    }
}

/// Writes a job that says something and is busy for a while; gives its file.
fn talkative_job(directory: &Path) -> PathBuf {
    let folder = directory.join("talkative");
    std::fs::create_dir(&folder).expect("a folder");
    let job = "name = \"talkative\"\nrequirements.runtimes = [\"native\"]\n\
               [[step]]\nname = \"talk\"\n\
               run = [\"sh\", \"-c\", \"echo '<img src=x onerror=alert(1)>'; sleep 20\"]\n\
               [limits]\nwall = \"5m\"\nmemory = \"64 MiB\"\ndisk = \"16 MiB\"\n";
    std::fs::write(folder.join("job.toml"), job).expect("written");
    folder.join("job.toml")
}

fn done<T>(result: anyhow::Result<T>) -> T {
    result.unwrap_or_else(|error| panic!("{error:#}"))
}

#[test]
fn the_page_shows_what_runs_and_obeys_its_owner_alone() {
    let mut story = Story::begin(1);
    let directory = tempfile::tempdir().expect("a directory");
    let browser = done(Browser::start(directory.path()));
    let address = story.volunteer(&["page"]);
    let (bare, token) = address.trim().split_once('#').expect("with the token");

    // Without the token, or with another, nothing is shown.
    done(browser.open(bare));
    done(browser.wait_for("#state", "locked", PATIENCE));
    done(browser.write("#token", "guessed"));
    done(browser.click("#unlock button"));
    done(browser.wait_for("#unlock", "needs the token", PATIENCE));
    assert_eq!(done(browser.text("#main")), "");
    done(browser.write("#token", token));
    done(browser.click("#unlock button"));
    done(browser.wait_for("#projects", "trusted", PATIENCE));

    // The address with the token opens at once, and is not left to be seen.
    done(browser.evaluate("sessionStorage.clear()"));
    done(browser.open("about:blank"));
    done(browser.open(address.trim()));
    done(browser.wait_for("#projects", "trusted", PATIENCE));
    assert_eq!(done(browser.address()), bare);
    assert_eq!(done(browser.text("#unlock")), "", "nobody is asked for a token who has it");

    // What the owner changes meanwhile is seen.
    let mut set = story.network.program_of("volunteer-1", "talkoot-volunteer");
    done(tools::output(set.args(["config", "set", "work-buffer", "30m"])));
    done(browser.wait_for("#now", "Work buffer: 0 s of 30 min", PATIENCE));

    let submit = story.submit(&talkative_job(directory.path()));
    story.wait_for(1, "the task to start", |event| event.name == "started");
    let shown = done(browser.wait_for("#now", "running", PATIENCE));
    assert!(shown.contains("talkative") && shown.contains("native"), "{shown}");

    // What the job writes comes while it runs, as text whatever it is.
    done(browser.click("#now button"));
    done(browser.wait_for("#output", "<img src=x onerror=alert(1)>", PATIENCE));
    assert!(done(browser.text("#grounds")).contains("is trusted and may use native, wasm"));
    assert_eq!(done(browser.evaluate("return document.images.length")), 0);

    done(browser.write("#note", "a <b>call</b>"));
    done(browser.click("#pause"));
    done(browser.wait_for("#now", "paused", PATIENCE));
    let status: Value =
        serde_json::from_str(&story.volunteer(&["status", "--json"])).expect("JSON");
    assert_eq!(status["jobs"][0]["stage"], "paused");
    // What people write is text.
    done(browser.wait_for("#state", "a <b>call</b>", PATIENCE));
    if let Some(file) = std::env::var_os("TALKOOT_PICTURE") {
        std::fs::write(file, done(browser.picture())).expect("written");
    }
    done(browser.click("#resume"));
    done(browser.wait_for("#now", "running", PATIENCE));

    story.expect_each_accepted_once(submit, 1);
    done(browser.wait_for("#output", "[the job is over]", PATIENCE));
    done(browser.wait_for("#history", "accepted", JOB_PATIENCE));

    done(browser.click("#stop"));
    done(browser.agree());
    done(browser.wait_for("#state", "no answer", PATIENCE));
    assert_eq!(done(story.network.ended("volunteer-1")), Some(0));
}

#[test]
fn nobody_without_the_token_learns_or_changes_anything() {
    let story = Story::begin(1);
    let http = story.network.http("volunteer-1");
    let uri = story.network.uri("master").expect("its URI");
    let project = &uri["talkoot:".len()..][..12];
    let agent = ureq::Agent::config_builder().proxy(None).http_status_as_error(false);
    let agent: ureq::Agent = agent.build().into();
    let url = |path: &str| format!("http://{http}{path}");
    let answer = agent.get(url("/api/v1/status")).call().expect("an answer");
    assert_eq!(answer.status(), 401);
    for path in ["pause", "resume", "drain", "stop"] {
        let wrong = agent.post(url(&format!("/api/v1/{path}")));
        let answer = wrong.header("authorization", "Bearer guessed").send_empty();
        assert_eq!(answer.expect("an answer").status(), 401, "{path}");
    }
    for path in ["/healthz", "/metrics", "/", "/page.js", "/page.css"] {
        let mut answer = agent.get(url(path)).call().expect("an answer");
        assert_eq!(answer.status(), 200, "{path}");
        let text = answer.body_mut().read_to_string().expect("text");
        assert!(!text.contains(project), "{path} tells of a project");
    }
}
