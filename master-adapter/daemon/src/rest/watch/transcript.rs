//! What a reader was told of a task's output: bytes become text, and none is told twice.

use std::collections::{BTreeMap, VecDeque};

use mesh_core::{Carries, FlowId, FlowNews};
use mesh_shell::whole_characters;

use crate::model::LiveEvent;

/// Steps that a job can have; a volunteer that tells of more lies.
const MAX_STEPS: usize = 64;

/// Bytes from which on the next output is an event of its own.
const FULL: usize = 15 << 10;

/// Something for the reader, and what is to be granted once it has it.
#[derive(Debug, PartialEq)]
pub struct Heard {
    /// What it is told.
    pub event: LiveEvent,
    /// Of which flow.
    pub flow: FlowId,
    /// The bytes that it takes from the flow's window.
    pub bytes: usize,
}

impl Heard {
    /// Puts itself behind what waits in `queue`: many small outputs of a step become few.
    pub fn line_up(self, queue: &mut VecDeque<Self>) {
        let last = queue.back_mut().filter(|last| last.flow == self.flow);
        match (last, &self.event) {
            (
                Some(Self { event: LiveEvent::Output { text, .. }, bytes, .. }),
                LiveEvent::Output { text: more, .. },
            ) if text.len() < FULL => {
                text.push_str(more);
                *bytes += self.bytes;
            }
            _ => queue.push_back(self),
        }
    }
}

/// What was told, over as many channels as it took.
#[derive(Debug, Default)]
pub struct Transcript {
    /// How far each step was told, in bytes.
    told: BTreeMap<u32, u64>,
    /// The flows of the present channel.
    flows: BTreeMap<FlowId, Log>,
}

#[derive(Debug)]
struct Log {
    step: u32,
    /// Bytes that have come or were left out.
    position: u64,
    /// The beginning of a character whose end is on its way.
    partial: Vec<u8>,
}

impl Transcript {
    /// A channel is open whose flows begin from the first byte.
    pub fn channel_opened(&mut self) {
        self.flows.clear();
    }

    /// What of `news` the reader is to be told.
    pub fn hear(&mut self, news: FlowNews) -> Option<Heard> {
        match news {
            FlowNews::Opened { flow, carries: Carries::Log { step, name } } => {
                if self.told.len() >= MAX_STEPS && !self.told.contains_key(&step) {
                    // What comes of it is passed over, and nothing more is granted.
                    return None;
                }
                self.flows.insert(flow, Log { step, position: 0, partial: Vec::new() });
                if self.told.contains_key(&step) {
                    return None;
                }
                self.told.insert(step, 0);
                Some(Heard { event: LiveEvent::Step { step, name }, flow, bytes: 0 })
            }
            FlowNews::Data { flow, bytes } => self.output(flow, &bytes),
            FlowNews::LeftOut { flow, bytes } => {
                let log = self.flows.get_mut(&flow)?;
                log.position = log.position.saturating_add(bytes);
                log.partial.clear();
                let bytes = advance(&mut self.told, log);
                let event = LiveEvent::LeftOut { step: log.step, bytes };
                (bytes > 0).then_some(Heard { event, flow, bytes: 0 })
            }
            FlowNews::Ended { flow } => {
                let Log { step, partial, .. } = self.flows.remove(&flow)?;
                let text = String::from_utf8_lossy(&partial).into_owned();
                let event = LiveEvent::Output { step, text };
                (!partial.is_empty()).then_some(Heard { event, flow, bytes: 0 })
            }
            FlowNews::Heard | FlowNews::Bye(_) => None,
        }
    }

    fn output(&mut self, flow: FlowId, bytes: &[u8]) -> Option<Heard> {
        let log = self.flows.get_mut(&flow)?;
        log.position = log.position.saturating_add(bytes.len() as u64);
        let new = usize::try_from(advance(&mut self.told, log)).unwrap_or(usize::MAX);
        let new = &bytes[bytes.len().saturating_sub(new)..];
        let all = [std::mem::take(&mut log.partial).as_slice(), new].concat();
        let (whole, partial) = all.split_at(whole_characters(&all));
        log.partial = partial.to_vec();
        let text = String::from_utf8_lossy(whole).into_owned();
        // What was told already is granted again as well.
        let event = LiveEvent::Output { step: log.step, text };
        Some(Heard { event, flow, bytes: bytes.len() })
    }
}

/// Notes that `log` has come to its position; gives how many bytes of it are new.
fn advance(told: &mut BTreeMap<u32, u64>, log: &Log) -> u64 {
    let told = told.entry(log.step).or_default();
    let new = log.position.saturating_sub(*told);
    *told += new;
    new
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(flow: u64, step: u32) -> FlowNews {
        let carries = Carries::Log { step, name: "build".to_owned() };
        FlowNews::Opened { flow: FlowId(flow), carries }
    }

    fn data(flow: u64, text: &[u8]) -> FlowNews {
        FlowNews::Data { flow: FlowId(flow), bytes: text.to_vec() }
    }

    fn text(heard: Option<Heard>) -> String {
        match heard.expect("something new").event {
            LiveEvent::Output { text, .. } => text,
            event => panic!("{event:?} is no output"),
        }
    }

    #[test]
    fn characters_that_come_in_pieces_are_told_whole() {
        let mut transcript = Transcript::default();
        transcript.hear(opened(0, 0));
        assert_eq!(text(transcript.hear(data(0, b"caf\xc3"))), "caf");
        assert_eq!(text(transcript.hear(data(0, b"\xa9 \xf0\x9f"))), "\u{e9} ");
        assert_eq!(text(transcript.hear(data(0, b"\x8e\x89\xff!"))), "\u{1f389}\u{fffd}!");
        assert_eq!(text(transcript.hear(data(0, b"\xe2"))), "");
        let rest = transcript.hear(FlowNews::Ended { flow: FlowId(0) });
        assert_eq!(text(rest), "\u{fffd}", "its end never came");
    }

    #[test]
    fn a_channel_that_is_opened_again_repeats_nothing() {
        let mut transcript = Transcript::default();
        let step = transcript.hear(opened(0, 0)).expect("new").event;
        assert_eq!(step, LiveEvent::Step { step: 0, name: "build".to_owned() });
        assert_eq!(text(transcript.hear(data(0, b"one\ntw"))), "one\ntw");

        transcript.channel_opened();
        assert_eq!(transcript.hear(opened(0, 0)), None);
        let again = transcript.hear(data(0, b"one\n"));
        let again = again.expect("it is granted again");
        assert_eq!((again.bytes, text(Some(again))), (4, String::new()));
        assert_eq!(text(transcript.hear(data(0, b"two\nthree"))), "o\nthree");
    }

    #[test]
    fn many_small_outputs_become_few_events() {
        let mut queue = VecDeque::new();
        let heard = |flow, text: &str| Heard {
            event: LiveEvent::Output { step: 0, text: text.to_owned() },
            flow: FlowId(flow),
            bytes: text.len(),
        };
        for _ in 0..FULL {
            heard(0, "ab").line_up(&mut queue);
        }
        heard(1, "c").line_up(&mut queue);
        heard(0, "d").line_up(&mut queue);
        let sizes: Vec<_> = queue.iter().map(|heard| heard.bytes).collect();
        assert_eq!(sizes, [FULL, FULL, 1, 1]);
    }

    #[test]
    fn a_volunteer_that_tells_of_steps_without_number_is_not_heard() {
        let mut transcript = Transcript::default();
        let steps = u32::try_from(MAX_STEPS).expect("small");
        for step in 0..10 * steps {
            transcript.hear(opened(step.into(), step));
        }
        assert_eq!((transcript.told.len(), transcript.flows.len()), (MAX_STEPS, MAX_STEPS));
        assert_eq!(transcript.hear(data(u64::from(steps), b"x")), None);
    }

    #[test]
    fn bytes_that_were_told_before_they_were_forgotten_are_not_missed() {
        let mut transcript = Transcript::default();
        transcript.hear(opened(0, 3));
        transcript.hear(data(0, &[b'a'; 10]));
        transcript.channel_opened();
        transcript.hear(opened(0, 3));
        let left_out = |bytes| FlowNews::LeftOut { flow: FlowId(0), bytes };
        assert_eq!(transcript.hear(left_out(8)), None);
        let heard = transcript.hear(left_out(7)).expect("5 of them are missed");
        assert_eq!(heard.event, LiveEvent::LeftOut { step: 3, bytes: 5 });
        assert_eq!(text(transcript.hear(data(0, b"z"))), "z");
    }
}
