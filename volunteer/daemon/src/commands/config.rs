//! `config …`: what the settings are and where each comes from; whether a file is sound; one changed.

use std::path::{Path, PathBuf};

use mesh_shell::config::{self as shell_config, CommonArgs};
use mesh_shell::{Exit, Failure, Outcome, access, default_config, escape_line, outln, write_whole};
use serde::Serialize;
use serde_json::json;

use super::print_json;
use crate::arguments::{ConfigCommand, RunArgs};
use crate::config::{self, ROLE, Settings, TEMPLATE};
use crate::settings_text;

/// Bytes of a configuration that is changed here, as many as are read.
const MAX_VALUE: usize = 4096;

/// Every setting, its default in words, and its flag without dashes if it has one.
const SETTINGS: [(&str, &str, Option<&str>); 31] = [
    ("brokers", "those of pinned projects", Some("broker")),
    ("discover", "true", None),
    ("network", "none", None),
    ("network-list", "none", None),
    ("cores", "\"all-1\"", Some("cores")),
    ("memory", "half", Some("memory")),
    ("disk", "8 GiB, or half of what is free", Some("disk")),
    ("max-wall", "any", None),
    ("http", "\"127.0.0.1:4081\"", Some("http")),
    ("name", "none", Some("name")),
    ("labels", "none", None),
    ("hours", "always", None),
    ("network-hours", "always", None),
    ("network-quota", "any", None),
    ("network-down", "any", None),
    ("network-up", "any", None),
    ("job-network", "false", None),
    ("job-network-deny", "none", None),
    ("pause-on-battery", "false", None),
    ("max-temperature", "any", None),
    ("in-use", "nothing is looked at", None),
    ("offline", "\"auto\"", None),
    ("work-buffer", "none", None),
    ("runtimes", "native, wasm, container", None),
    ("image-cache", "4 GiB", None),
    ("image-engine", "\"none\"", None),
    ("image-repositories", "none", None),
    ("image-pull", "false", None),
    ("live", "true", Some("live")),
    ("policy", "every offer of a trusted project will do", None),
    ("tool", "none", None),
];

/// Does it.
pub fn run(common: &CommonArgs, command: ConfigCommand) -> Outcome {
    match command {
        ConfigCommand::Show { flags, json } => show(common, flags, json),
        ConfigCommand::Check { file } => check(common, file),
        ConfigCommand::Set { setting, value, json } => set(common, &setting, &value, json),
    }
}

/// One setting.
#[derive(Debug, Serialize)]
struct Row {
    setting: &'static str,
    /// As it is written, or its default in words.
    value: String,
    /// `default`, `file`, `variable` or `flag`.
    from: &'static str,
    /// What that is on this machine, if it is a proportion of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    here: Option<String>,
}

fn show(common: &CommonArgs, flags: RunArgs, json: bool) -> Outcome {
    let file = shell_config::File::find(ROLE, common.config.as_deref())?;
    let settings = config::load(common, flags.clone())?;
    let text = file.as_ref().map_or("", |file| file.text.as_str());
    let written: toml::Table = toml::from_str(text).unwrap_or_default();
    let rows: Vec<_> =
        SETTINGS.iter().map(|row| self::row(row, &written, &flags, &settings)).collect();
    if json {
        return print_json(&rows);
    }
    match &file {
        Some(file) => outln!("# {}", file.path.display()),
        None => outln!("# no file"),
    }
    for Row { setting, value, from, here } in rows {
        let here = here.map(|here| format!(", here {here}")).unwrap_or_default();
        outln!("{}", escape_line(&format!("{setting} = {value}  # {from}{here}")));
    }
    Ok(())
}

fn row(
    (setting, usual, flag): &(&'static str, &'static str, Option<&'static str>),
    written: &toml::Table,
    flags: &RunArgs,
    settings: &Settings,
) -> Row {
    let flagged = flag.and_then(|flag| Some((flag, said(flags, flag)?)));
    let (value, from) = match (flagged, written.get(*setting)) {
        (Some((flag, value)), _) if is_on_command_line(flag) => (value, "flag"),
        (Some((_, value)), _) => (value, "variable"),
        (None, Some(value)) => (one_line(value), "file"),
        (None, None) => ((*usual).to_owned(), "default"),
    };
    let donated = settings.donated;
    let here = match *setting {
        "cores" => Some(donated.cores.to_string()),
        "memory" => Some(capability::format_bytes(donated.memory)),
        "disk" => Some(capability::format_bytes(donated.disk)),
        _ => None,
    };
    let here = here.filter(|here| value_of(&value) != *here);
    Row { setting, value, from, here }
}

/// Tables in one line, as nobody could read them over many.
fn one_line(value: &toml::Value) -> String {
    value.to_string().split_whitespace().collect::<Vec<_>>().join(" ")
}

fn value_of(written: &str) -> &str {
    written.trim_matches('"')
}

/// What flag or variable say.
fn said(flags: &RunArgs, flag: &str) -> Option<String> {
    let quoted = |text: String| format!("{text:?}");
    match flag {
        "broker" if flags.brokers.is_empty() => None,
        "broker" => {
            Some(format!("{:?}", flags.brokers.iter().map(ToString::to_string).collect::<Vec<_>>()))
        }
        "cores" => flags.cores.map(|it| quoted(it.to_string())),
        "memory" => flags.memory.map(|it| quoted(it.to_string())),
        "disk" => flags.disk.map(|it| quoted(it.to_string())),
        "http" => flags.http.map(|it| quoted(it.to_string())),
        "name" => flags.name.clone().map(quoted),
        "live" => flags.live.map(|it| it.to_string()),
        _ => None,
    }
}

fn is_on_command_line(flag: &str) -> bool {
    let is = |argument: &str| {
        let rest = argument.strip_prefix("--").and_then(|rest| rest.strip_prefix(flag));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
    };
    std::env::args_os().any(|argument| argument.to_str().is_some_and(is))
}

fn check(common: &CommonArgs, file: Option<PathBuf>) -> Outcome {
    let path = path(common, file)?;
    let common = CommonArgs { config: Some(path.clone()), ..common.clone() };
    let settings = config::load(&common, RunArgs::default())?;
    settings.doubts().iter().for_each(|doubt| eprintln!("warning: {doubt}"));
    outln!("{}: sound", path.display());
    Ok(())
}

/// The file that is meant, whether it is there or not.
fn path(common: &CommonArgs, named: Option<PathBuf>) -> Outcome<PathBuf> {
    match named.or_else(|| common.config.clone()) {
        Some(path) => Ok(path),
        None => default_config(ROLE),
    }
}

/// The daemon, if one runs, notices.
fn set(common: &CommonArgs, setting: &str, value: &str, json: bool) -> Outcome {
    if value.len() > MAX_VALUE || value.contains(char::is_control) {
        return Err(Failure::say(Exit::Usage, "the value is too long, or has control characters"));
    }
    let path = path(common, None)?;
    // A link stays one.
    let path = std::fs::canonicalize(&path).unwrap_or(path);
    let text = if path.exists() {
        shell_config::File::find(ROLE, Some(&path))?.map(|file| file.text).unwrap_or_default()
    } else {
        TEMPLATE.to_owned()
    };
    let edited = edited(&path, &text, setting, value)?;
    write_whole(&path, edited.as_bytes(), mode(&path))?;
    if json {
        return print_json(&json!({ "file": path, "setting": setting, "value": value }));
    }
    outln!("{}: {setting} is set; a running daemon takes it over within seconds", path.display());
    Ok(())
}

/// `text` with the setting, as TOML if it is that, else as a word: nobody wants to quote `50%` twice.
pub fn edited(path: &Path, text: &str, setting: &str, value: &str) -> Outcome<String> {
    let names: Vec<&str> = setting.split('.').collect();
    let mut failure = None;
    for value in [value.to_owned(), toml::Value::from(value).to_string()] {
        let Some(text) = settings_text::set(text, &names, &value) else { continue };
        match config::check(path, &text) {
            Ok(()) => return Ok(text),
            // What is wrong with the TOML says more than what is wrong with the word.
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    Err(failure.unwrap_or_else(|| {
        Failure::say(
            Exit::Input,
            format!("{setting} cannot be set in {} by itself", path.display()),
        )
        .hint("change the file with an editor, then: talkoot-volunteer config check")
    }))
}

/// The rights that the file has; it holds no secret.
fn mode(path: &Path) -> u32 {
    let found = std::fs::metadata(path).ok().and_then(|found| access::of(&found));
    found.map_or(0o644, |mode| mode & 0o777)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_of_the_file_is_shown() {
        let error = config::check(Path::new("x"), "unknown = 1").expect_err("unknown").to_string();
        let (_, expected) = error.split_once("expected one of ").expect("it lists them");
        let mut fields: Vec<_> = expected.split('`').skip(1).step_by(2).collect();
        let mut shown: Vec<_> = SETTINGS.iter().map(|(setting, ..)| *setting).collect();
        fields.sort_unstable();
        shown.sort_unstable();
        assert_eq!(shown, fields);
    }
}
