//! The daemon as a service, and what shells know of its commands.

use std::process::{Command, Output};

use serde_json::Value;

use crate::{check_fails, volunteer, with_config};

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_user_unit_is_written_shown_and_removed() {
    let directory = with_config("");
    let service = |arguments: &[&str]| {
        let mut command = volunteer(directory.path());
        // No systemd of the machine is to be asked to start anything.
        command.env("XDG_CONFIG_HOME", directory.path().join("config"));
        command.env("PATH", directory.path()).arg("service").args(arguments);
        command.output().unwrap()
    };
    let unit = directory.path().join("config/systemd/user/talkoot-volunteer.service");
    let found = |output: &Output| serde_json::from_slice::<Value>(&output.stdout).unwrap();
    assert_eq!(found(&service(&["status", "--json"]))["user"]["installed"], false);

    let installed = service(&["install"]);
    check_fails(&installed, 0, "where it runs, type: systemctl --user daemon-reload && ");
    let written = std::fs::read_to_string(&unit).unwrap();
    let program = env!("CARGO_BIN_EXE_talkoot-volunteer");
    assert!(written.contains(&format!("ExecStart={program} run --config ")), "{written}");
    assert_eq!(text(&service(&["install", "--print"])), written);
    let status = found(&service(&["status", "--json"]));
    assert_eq!((&status["user"]["current"], &status["daemon"]), (&true.into(), &Value::Null));

    assert!(service(&["uninstall"]).status.success());
    assert!(!unit.exists());
    check_fails(&service(&["uninstall"]), 3, "there is no");
    check_fails(&service(&["install", "--for", "launchd"]), 2, "only systemd is managed");
    let hidden = service(&["install", "--system", "--state", "/home/somebody/talkoot"]);
    check_fails(&hidden, 3, "cannot see");
}

#[test]
fn systemd_finds_nothing_wrong_with_either_unit() {
    let directory = with_config("");
    for kind in ["systemd-user", "systemd-system"] {
        let mut command = volunteer(directory.path());
        let printed = command.args(["service", "install", "--print", "--for", kind]).output();
        let unit = directory.path().join("talkoot-volunteer.service");
        std::fs::write(&unit, printed.unwrap().stdout).unwrap();
        let verified = Command::new("systemd-analyze").arg("verify").arg(&unit).output();
        let verified = verified.expect("systemd-analyze is there: cargo xtask check --setup");
        let said = String::from_utf8_lossy(&verified.stderr);
        // What is wrong with other units of the machine is none of ours.
        let ours: Vec<_> = said.lines().filter(|it| it.contains("talkoot-volunteer")).collect();
        assert!(ours.is_empty(), "{kind}: {ours:?}");
    }
}

#[test]
fn shells_are_told_of_every_command() {
    let directory = with_config("");
    for shell in ["bash", "zsh", "fish", "powershell"] {
        let script = volunteer(directory.path()).args(["completions", shell]).output().unwrap();
        for command in ["doctor", "exec", "logs", "uninstall"] {
            assert!(text(&script).contains(command), "{shell}: {command}");
        }
    }
    let script = volunteer(directory.path()).args(["completions", "bash"]).output().unwrap();
    let file = directory.path().join("completions");
    std::fs::write(&file, &script.stdout).unwrap();
    let asked = format!(
        "source '{}'; told=$(complete -p talkoot-volunteer); told=${{told#*-F }}; \
         COMP_WORDS=(talkoot-volunteer proj); COMP_CWORD=1; \
         ${{told%% *}} talkoot-volunteer proj talkoot-volunteer; echo ${{COMPREPLY[@]}}",
        file.display()
    );
    match Command::new("bash").args(["-c", &asked]).output() {
        Ok(replied) => assert_eq!(text(&replied), "project\n"),
        Err(error) => eprintln!("not tried in bash: {error}"),
    }
}
