//! One direction of a cable: which packets arrive, and when.

use std::collections::VecDeque;
use std::time::Duration;

/// What a cable does to packets, in each direction.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shape {
    /// From one end to the other.
    pub delay: Duration,
    /// The delay is longer by up to this, evenly; packets keep their order all the same.
    pub jitter: Duration,
    /// The part of packets that is lost, 0 to 1; each by itself.
    pub loss: f64,
    /// Bytes a second, headers included.
    pub rate: Option<u64>,
    /// Packets under way at most, as in `tc netem`; those beyond are lost.
    pub limit: usize,
}

impl Shape {
    /// Nothing that one would notice.
    pub const WIRE: Self =
        Self { delay: Duration::ZERO, jitter: Duration::ZERO, loss: 0.0, rate: None, limit: 4096 };

    /// The same with that delay.
    pub const fn delayed(self, delay: Duration) -> Self {
        Self { delay, ..self }
    }

    /// The same with that loss.
    pub const fn lossy(self, loss: f64) -> Self {
        Self { loss, ..self }
    }
}

/// Packets under way in one direction. Time is since any moment, and never goes backwards.
#[derive(Debug)]
pub struct Pipe {
    shape: Shape,
    is_cut: bool,
    random: fastrand::Rng,
    /// When the last bit of the last packet has left.
    sent_until: Duration,
    /// With the times of their arrival, which do not decrease.
    under_way: VecDeque<(Duration, Vec<u8>)>,
}

impl Pipe {
    /// An empty pipe, whose losses and jitter come from `seed`.
    pub fn new(shape: Shape, seed: u64) -> Self {
        Self {
            shape,
            is_cut: false,
            random: fastrand::Rng::with_seed(seed),
            sent_until: Duration::ZERO,
            under_way: VecDeque::new(),
        }
    }

    /// What comes from now on is treated so.
    pub fn shape(&mut self, shape: Shape) {
        self.shape = shape;
    }

    /// Loses what is under way, and all that comes, until it is healed. Neither end is told.
    pub fn cut(&mut self) {
        self.is_cut = true;
        self.under_way.clear();
    }

    /// Ends a cut.
    pub fn heal(&mut self) {
        self.is_cut = false;
    }

    /// `packet` enters.
    pub fn send(&mut self, packet: &[u8], now: Duration) {
        let lost = self.random.f64() < self.shape.loss;
        if self.is_cut || lost || self.under_way.len() >= self.shape.limit {
            return;
        }
        let takes = self.shape.rate.map_or(Duration::ZERO, |rate| {
            Duration::from_secs(1).mul_f64(packet.len() as f64 / rate as f64)
        });
        self.sent_until = self.sent_until.max(now) + takes;
        let arrives =
            self.sent_until + self.shape.delay + self.shape.jitter.mul_f64(self.random.f64());
        let before = self.under_way.back().map_or(Duration::ZERO, |(before, _)| *before);
        self.under_way.push_back((arrives.max(before), packet.to_vec()));
    }

    /// The next packet that has arrived.
    pub fn receive(&mut self, now: Duration) -> Option<Vec<u8>> {
        self.under_way.pop_front_if(|(arrives, _)| *arrives <= now).map(|(_, packet)| packet)
    }

    /// When the next packet arrives.
    pub fn next_arrival(&self) -> Option<Duration> {
        self.under_way.front().map(|(arrives, _)| *arrives)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACKET: [u8; 1000] = [7; 1000];

    fn at(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn a_packet_arrives_after_the_delay_and_not_before() {
        let mut pipe = Pipe::new(Shape::WIRE.delayed(at(200)), 1);
        pipe.send(&PACKET, at(50));
        assert_eq!(pipe.next_arrival(), Some(at(250)));
        assert_eq!(pipe.receive(at(249)), None);
        assert_eq!(pipe.receive(at(250)), Some(PACKET.to_vec()));
        assert_eq!(pipe.next_arrival(), None);
    }

    #[test]
    fn packets_queue_for_a_slow_line_and_those_beyond_its_limit_are_lost() {
        let mut pipe = Pipe::new(Shape { rate: Some(10_000), limit: 3, ..Shape::WIRE }, 1);
        (0..5).for_each(|_| pipe.send(&PACKET, at(0)));
        let arrivals = std::iter::from_fn(|| {
            let arrival = pipe.next_arrival()?;
            pipe.receive(arrival).map(|_| arrival)
        });
        assert_eq!(arrivals.collect::<Vec<_>>(), [at(100), at(200), at(300)]);
    }

    #[test]
    fn the_part_that_is_lost_is_the_one_that_was_asked_for() {
        let mut pipe = Pipe::new(Shape { limit: 10_000, ..Shape::WIRE.lossy(0.2) }, 1);
        (0..10_000).for_each(|_| pipe.send(&PACKET, at(0)));
        let arrived = std::iter::from_fn(|| pipe.receive(at(0))).count();
        assert!((7_800..8_200).contains(&arrived), "{arrived} of 10,000 arrived");
    }

    #[test]
    fn jitter_is_bounded_and_keeps_the_order() {
        let mut pipe = Pipe::new(Shape { jitter: at(30), ..Shape::WIRE.delayed(at(10)) }, 1);
        for number in 0..100_u8 {
            pipe.send(&[number], at(number.into()));
        }
        for number in 0..100_u8 {
            let arrival = pipe.next_arrival().expect("none is lost");
            let sent = at(number.into());
            assert!(arrival >= sent + at(10) && arrival <= sent + at(40), "{arrival:?}");
            assert_eq!(pipe.receive(arrival), Some(vec![number]));
        }
    }

    #[test]
    fn a_cut_loses_what_is_under_way_and_what_comes_until_it_is_healed() {
        let mut pipe = Pipe::new(Shape::WIRE.delayed(at(10)), 1);
        pipe.send(b"under way", at(0));
        pipe.cut();
        pipe.send(b"meanwhile", at(5));
        pipe.heal();
        pipe.send(b"after", at(6));
        assert_eq!(pipe.receive(at(100)), Some(b"after".to_vec()));
        assert_eq!(pipe.receive(at(100)), None);
    }
}
