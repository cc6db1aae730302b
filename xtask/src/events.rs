//! What the processes of a network log, in one sequence that can be waited on.

use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::{Map, Value};

/// One line that a process logged.
#[derive(Debug, Clone)]
pub struct Event {
    /// Since the network was started.
    pub at: Duration,
    /// The process.
    pub who: String,
    /// The event's name; for a line that is no structured log, the line.
    pub name: String,
    fields: Map<String, Value>,
}

impl Event {
    /// A field as text; empty if there is none.
    pub fn field(&self, name: &str) -> String {
        match self.fields.get(name) {
            Some(Value::String(text)) => text.clone(),
            Some(value) => value.to_string(),
            None => String::new(),
        }
    }

    /// Whether process `who` logged `name`.
    pub fn is(&self, who: &str, name: &str) -> bool {
        self.who == who && self.name == name
    }
}

type Observer = Box<dyn Fn(&Event) + Send + Sync>;

/// Everything that was logged so far.
pub struct Events {
    started: Instant,
    seen: Mutex<Vec<Event>>,
    grown: Condvar,
    observer: Observer,
}

impl Events {
    /// Nothing yet. `observer` is told of every event as it comes.
    pub fn new(observer: impl Fn(&Event) + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self {
            started: Instant::now(),
            seen: Mutex::new(Vec::new()),
            grown: Condvar::new(),
            observer: Box::new(observer),
        })
    }

    /// Reads the log of process `who` until it ends, in a thread of its own.
    pub fn follow(self: &Arc<Self>, who: &str, log: impl Read + Send + 'static) {
        let (events, who) = (Arc::clone(self), who.to_owned());
        std::thread::spawn(move || {
            for line in BufReader::new(log).lines().map_while(Result::ok) {
                events.record(parse(&who, &line, events.started.elapsed()));
            }
        });
    }

    /// How many events there are; a place from which to wait for later ones.
    pub fn mark(&self) -> usize {
        self.lock().len()
    }

    /// Every event so far.
    pub fn all(&self) -> Vec<Event> {
        self.lock().clone()
    }

    /// The first event after `mark` that satisfies `wanted`; waits for it up to `patience`.
    pub fn wait(
        &self,
        mark: usize,
        what: &str,
        patience: Duration,
        wanted: impl Fn(&Event) -> bool,
    ) -> Result<Event> {
        self.wait_for(mark, 1, what, patience, wanted)
    }

    /// The last of the first `count` events after `mark` that satisfy `wanted`; waits for all of them
    /// up to `patience`.
    pub fn wait_for(
        &self,
        mark: usize,
        count: usize,
        what: &str,
        patience: Duration,
        wanted: impl Fn(&Event) -> bool,
    ) -> Result<Event> {
        let deadline = Instant::now() + patience;
        let mut seen = self.lock();
        let (mut looked_at, mut missing) = (mark, count);
        loop {
            for event in seen.iter().skip(looked_at).filter(|event| wanted(event)) {
                missing -= 1;
                if missing == 0 {
                    return Ok(event.clone());
                }
            }
            looked_at = seen.len();
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let last = tail(&seen);
                bail!(
                    "waited {patience:?} in vain for {what} ({missing} of {count} are missing); the \
                     last events:\n{last}"
                );
            }
            let waited = self.grown.wait_timeout(seen, left);
            seen = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn record(&self, event: Event) {
        (self.observer)(&event);
        self.lock().push(event);
        self.grown.notify_all();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Event>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn parse(who: &str, line: &str, at: Duration) -> Event {
    let fields = match serde_json::from_str(line) {
        Ok(Value::Object(fields)) => fields,
        _ => Map::new(),
    };
    let name = fields.get("message").and_then(Value::as_str).unwrap_or(line).to_owned();
    Event { at, who: who.to_owned(), name, fields }
}

fn tail(events: &[Event]) -> String {
    let last = events.iter().rev().take(40).rev();
    let line = |event: &Event| {
        let fields = Value::Object(event.fields.clone());
        format!("{:7.2} {} {} {fields}", event.at.as_secs_f64(), event.who, event.name)
    };
    last.map(line).collect::<Vec<_>>().join("\n")
}
