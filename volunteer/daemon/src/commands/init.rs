//! `init`: a key, and a configuration; at a terminal with what the owner gives.

use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::path::Path;

use capability::Signer;
use mesh_shell::config::CommonArgs;
use mesh_shell::{Exit, Failure, OrExit, Outcome, config as shell_config, default_config, outln};

use super::config::edited;
use crate::config::{self, ROLE, TEMPLATE, Usual};
use crate::daemon;

/// Bytes of an answer at most.
const MAX_ANSWER: u64 = 4096;

/// A setting that is asked for.
struct Question {
    name: &'static str,
    text: &'static str,
    usual: String,
}

/// Makes what a daemon needs, and leaves alone what is there.
pub fn init(common: &CommonArgs, yes: bool) -> Outcome {
    let state = shell_config::state_dir(ROLE, common.state.as_deref())?;
    let key = daemon::key(&state)?;
    outln!("key: {}", key.public());
    let path = match &common.config {
        Some(path) => path.clone(),
        None => default_config(ROLE)?,
    };
    if path.exists() {
        outln!("configuration: {} (left as it is)", path.display());
        return Ok(());
    }
    let text = if yes || !io::stdin().is_terminal() {
        TEMPLATE.to_owned()
    } else {
        ask(&questions(&state), &path, &mut io::stdin().lock(), &mut io::stderr())?
    };
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory).or_exit(Exit::State)?;
    }
    std::fs::write(&path, text).or_exit(Exit::State)?;
    outln!("configuration: {}", path.display());
    Ok(())
}

fn questions(state: &Path) -> [Question; 4] {
    let Usual { cores, memory, disk } = config::usual(state);
    let question = |name, text, usual| Question { name, text, usual };
    [
        question("cores", "Cores for all jobs together", cores),
        question("memory", "Memory for them, such as 2 GiB", memory),
        question("disk", "Disk space for them, such as 4 GiB", disk),
        question("hours", "Hours of the day, such as 22:00-07:00", "always".to_owned()),
    ]
}

/// Asks all of `questions`; gives the configuration with the answers, which is to be at `path`.
fn ask(
    questions: &[Question],
    path: &Path,
    input: &mut impl BufRead,
    output: &mut impl Write,
) -> Outcome<String> {
    let mut text = TEMPLATE.to_owned();
    writeln!(output, "What do you give? Enter takes what is in brackets.").or_exit(Exit::State)?;
    for question in questions {
        while let Some(answer) = answer(question, input, output)? {
            match edited(path, &text, question.name, &answer) {
                Ok(answered) => {
                    text = answered;
                    break;
                }
                Err(why) => writeln!(output, "{why}").or_exit(Exit::State)?,
            }
        }
    }
    Ok(text)
}

/// What is answered; nothing if the default will do.
fn answer(
    Question { text, usual, .. }: &Question,
    input: &mut impl BufRead,
    output: &mut impl Write,
) -> Outcome<Option<String>> {
    write!(output, "{text} [{usual}]: ").or_exit(Exit::State)?;
    output.flush().or_exit(Exit::State)?;
    let mut line = String::new();
    if input.by_ref().take(MAX_ANSWER).read_line(&mut line).or_exit(Exit::Input)? == 0 {
        let message = "the questions were not answered, and nothing is configured";
        let hint = "talkoot-volunteer init --yes asks none";
        return Err(Failure::say(Exit::Usage, message).hint(hint));
    }
    let answer = line.trim();
    Ok((!answer.is_empty() && answer != usual).then(|| answer.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usual() -> [Question; 4] {
        let question = |name, usual: &str| Question { name, text: name, usual: usual.to_owned() };
        [
            question("cores", "1"),
            question("memory", "1 GiB"),
            question("disk", "4 GiB"),
            question("hours", "always"),
        ]
    }

    fn asked(typed: &str) -> (Outcome<String>, String) {
        let mut said = Vec::new();
        let answered = ask(&usual(), Path::new("volunteer.toml"), &mut typed.as_bytes(), &mut said);
        (answered, String::from_utf8(said).expect("text"))
    }

    #[test]
    fn who_presses_enter_has_the_template() {
        let (text, said) = asked("1\n\n\nalways\n");
        assert!(said.contains("cores [1]: memory [1 GiB]: "), "{said}");
        assert_eq!(text.expect("answered"), TEMPLATE);
    }

    #[test]
    fn answers_stand_below_their_examples_and_wrong_ones_are_asked_for_again() {
        let typed = "none\n0\n50%\n1 KiB\n3 GiB\n\nat night\n22:00-07:00\n";
        let (text, said) = asked(typed);
        let text = text.expect("answered");
        let said_so = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        let changed: Vec<_> = said_so.collect();
        assert_eq!(changed, ["cores = \"50%\"", "memory = \"3 GiB\"", "hours = \"22:00-07:00\""]);
        for why in ["is not a number of cores", "from 1 to 4096", "no job could run", "at night"] {
            assert!(said.contains(why), "{why}: {said}");
        }
        assert_eq!(said.matches("cores [1]: ").count(), 3);
    }

    #[test]
    fn who_leaves_in_between_has_configured_nothing() {
        assert_eq!(asked("2\n").0.expect_err("not answered").exit(), Exit::Usage);
    }
}
