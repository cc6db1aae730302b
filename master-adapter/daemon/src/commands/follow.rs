//! `logs --follow`: what a task's steps write while they run.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};

use anyhow::Context;
use mesh_shell::out::put;
use mesh_shell::{Exit, Failure, OrExit, Outcome, escape, escape_line};

use crate::client::Client;
use crate::model::LiveEvent;

/// Bytes of one event at most: a message of 15 KiB in which every byte is escaped.
const MAX_EVENT: u64 = 256 << 10;

/// What to do about a task that cannot be watched to its end.
const HINT: &str = "its result will have the whole log; `talkoot-master wait` follows the job";

/// Prints what task `task` writes, from where it is known to its end; of one step only, if one is named.
pub fn follow(
    client: &Client,
    offer: &str,
    task: u32,
    replica: u16,
    step: Option<&str>,
) -> Outcome {
    let path = format!("/jobs/{offer}/tasks/{task}/log?follow=true&replica={replica}");
    let events = client.bytes(&path).map_err(|failure| failure.hint(HINT))?;
    let mut events = BufReader::new(events);
    let mut screen = Screen { only: step, steps: BTreeMap::new() };
    while let Some(event) = next(&mut events)? {
        match event {
            LiveEvent::Settled if screen.steps.is_empty() => {
                return super::logs(client, offer, task, replica, step);
            }
            LiveEvent::Settled => {
                eprintln!("the task has a result, which has the whole log");
                return Ok(());
            }
            LiveEvent::Over { reason } => {
                eprintln!("{}", escape_line(&reason));
                return Ok(());
            }
            LiveEvent::Lost { reason } => {
                return Err(Failure::say(Exit::Network, escape_line(&reason)).hint(HINT));
            }
            event => screen.show(event)?,
        }
    }
    Err(Failure::say(Exit::Network, "the adapter has ended").hint(HINT))
}

/// The next event; `None` at the end of the stream.
fn next(events: &mut impl BufRead) -> Outcome<Option<LiveEvent>> {
    loop {
        let mut line = Vec::new();
        let read = events.by_ref().take(MAX_EVENT).read_until(b'\n', &mut line);
        if read.context("cannot read what the adapter tells").or_exit(Exit::Network)? == 0 {
            return Ok(None);
        }
        if let Some(event) = line.strip_prefix(b"data: ") {
            let event = serde_json::from_slice(event).context("an event that is not an adapter's");
            return event.or_exit(Exit::Network).map(Some);
        }
    }
}

/// What was printed.
struct Screen<'a> {
    only: Option<&'a str>,
    steps: BTreeMap<u32, String>,
}

impl Screen<'_> {
    /// Output goes to standard output, and words about it to standard error.
    fn show(&mut self, event: LiveEvent) -> Outcome {
        match event {
            LiveEvent::Step { step, name } => {
                if self.only.is_none() {
                    eprintln!("==> {} <==", escape_line(&name));
                }
                self.steps.insert(step, name);
            }
            LiveEvent::Output { step, text } if self.wants(step) => {
                put(&escape(text.as_bytes()))?;
                // A line may take its time to be complete. Nobody needs it who does not read it.
                let _ = std::io::stdout().flush();
            }
            LiveEvent::LeftOut { step, bytes } if self.wants(step) => {
                let bytes = capability::format_bytes(bytes);
                eprintln!("({bytes} left out here; the result will have them)");
            }
            LiveEvent::Broke { reason } => {
                eprintln!("{}; opening the channel again", escape_line(&reason));
            }
            LiveEvent::Anew => {
                eprintln!("another volunteer works on the task now, from its beginning");
                self.steps.clear();
            }
            _ => {}
        }
        Ok(())
    }

    fn wants(&self, step: u32) -> bool {
        self.only.is_none_or(|only| self.steps.get(&step).is_some_and(|name| name == only))
    }
}
