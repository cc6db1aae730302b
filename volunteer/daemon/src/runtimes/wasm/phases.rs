//! One thing after another, seen from outside as one step.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::super::Control;

/// Controls whatever is under way; what was asked of one phase holds for the next.
#[derive(Clone)]
pub struct Phases(Arc<(Mutex<State>, Condvar)>);

struct State {
    current: Box<dyn Control>,
    killed: bool,
    paused: bool,
}

impl Phases {
    /// Begins with what `first` controls.
    pub fn new(first: Box<dyn Control>) -> Self {
        let state = State { current: first, killed: false, paused: false };
        Self(Arc::new((Mutex::new(state), Condvar::new())))
    }

    /// Goes on with what `next` controls.
    pub fn go_on(&self, next: Box<dyn Control>) {
        let mut state = self.lock();
        if state.paused {
            next.pause();
        }
        if state.killed {
            next.kill();
        }
        state.current = next;
    }

    /// For what is done between two phases: waits while they are paused, and answers whether to go on.
    pub fn may_go_on(&self) -> bool {
        let waits = |state: &mut State| state.paused && !state.killed;
        let (_, changed) = &*self.0;
        let state = changed.wait_while(self.lock(), waits);
        !state.unwrap_or_else(PoisonError::into_inner).killed
    }

    /// For a change of what was asked.
    fn ask(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.0.1.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Each holder leaves the state whole at every step.
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Control for Phases {
    fn kill(&self) {
        self.ask(|state| {
            state.killed = true;
            state.current.kill();
        });
    }

    fn pause(&self) {
        self.ask(|state| {
            state.paused = true;
            state.current.pause();
        });
    }

    fn resume(&self) {
        self.ask(|state| {
            state.paused = false;
            state.current.resume();
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Heard(Arc<Mutex<Vec<&'static str>>>);

    impl Heard {
        fn say(&self, word: &'static str) {
            self.0.lock().expect("whole").push(word);
        }
    }

    impl Control for Heard {
        fn kill(&self) {
            self.say("kill");
        }

        fn pause(&self) {
            self.say("pause");
        }

        fn resume(&self) {
            self.say("resume");
        }
    }

    #[test]
    fn what_was_asked_before_holds_for_what_comes_after() {
        let [first, second, third] = [(); 3].map(|()| Arc::new(Mutex::new(Vec::new())));
        let control = |heard: &Arc<Mutex<Vec<_>>>| Box::new(Heard(Arc::clone(heard)));
        let phases = Phases::new(control(&first));

        phases.pause();
        phases.go_on(control(&second));
        phases.resume();
        phases.kill();
        phases.go_on(control(&third));

        assert_eq!(*first.lock().expect("whole"), ["pause"]);
        assert_eq!(*second.lock().expect("whole"), ["pause", "resume", "kill"]);
        assert_eq!(*third.lock().expect("whole"), ["kill"]);
    }
}
