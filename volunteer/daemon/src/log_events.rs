//! What a running job writes, as lines of JSON for whoever reads it on this machine.

use std::collections::VecDeque;
use std::convert::Infallible;

use futures::{Stream, stream};
use mesh_shell::whole_characters;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use volunteer_core::{Piece, Reader, Tail};

/// Bytes of output in one line at most.
const PIECE: usize = 16 << 10;

/// How much is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// What is there now.
    SoFar,
    /// All that comes until the job is over.
    ToTheEnd,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "event")]
pub enum LogEvent {
    /// A step has begun; what follows is its.
    Step {
        /// Its name.
        name: String,
    },
    /// The job was faster than the reader, or the reader late.
    LeftOut {
        /// So many bytes are not kept.
        bytes: u64,
    },
    /// The step has written this; what is not UTF-8 is replaced.
    Output {
        /// Not escaped: whoever prints it must see to that.
        text: String,
    },
    /// Nothing follows.
    End {
        /// Whether the job is over.
        over: bool,
    },
}

/// Turns a tail into events, in which no character is cut.
#[derive(Debug, Default)]
struct Telling {
    reader: Reader,
    /// The beginning of a character whose end is on its way.
    partial: Vec<u8>,
}

impl Telling {
    /// All that `tail` has beyond what was told.
    fn next(&mut self, tail: &Tail) -> Vec<LogEvent> {
        let mut events = Vec::new();
        while let Some(piece) = self.reader.next(tail, PIECE) {
            let output = matches!(piece, Piece::Output(_));
            if !output {
                events.extend(self.rest());
            }
            match piece {
                Piece::Step(name) => events.push(LogEvent::Step { name }),
                Piece::LeftOut(bytes) => events.push(LogEvent::LeftOut { bytes }),
                Piece::Output(bytes) => events.extend(self.output(&bytes)),
                Piece::Over => {
                    events.push(LogEvent::End { over: true });
                    break;
                }
            }
        }
        events
    }

    fn output(&mut self, bytes: &[u8]) -> Option<LogEvent> {
        self.partial.extend(bytes);
        let partial = self.partial.split_off(whole_characters(&self.partial));
        let whole = std::mem::replace(&mut self.partial, partial);
        (!whole.is_empty()).then(|| text(&whole))
    }

    /// What was waited for in vain.
    fn rest(&mut self) -> Option<LogEvent> {
        let rest = std::mem::take(&mut self.partial);
        (!rest.is_empty()).then(|| text(&rest))
    }
}

fn text(bytes: &[u8]) -> LogEvent {
    LogEvent::Output { text: String::from_utf8_lossy(bytes).into_owned() }
}

/// A reader of a tail, event by event.
pub struct Following {
    tail: watch::Receiver<Tail>,
    telling: Telling,
    extent: Extent,
    ready: VecDeque<LogEvent>,
    ended: bool,
}

/// The lines, `extent` of them.
pub fn lines(
    tail: watch::Receiver<Tail>,
    extent: Extent,
) -> impl Stream<Item = Result<String, Infallible>> {
    stream::unfold(Following::new(tail, extent), |mut following| async move {
        let event = following.next().await?;
        let mut line = serde_json::to_string(&event).expect("names, numbers and text are JSON");
        line.push('\n');
        Some((Ok(line), following))
    })
}

impl Following {
    /// Reads `extent` of `tail`.
    pub fn new(tail: watch::Receiver<Tail>, extent: Extent) -> Self {
        let telling = Telling::default();
        Self { tail, telling, extent, ready: VecDeque::new(), ended: false }
    }

    /// The next event; nothing follows [`LogEvent::End`].
    pub async fn next(&mut self) -> Option<LogEvent> {
        if self.ended {
            return None;
        }
        loop {
            if let Some(event) = self.ready.pop_front() {
                self.ended = matches!(event, LogEvent::End { .. });
                return Some(event);
            }
            let events = self.telling.next(&self.tail.borrow_and_update());
            self.ready.extend(events);
            if !self.ready.is_empty() {
                continue;
            }
            if self.extent == Extent::SoFar {
                self.ready.extend(self.telling.rest());
                self.ready.push_back(LogEvent::End { over: false });
            } else if self.tail.changed().await.is_err() {
                // Whoever had its reins is done with it.
                self.ready.extend(self.telling.next(&self.tail.borrow()));
                if self.ready.is_empty() {
                    self.ready.push_back(LogEvent::End { over: true });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(text: &str) -> LogEvent {
        LogEvent::Output { text: text.to_owned() }
    }

    #[test]
    fn no_character_is_cut_and_what_is_none_is_told_when_its_step_is_over() {
        let (mut tail, mut telling) = (Tail::default(), Telling::default());
        tail.begin("build");
        tail.push(b"cost: \xe2\x82");
        let begun = LogEvent::Step { name: "build".to_owned() };
        assert_eq!(telling.next(&tail), [begun, output("cost: ")]);
        tail.push(b"\xac\xe2");
        assert_eq!(telling.next(&tail), [output("\u{20ac}")]);
        tail.finish();
        let end = LogEvent::End { over: true };
        assert_eq!(telling.next(&tail), [output("\u{fffd}"), end]);
    }
}
