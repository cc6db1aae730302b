//! The flows of one end of a channel: who may send how much.
//!
//! A flow goes one way, from the end that opened it. The other end grants bytes for which it has room, and no more are
//! sent: so a slow reader stops the sender, and neither it nor a broker has to keep what is not taken. Each end numbers
//! its own flows from 0.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::message::{Carries, ChannelMessage, MAX_DATA_BYTES, MAX_STEP_NAME};

/// Flows of one end that are open at a time: more than people watch.
pub const MAX_FLOWS: usize = 16;

/// Bytes of a flow that are granted and not yet taken, at most: at 100 ms there and back 640 KiB pass in a second.
pub const WINDOW: u32 = 64 << 10;

/// Bytes that are taken before more are granted, so that grants stay few beside data.
const GRANT_STEP: u32 = WINDOW / 2;

/// Names a flow among those that one end has opened.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct FlowId(pub u64);

/// The other end broke the rules; there is no going on with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Violation {
    /// A flow out of turn, or one too many.
    #[error("the other end opened a flow that it may not")]
    Open,
    /// Something of a flow that is not open.
    #[error("the other end spoke of a flow that is not open")]
    Unknown,
    /// More data than were granted, or none.
    #[error("the other end sent more than was granted, or nothing")]
    Data,
    /// More than a window, or nothing.
    #[error("the other end granted more than it may, or nothing")]
    Grant,
}

/// What the other end's message means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FlowNews {
    /// The other end has begun a flow. The answer to it is what [`Flows::welcome`] gives.
    Opened {
        /// Which.
        flow: FlowId,
        /// What it carries.
        carries: Carries,
    },
    /// Bytes have come. Once they are out of our hands, [`Flows::taken`] is to be told.
    Data {
        /// Of which flow.
        flow: FlowId,
        /// What.
        bytes: Vec<u8>,
    },
    /// Bytes will not come.
    LeftOut {
        /// Of which flow.
        flow: FlowId,
        /// How many.
        bytes: u64,
    },
    /// A flow of the other end is complete.
    Ended {
        /// Which.
        flow: FlowId,
    },
    /// More can be sent, or nothing has changed.
    Heard,
    /// The channel is over, and why, for people.
    Bye(String),
}

/// See the module.
#[derive(Debug, Default)]
pub struct Flows {
    /// Our next number.
    next: u64,
    /// Our flows, and how many bytes of them may be sent.
    ours: BTreeMap<FlowId, u32>,
    /// The other end's next number.
    expected: u64,
    theirs: BTreeMap<FlowId, Receiving>,
}

#[derive(Debug, Default)]
struct Receiving {
    /// Bytes that may still come.
    granted: u32,
    /// Bytes that were taken and not granted again.
    taken: u32,
}

// What we send.
impl Flows {
    /// Begins a flow; `None` while as many as there may be are open.
    pub fn open(&mut self, carries: Carries) -> Option<(FlowId, ChannelMessage)> {
        if self.ours.len() >= MAX_FLOWS {
            return None;
        }
        let flow = FlowId(self.next);
        self.next += 1;
        self.ours.insert(flow, 0);
        Some((flow, ChannelMessage::Open { flow, carries }))
    }

    /// Bytes of our `flow` that one message may carry now.
    pub fn room(&self, flow: FlowId) -> usize {
        let granted = self.ours.get(&flow).copied().unwrap_or_default();
        usize::try_from(granted).unwrap_or(usize::MAX).min(MAX_DATA_BYTES)
    }

    /// Sends `bytes`.
    ///
    /// # Panics
    /// If there is no [room](Self::room) for them.
    pub fn data(&mut self, flow: FlowId, bytes: Vec<u8>) -> ChannelMessage {
        assert!(bytes.len() <= self.room(flow), "no more is sent than was granted");
        let length = u32::try_from(bytes.len()).expect("a message is short");
        self.ours.entry(flow).and_modify(|granted| *granted -= length);
        ChannelMessage::Data { flow, bytes }
    }

    /// Ends our `flow`.
    pub fn end(&mut self, flow: FlowId) -> ChannelMessage {
        self.ours.remove(&flow);
        ChannelMessage::End { flow }
    }
}

// What comes.
impl Flows {
    /// Judges what the other end has said.
    pub fn receive(&mut self, message: ChannelMessage) -> Result<FlowNews, Violation> {
        Ok(match message {
            ChannelMessage::Open { flow, carries } => self.opened(flow, carries)?,
            ChannelMessage::Data { flow, bytes } => {
                let granted = &mut self.of_other(flow)?.granted;
                let length = u32::try_from(bytes.len()).map_err(|_| Violation::Data)?;
                let left = granted.checked_sub(length).filter(|_| length > 0);
                *granted = left.ok_or(Violation::Data)?;
                FlowNews::Data { flow, bytes }
            }
            ChannelMessage::LeftOut { flow, bytes } => {
                self.of_other(flow)?;
                FlowNews::LeftOut { flow, bytes }
            }
            ChannelMessage::End { flow } => {
                self.theirs.remove(&flow).ok_or(Violation::Unknown)?;
                FlowNews::Ended { flow }
            }
            ChannelMessage::Grant { flow, bytes } => self.granted(flow, bytes)?,
            ChannelMessage::Here => FlowNews::Heard,
            ChannelMessage::Bye(why) => FlowNews::Bye(why),
        })
    }

    /// The first grant of a flow that the other end has opened; `None` if it is over.
    pub fn welcome(&mut self, flow: FlowId) -> Option<ChannelMessage> {
        self.grant(flow, WINDOW)
    }

    /// `bytes` of a flow are out of our hands: a grant, if it is time for one.
    pub fn taken(&mut self, flow: FlowId, bytes: usize) -> Option<ChannelMessage> {
        let receiving = self.theirs.get_mut(&flow)?;
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        receiving.taken = receiving.taken.saturating_add(bytes);
        if receiving.taken < GRANT_STEP {
            return None;
        }
        let taken = std::mem::take(&mut receiving.taken);
        self.grant(flow, taken)
    }

    fn grant(&mut self, flow: FlowId, bytes: u32) -> Option<ChannelMessage> {
        let receiving = self.theirs.get_mut(&flow)?;
        let bytes = bytes.min(WINDOW - receiving.granted);
        receiving.granted += bytes;
        (bytes > 0).then_some(ChannelMessage::Grant { flow, bytes })
    }

    fn opened(&mut self, flow: FlowId, carries: Carries) -> Result<FlowNews, Violation> {
        let Carries::Log { name, .. } = &carries;
        let in_turn = flow.0 == self.expected && self.theirs.len() < MAX_FLOWS;
        if !in_turn || name.len() > MAX_STEP_NAME {
            return Err(Violation::Open);
        }
        self.expected += 1;
        self.theirs.insert(flow, Receiving::default());
        Ok(FlowNews::Opened { flow, carries })
    }

    fn granted(&mut self, flow: FlowId, bytes: u32) -> Result<FlowNews, Violation> {
        if flow.0 >= self.next {
            return Err(Violation::Unknown);
        }
        // The grant of a flow that we have just ended was on the way.
        if let Some(granted) = self.ours.get_mut(&flow) {
            let more = granted.checked_add(bytes).filter(|more| bytes > 0 && *more <= WINDOW);
            *granted = more.ok_or(Violation::Grant)?;
        }
        Ok(FlowNews::Heard)
    }

    fn of_other(&mut self, flow: FlowId) -> Result<&mut Receiving, Violation> {
        self.theirs.get_mut(&flow).ok_or(Violation::Unknown)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn log(step: u32) -> Carries {
        Carries::Log { step, name: "build".to_owned() }
    }

    #[test]
    fn nothing_is_sent_before_it_is_granted() {
        let (mut sender, mut receiver) = (Flows::default(), Flows::default());
        let (flow, open) = sender.open(log(0)).expect("the first");
        assert_eq!(sender.room(flow), 0);
        receiver.receive(open).expect("in turn");
        let early = ChannelMessage::Data { flow, bytes: vec![1] };
        assert_eq!(receiver.receive(early), Err(Violation::Data));

        let grant = receiver.welcome(flow).expect("it is open");
        sender.receive(grant).expect("within the window");
        assert_eq!(sender.room(flow), MAX_DATA_BYTES);
        let data = sender.data(flow, vec![7; 3]);
        let news = receiver.receive(data).expect("granted");
        assert_eq!(news, FlowNews::Data { flow, bytes: vec![7; 3] });
    }

    #[test]
    fn who_takes_nothing_is_sent_one_window() {
        let (mut sender, mut receiver) = (Flows::default(), Flows::default());
        let (flow, open) = sender.open(log(0)).expect("the first");
        receiver.receive(open).expect("in turn");
        sender.receive(receiver.welcome(flow).expect("open")).expect("a grant");
        let mut sent = 0;
        while sender.room(flow) > 0 {
            let data = vec![0; sender.room(flow)];
            sent += data.len();
            let data = sender.data(flow, data);
            receiver.receive(data).expect("granted");
        }
        assert_eq!(sent, WINDOW as usize);
        assert_eq!(receiver.taken(flow, GRANT_STEP as usize - 1), None);
        let grant = receiver.taken(flow, 1).expect("half of the window is free");
        assert_eq!(grant, ChannelMessage::Grant { flow, bytes: GRANT_STEP });
    }

    #[test]
    fn a_flow_out_of_turn_or_one_too_many_is_a_violation() {
        let mut flows = Flows::default();
        let open = |flow| ChannelMessage::Open { flow: FlowId(flow), carries: log(0) };
        assert_eq!(flows.receive(open(1)), Err(Violation::Open));
        for flow in 0..MAX_FLOWS as u64 {
            flows.receive(open(flow)).expect("in turn");
        }
        assert_eq!(flows.receive(open(MAX_FLOWS as u64)), Err(Violation::Open));
        flows.receive(ChannelMessage::End { flow: FlowId(3) }).expect("it is open");
        flows.receive(open(MAX_FLOWS as u64)).expect("there is a place");
        assert_eq!(flows.receive(open(3)), Err(Violation::Open));

        let long = Carries::Log { step: 0, name: "n".repeat(MAX_STEP_NAME + 1) };
        let long = ChannelMessage::Open { flow: FlowId(0), carries: long };
        assert_eq!(Flows::default().receive(long), Err(Violation::Open));
    }

    #[test]
    fn nobody_grants_more_than_a_window_or_for_flows_that_never_were() {
        let mut flows = Flows::default();
        let grant = |bytes| ChannelMessage::Grant { flow: FlowId(0), bytes };
        assert_eq!(flows.receive(grant(1)), Err(Violation::Unknown));
        let (flow, _) = flows.open(log(0)).expect("the first");
        assert_eq!(flows.receive(grant(0)), Err(Violation::Grant));
        assert_eq!(flows.receive(grant(WINDOW + 1)), Err(Violation::Grant));
        flows.receive(grant(WINDOW)).expect("a window");
        assert_eq!(flows.receive(grant(1)), Err(Violation::Grant));
        flows.end(flow);
        flows.receive(grant(WINDOW)).expect("it was on the way when the flow ended");
    }

    /// What two ends may do next.
    #[derive(Debug, Clone)]
    enum Step {
        Open,
        Send {
            flow: u64,
            bytes: usize,
        },
        End {
            flow: u64,
        },
        /// The receiver takes so much of what it holds of a flow.
        Take {
            flow: u64,
            bytes: usize,
        },
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let flow = 0..24_u64;
        let step = prop_oneof![
            1 => Just(Step::Open),
            6 => (flow.clone(), 1..MAX_DATA_BYTES)
                .prop_map(|(flow, bytes)| Step::Send { flow, bytes }),
            1 => flow.clone().prop_map(|flow| Step::End { flow }),
            4 => (flow, 1..100_000_usize).prop_map(|(flow, bytes)| Step::Take { flow, bytes }),
        ];
        proptest::collection::vec(step, 0..120)
    }

    proptest! {
        /// Two ends that keep the rules never find each other breaking them, hold at most a window of a flow, and
        /// pass every byte in order.
        #[test]
        fn what_is_sent_arrives_and_what_is_held_is_bounded(steps in steps()) {
            let (mut sender, mut receiver) = (Flows::default(), Flows::default());
            let mut sent: BTreeMap<FlowId, u64> = BTreeMap::new();
            let mut held: BTreeMap<FlowId, usize> = BTreeMap::new();
            let mut arrived: BTreeMap<FlowId, u64> = BTreeMap::new();
            for step in steps {
                let message = match step {
                    Step::Open => sender.open(log(0)).map(|(_, message)| message),
                    Step::Send { flow, bytes } => {
                        let flow = FlowId(flow);
                        let bytes = bytes.min(sender.room(flow));
                        let from = *sent.entry(flow).or_default();
                        *sent.entry(flow).or_default() += bytes as u64;
                        let data = (from..from + bytes as u64).map(|at| (at % 251) as u8);
                        (bytes > 0).then(|| sender.data(flow, data.collect()))
                    }
                    Step::End { flow } if sender.ours.contains_key(&FlowId(flow)) => {
                        Some(sender.end(FlowId(flow)))
                    }
                    Step::End { .. } => None,
                    Step::Take { flow, bytes } => {
                        let flow = FlowId(flow);
                        let bytes = bytes.min(held.get(&flow).copied().unwrap_or_default());
                        held.entry(flow).and_modify(|held| *held -= bytes);
                        if let Some(grant) = receiver.taken(flow, bytes) {
                            prop_assert_eq!(sender.receive(grant), Ok(FlowNews::Heard));
                        }
                        None
                    }
                };
                let Some(message) = message else { continue };
                match receiver.receive(message).expect("the sender keeps the rules") {
                    FlowNews::Opened { flow, .. } => {
                        let grant = receiver.welcome(flow).expect("it is open");
                        prop_assert_eq!(sender.receive(grant), Ok(FlowNews::Heard));
                    }
                    FlowNews::Data { flow, bytes } => {
                        let held = held.entry(flow).or_default();
                        *held += bytes.len();
                        prop_assert!(*held <= WINDOW as usize);
                        for byte in bytes {
                            let at = arrived.entry(flow).or_default();
                            prop_assert_eq!(byte, (*at % 251) as u8);
                            *at += 1;
                        }
                    }
                    _ => {}
                }
                prop_assert!(receiver.theirs.len() <= MAX_FLOWS);
            }
            sent.retain(|_, bytes| *bytes > 0);
            prop_assert_eq!(sent, arrived);
        }

        /// Whatever the other end says, it is held at no more than was granted.
        #[test]
        fn a_hostile_end_makes_nobody_hold_more_than_a_window(
            lengths in proptest::collection::vec(0..2 * MAX_DATA_BYTES, 0..40)
        ) {
            let mut flows = Flows::default();
            let flow = FlowId(0);
            flows.receive(ChannelMessage::Open { flow, carries: log(0) }).expect("in turn");
            flows.welcome(flow);
            let mut held = 0;
            for length in lengths {
                let news = flows.receive(ChannelMessage::Data { flow, bytes: vec![0; length] });
                match news {
                    Ok(FlowNews::Data { bytes, .. }) => held += bytes.len(),
                    _ => prop_assert!(length == 0 || held + length > WINDOW as usize),
                }
            }
            prop_assert!(held <= WINDOW as usize);
        }
    }
}
