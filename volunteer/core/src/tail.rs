//! The end of what a running job writes, for those who watch it live (rule C49).
//!
//! A job has one tail, however many watch it, and each watcher a place in it. The tail forgets its oldest bytes when
//! it is full: who reads too slowly, or comes late, is told how many it has missed. The result has them all.

use std::collections::VecDeque;

use mesh_core::{Carries, ChannelMessage, FlowId, Flows, MAX_STEP_NAME};

/// Bytes of a tail at most: some thousand lines.
pub const TAIL_BYTES: usize = 256 << 10;

/// What the last message of a watched job says.
const OVER: &str = "the task has ended";

/// See the module.
#[derive(Debug, Default)]
pub struct Tail {
    steps: Vec<StepOutput>,
    /// Bytes kept of all steps together.
    kept: usize,
    over: bool,
}

#[derive(Debug, Default)]
struct StepOutput {
    name: String,
    /// Bytes before those that are kept.
    dropped: u64,
    kept: VecDeque<u8>,
    ended: bool,
}

impl Tail {
    /// The next step begins.
    pub fn begin(&mut self, name: &str) {
        self.end_step();
        let name = name[..name.floor_char_boundary(MAX_STEP_NAME)].to_owned();
        self.steps.push(StepOutput { name, ..StepOutput::default() });
    }

    /// The step that runs has written `bytes`.
    pub fn push(&mut self, bytes: &[u8]) {
        let Some(step) = self.steps.last_mut() else { return };
        step.kept.extend(bytes);
        self.kept += bytes.len();
        for step in &mut self.steps {
            let dropped = self.kept.saturating_sub(TAIL_BYTES).min(step.kept.len());
            step.kept.drain(..dropped);
            step.dropped += dropped as u64;
            self.kept -= dropped;
        }
    }

    /// The job is over.
    pub fn finish(&mut self) {
        self.end_step();
        self.over = true;
    }

    fn end_step(&mut self) {
        if let Some(step) = self.steps.last_mut() {
            step.ended = true;
        }
    }
}

/// Something that a tail has for whoever reads it on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// A step has begun; what follows is its.
    Step(String),
    /// So many bytes are gone from the tail.
    LeftOut(u64),
    /// It has written this.
    Output(Vec<u8>),
    /// The job is over; nothing follows.
    Over,
}

/// The place in a tail of who reads it on this machine, step after step.
#[derive(Debug, Default)]
pub struct Reader {
    /// Steps that were told, the one at [`Self::position`] included.
    begun: usize,
    position: u64,
}

impl Reader {
    /// What comes next; `None` until the tail grows. An output has at most `most` bytes.
    pub fn next(&mut self, tail: &Tail, most: usize) -> Option<Piece> {
        if let Some(step) = self.begun.checked_sub(1).and_then(|step| tail.steps.get(step)) {
            if let Some(piece) = step.from(&mut self.position, most) {
                return Some(piece);
            }
            if !step.ended {
                return None;
            }
        }
        let Some(step) = tail.steps.get(self.begun) else {
            return tail.over.then_some(Piece::Over);
        };
        (self.begun, self.position) = (self.begun + 1, 0);
        Some(Piece::Step(step.name.clone()))
    }
}

impl StepOutput {
    /// Bytes that it has written so far.
    fn written(&self) -> u64 {
        self.dropped + self.kept.len() as u64
    }

    /// What is there from `position` on, which moves behind it.
    fn from(&self, position: &mut u64, most: usize) -> Option<Piece> {
        if *position < self.dropped {
            let bytes = self.dropped - *position;
            *position = self.dropped;
            return Some(Piece::LeftOut(bytes));
        }
        // What is kept fits into memory.
        let start = usize::try_from(*position - self.dropped).unwrap_or(usize::MAX);
        let length = self.kept.len().saturating_sub(start).min(most);
        if length == 0 {
            return None;
        }
        *position += length as u64;
        Some(Piece::Output(self.kept.range(start..start + length).copied().collect()))
    }
}

/// One watcher's place in a tail.
#[derive(Debug, Default)]
pub struct Watcher {
    steps: Vec<Place>,
}

#[derive(Debug)]
struct Place {
    /// `None` once the step was told to its end.
    flow: Option<FlowId>,
    position: u64,
}

impl Watcher {
    /// What is to be said next to whoever is at the other end of `flows`; `None` until the tail grows, the step ends or
    /// more is granted. Nothing follows [`ChannelMessage::Bye`].
    pub fn next(&mut self, tail: &Tail, flows: &mut Flows) -> Option<ChannelMessage> {
        let told = self.steps.iter_mut().zip(&tail.steps);
        if let Some(message) = told.filter_map(|(place, step)| place.next(step, flows)).next() {
            return Some(message);
        }
        let Some(step) = tail.steps.get(self.steps.len()) else {
            let told = self.steps.iter().all(|place| place.flow.is_none());
            return (tail.over && told).then(|| ChannelMessage::Bye(OVER.to_owned()));
        };
        let number = u32::try_from(self.steps.len()).unwrap_or(u32::MAX);
        let (flow, open) = flows.open(Carries::Log { step: number, name: step.name.clone() })?;
        self.steps.push(Place { flow: Some(flow), position: 0 });
        Some(open)
    }
}

impl Place {
    fn next(&mut self, step: &StepOutput, flows: &mut Flows) -> Option<ChannelMessage> {
        let flow = self.flow?;
        match step.from(&mut self.position, flows.room(flow)) {
            Some(Piece::LeftOut(bytes)) => Some(ChannelMessage::LeftOut { flow, bytes }),
            Some(Piece::Output(bytes)) => Some(flows.data(flow, bytes)),
            _ if step.ended && self.position == step.written() => {
                self.flow = None;
                Some(flows.end(flow))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use mesh_core::{FlowNews, WINDOW};
    use proptest::prelude::*;

    use super::*;

    /// A watcher, and whoever reads at the other end.
    #[derive(Default)]
    struct Watched {
        watcher: Watcher,
        flows: Flows,
        reader: Flows,
        /// By step: name, bytes and how many were left out.
        steps: Vec<(String, Vec<u8>, u64)>,
        bye: Option<String>,
    }

    impl Watched {
        /// Passes on what there is to say. The reader takes what comes at once, if it is `keen`.
        fn read(&mut self, tail: &Tail, keen: bool) {
            while let Some(message) = self.watcher.next(tail, &mut self.flows) {
                let grant = match self.reader.receive(message).expect("the rules are kept") {
                    FlowNews::Opened { flow, carries: Carries::Log { step, name } } => {
                        assert_eq!((u64::from(step), self.steps.len() as u64), (flow.0, flow.0));
                        self.steps.push((name, vec![], 0));
                        self.reader.welcome(flow)
                    }
                    FlowNews::Data { flow, bytes } => {
                        let length = bytes.len();
                        self.step(flow).1.extend(bytes);
                        if keen { self.reader.taken(flow, length) } else { None }
                    }
                    FlowNews::LeftOut { flow, bytes } => {
                        self.step(flow).2 += bytes;
                        None
                    }
                    FlowNews::Bye(why) => {
                        self.bye = Some(why);
                        return;
                    }
                    FlowNews::Ended { .. } | FlowNews::Heard => None,
                };
                if let Some(grant) = grant {
                    self.flows.receive(grant).expect("within the window");
                }
            }
        }

        fn step(&mut self, flow: FlowId) -> &mut (String, Vec<u8>, u64) {
            &mut self.steps[usize::try_from(flow.0).expect("small")]
        }
    }

    #[test]
    fn a_watcher_is_told_each_step_and_the_end() {
        let (mut tail, mut watched) = (Tail::default(), Watched::default());
        watched.read(&tail, true);
        assert!(watched.steps.is_empty() && watched.bye.is_none());

        tail.begin("build");
        tail.push(b"one\n");
        watched.read(&tail, true);
        assert_eq!(watched.steps, [("build".to_owned(), b"one\n".to_vec(), 0)]);
        tail.push(b"two\n");
        tail.begin("test");
        tail.push(b"ok\n");
        tail.finish();
        assert_eq!(watched.bye, None);
        watched.read(&tail, true);
        let expected = [("build", "one\ntwo\n"), ("test", "ok\n")];
        let expected = expected.map(|(name, log)| (name.to_owned(), log.as_bytes().to_vec(), 0));
        assert_eq!(watched.steps, expected);
        assert_eq!(watched.bye.as_deref(), Some(OVER));
    }

    #[test]
    fn a_reader_on_this_machine_is_told_the_same_piece_by_piece() {
        let (mut tail, mut reader) = (Tail::default(), Reader::default());
        assert_eq!(reader.next(&tail, 9), None);
        tail.begin("build");
        tail.push(b"one\n");
        assert_eq!(reader.next(&tail, 9), Some(Piece::Step("build".to_owned())));
        assert_eq!(reader.next(&tail, 3), Some(Piece::Output(b"one".to_vec())));
        assert_eq!(reader.next(&tail, 3), Some(Piece::Output(b"\n".to_vec())));
        assert_eq!(reader.next(&tail, 3), None);

        tail.begin("silent");
        tail.begin("test");
        tail.push(&[1; 10]);
        tail.push(&[2; TAIL_BYTES]);
        tail.finish();
        let mut pieces = std::iter::from_fn(|| reader.next(&tail, 2 * TAIL_BYTES));
        assert_eq!(pieces.next(), Some(Piece::Step("silent".to_owned())));
        assert_eq!(pieces.next(), Some(Piece::Step("test".to_owned())));
        assert_eq!(pieces.next(), Some(Piece::LeftOut(10)));
        assert_eq!(pieces.next(), Some(Piece::Output(vec![2; TAIL_BYTES])));
        assert_eq!(pieces.next(), Some(Piece::Over));
    }

    #[test]
    fn who_reads_too_slowly_is_told_how_much_it_has_missed() {
        let (mut tail, mut watched) = (Tail::default(), Watched::default());
        tail.begin("build");
        tail.push(&[1; 1000]);
        watched.read(&tail, false);
        let written = 4 * TAIL_BYTES;
        for _ in 0..4 {
            tail.push(&[2; TAIL_BYTES]);
            watched.read(&tail, false);
        }
        assert_eq!(watched.step(FlowId(0)).1.len(), WINDOW as usize, "one window was granted");
        assert!(tail.kept <= TAIL_BYTES);

        let taken = watched.reader.taken(FlowId(0), WINDOW as usize).expect("all of it");
        watched.flows.receive(taken).expect("within the window");
        tail.finish();
        watched.read(&tail, true);
        let (_, bytes, left_out) = watched.step(FlowId(0));
        assert_eq!(bytes.len() as u64 + *left_out, 1000 + written as u64);
        assert!(*left_out > 0);
        assert!(watched.bye.is_some());
    }

    proptest! {
        /// However the job writes and whenever the watcher reads: what it gets and what it is told to have missed are
        /// all that was written, and the tail stays within its bound.
        #[test]
        fn nothing_goes_missing_without_a_word(
            writes in proptest::collection::vec((0..5_u8, 1..200_000_usize, any::<bool>()), 0..20)
        ) {
            let (mut tail, mut watched) = (Tail::default(), Watched::default());
            let mut written: Vec<u64> = vec![];
            for (what, bytes, reads) in writes {
                if what == 0 || written.is_empty() {
                    tail.begin("step");
                    written.push(0);
                }
                tail.push(&vec![what; bytes]);
                *written.last_mut().expect("one has begun") += bytes as u64;
                prop_assert!(tail.kept <= TAIL_BYTES);
                prop_assert_eq!(tail.steps.iter().map(|it| it.kept.len()).sum::<usize>(), tail.kept);
                if reads {
                    watched.read(&tail, true);
                }
            }
            tail.finish();
            watched.read(&tail, true);
            let told: Vec<_> = watched.steps.iter().map(|it| it.1.len() as u64 + it.2).collect();
            prop_assert_eq!(told, written);
            prop_assert!(watched.bye.is_some());
        }
    }
}
