//! `service`: the daemon as a service of the system.

mod files;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context;
use mesh_shell::config::CommonArgs;
use mesh_shell::out::put;
use mesh_shell::{Exit, Failure, OrExit, Outcome, outln};
use serde::Serialize;

pub use self::files::Kind;
use super::{ask, print_json};
use crate::arguments::ServiceCommand;

/// The unit's name.
const UNIT: &str = "talkoot-volunteer.service";

/// What `ProtectHome=yes` hides.
const HOMES: [&str; 3] = ["/home", "/root", "/run/user"];

/// Does it.
pub fn run(common: &CommonArgs, command: ServiceCommand) -> Outcome {
    match command {
        ServiceCommand::Install { print: true, kind, system, .. } => {
            put(&text(common, kind.unwrap_or_else(|| Service::of(system).kind()))?)
        }
        ServiceCommand::Install { kind: Some(kind), system, .. }
            if kind != Service::of(system).kind() =>
        {
            Err(Failure::say(Exit::Usage, "only systemd is managed by this program").hint(
                "service install --print --for KIND prints the file, which says where it goes",
            ))
        }
        ServiceCommand::Install { system, .. } => Service::of(system).install(common),
        ServiceCommand::Uninstall { system } => Service::of(system).uninstall(),
        ServiceCommand::Status { json } => status(common, json),
    }
}

/// The file of `kind` for this program.
fn text(common: &CommonArgs, kind: Kind) -> Outcome<String> {
    let program = env::current_exe().context("cannot find this program").or_exit(Exit::State)?;
    let mut more = Vec::new();
    for (flag, path) in [("--config", &common.config), ("--state", &common.state)] {
        if let Some(path) = path {
            let path = std::path::absolute(path).or_exit(Exit::Usage)?;
            more.extend([flag.to_owned(), path.to_string_lossy().into_owned()]);
        }
    }
    files::file(kind, &program, &more)
}

/// Whose service it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Service {
    User,
    System,
}

/// What systemctl has done.
enum Asked {
    /// It did, and said this.
    Done(String),
    /// It did not; why, in its words.
    Failed(String),
}

impl Service {
    fn of(system: bool) -> Self {
        if system { Self::System } else { Self::User }
    }

    fn kind(self) -> Kind {
        match self {
            Self::User => Kind::SystemdUser,
            Self::System => Kind::SystemdSystem,
        }
    }

    /// Where the unit goes.
    fn path(self) -> Outcome<PathBuf> {
        if self == Self::System {
            return Ok(Path::new("/etc/systemd/system").join(UNIT));
        }
        let named = env::var_os("XDG_CONFIG_HOME").map(PathBuf::from);
        let config = named.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".config")));
        match config.filter(|path| path.is_absolute()) {
            Some(config) => Ok(config.join("systemd/user").join(UNIT)),
            None => Err(Failure::say(Exit::State, "there is no home directory")
                .hint("set HOME, or use --system")),
        }
    }

    /// `systemctl` with `arguments`, as one types it.
    fn line(self, arguments: &str) -> String {
        match self {
            Self::User => format!("systemctl --user {arguments}"),
            Self::System => format!("systemctl {arguments}"),
        }
    }

    fn ask(self, arguments: &str) -> Asked {
        let line = self.line(arguments);
        let mut words = line.split(' ');
        let program = words.next().expect("it begins with one");
        let output = Command::new(program).args(words).stdin(Stdio::null()).output();
        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().replace('\n', "; ");
        match output {
            Ok(output) if output.status.success() => Asked::Done(said(&output.stdout)),
            Ok(output) => match (said(&output.stdout), said(&output.stderr)) {
                (words, none) if none.is_empty() => Asked::Failed(words),
                (_, error) => Asked::Failed(error),
            },
            Err(error) => Asked::Failed(error.to_string()),
        }
    }

    /// Writes the unit, and starts the service if there is a systemd that does so.
    fn install(self, common: &CommonArgs) -> Outcome {
        let (path, text) = (self.path()?, text(common, self.kind())?);
        self.can_see(common)?;
        let shown = path.display();
        let written = path.parent().map_or(Ok(()), fs::create_dir_all);
        written
            .and_then(|()| fs::write(&path, text))
            .with_context(|| format!("cannot write {shown}"))
            .or_exit(Exit::State)
            .map_err(|failure| match self {
                Self::System => failure.hint("be root, or leave out --system"),
                Self::User => failure,
            })?;
        outln!("written: {shown}");
        self.do_all(&["daemon-reload", &format!("enable --now {UNIT}")], "runs from now on");
        match self {
            Self::User => eprintln!("to run while you are not logged in: loginctl enable-linger"),
            Self::System => eprintln!(
                "it runs as the user talkoot, who must be there: useradd --system --shell \
                 /usr/sbin/nologin talkoot"
            ),
        }
        Ok(())
    }

    /// The unit of the machine is shown no home directory, and would be started again and again to no end.
    fn can_see(self, common: &CommonArgs) -> Outcome {
        if self == Self::User {
            return Ok(());
        }
        let program =
            env::current_exe().context("cannot find this program").or_exit(Exit::State)?;
        let paths = [Some(program), common.config.clone(), common.state.clone()];
        for path in paths.into_iter().flatten() {
            let path = std::path::absolute(path).or_exit(Exit::Usage)?;
            if HOMES.iter().any(|home| path.starts_with(home)) {
                let message = format!("a service of the machine cannot see {}", path.display());
                return Err(Failure::say(Exit::Input, message).hint(
                    "home directories are hidden from it: put it into /usr/local/bin, /etc/talkoot or \
                     /var/lib/talkoot; or leave out --system",
                ));
            }
        }
        Ok(())
    }

    fn uninstall(self) -> Outcome {
        let path = self.path()?;
        let shown = path.display();
        if !path.try_exists().or_exit(Exit::State)? {
            return Err(Failure::say(Exit::Input, format!("there is no {shown}"))
                .hint("service status shows what there is; --system names that of the machine"));
        }
        // While its file is there, systemd knows what to stop.
        self.do_all(&[&format!("disable --now {UNIT}")], "does not run any more");
        fs::remove_file(&path)
            .with_context(|| format!("cannot remove {shown}"))
            .or_exit(Exit::State)?;
        outln!("removed: {shown}");
        self.do_all(&["daemon-reload"], "is forgotten; key, projects and results are kept");
        Ok(())
    }

    /// Has systemd do all of `commands`; says what to type where it does not.
    fn do_all(self, commands: &[&str], then: &str) {
        for (index, command) in commands.iter().enumerate() {
            if let Asked::Failed(why) = self.ask(command) {
                let left: Vec<_> = commands[index..].iter().map(|it| self.line(it)).collect();
                eprintln!("systemd does not do it: {why}");
                eprintln!("where it runs, type: {}", left.join(" && "));
                return;
            }
        }
        eprintln!("the service {then}");
    }

    fn found(self, common: &CommonArgs) -> Outcome<Found> {
        let path = self.path()?;
        let there = fs::read_to_string(&path).ok();
        let expected = text(common, self.kind())?;
        let said = |asked| match asked {
            Asked::Done(said) | Asked::Failed(said) => said,
        };
        let known = there.is_some();
        Ok(Found {
            unit: path,
            installed: known,
            current: there.map(|there| there == expected),
            enabled: known.then(|| said(self.ask(&format!("is-enabled {UNIT}")))),
            active: known.then(|| said(self.ask(&format!("is-active {UNIT}")))),
        })
    }
}

/// What is found of one service.
#[derive(Debug, Serialize)]
struct Found {
    /// Where its file belongs.
    unit: PathBuf,
    installed: bool,
    /// Whether the file is the one that this program would write.
    current: Option<bool>,
    /// What systemd says of it.
    enabled: Option<String>,
    active: Option<String>,
}

impl Found {
    fn say(&self, what: &str) {
        let Self { unit, current, enabled, active, .. } = self;
        let unit = unit.display();
        let Some(current) = current else { return outln!("{what}: none ({unit})") };
        let word = |it: &Option<String>| it.clone().filter(|it| !it.is_empty());
        let unknown = || "unknown to systemd".to_owned();
        let (enabled, active) = (word(enabled).unwrap_or_else(unknown), word(active));
        outln!("{what}: {unit}");
        outln!("  enabled: {enabled}");
        outln!("  active: {}", active.unwrap_or_else(unknown));
        if !current {
            outln!("  another program or version has written it; service install renews it");
        }
    }
}

fn status(common: &CommonArgs, json: bool) -> Outcome {
    let (user, system) = (Service::User.found(common)?, Service::System.found(common)?);
    let daemon = ask::running(common).map(|status| status.version);
    if json {
        return print_json(&serde_json::json!({
            "user": user, "system": system, "daemon": daemon
        }));
    }
    user.say("service of the user");
    system.say("service of the machine");
    match daemon {
        Some(version) => outln!("a daemon of version {version} answers"),
        None => outln!("no daemon of this state directory answers"),
    }
    Ok(())
}
