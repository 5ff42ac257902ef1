//! Submissions that have not been seen to end: what they run, and when they began.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::launch_list::{LaunchList, Part};

/// A submission, to be waited for: its number, from 1 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ticket(u64);

/// What a submission does.
#[derive(Clone)]
pub(super) enum Work {
    /// Launches, and how many times over.
    Part(Arc<LaunchList>, Part, usize),
    Other(&'static str),
}

impl Work {
    pub fn describe(&self) -> String {
        match self {
            Self::Part(launches, part, _) => launches.describe(part),
            Self::Other(what) => (*what).into(),
        }
    }
}

struct Flight<I> {
    ticket: Ticket,
    /// What wgpu calls it.
    index: I,
    work: Work,
    submitted: Instant,
}

/// What a submission did and how long that took: at most so long, unless `exact`.
pub(super) struct Ended {
    pub work: Work,
    pub took: Duration,
    pub exact: bool,
}

/// Submissions in order, oldest first.
pub(super) struct UnderWay<I> {
    flights: VecDeque<Flight<I>>,
    /// Submissions so far.
    pub count: u64,
    /// When the oldest began, or earlier, and whether that is exact.
    begun: Option<(Instant, bool)>,
}

impl<I: Clone> UnderWay<I> {
    pub fn new() -> Self {
        Self { flights: VecDeque::new(), count: 0, begun: None }
    }

    pub fn add(&mut self, index: I, work: Work, submitted: Instant) -> Ticket {
        self.count += 1;
        let ticket = Ticket(self.count);
        if self.flights.is_empty() {
            // The device had nothing to do.
            self.begun = Some((submitted, true));
        }
        self.flights.push_back(Flight { ticket, index, work, submitted });
        ticket
    }

    pub fn len(&self) -> usize {
        self.flights.len()
    }

    /// The oldest, if it is none after `last`.
    pub fn oldest(&self, last: Ticket) -> Option<I> {
        self.flights.front().filter(|flight| flight.ticket <= last).map(|flight| flight.index.clone())
    }

    /// The newest, once there has been one.
    pub fn newest(&self) -> Ticket {
        Ticket(self.count)
    }

    /// Notes that the oldest has ended: just now, if it was waited for, else at some time before.
    pub fn retire(&mut self, now: Instant, waited: bool) -> Option<Ended> {
        let flight = self.flights.pop_front()?;
        let (begun, exact) = self.begun.unwrap_or((flight.submitted, false));
        self.begun = self.flights.front().map(|next| {
            // One begins when the one before it ends.
            if waited { (now.max(next.submitted), true) } else { (begun.max(next.submitted), false) }
        });
        Some(Ended { work: flight.work, took: now.saturating_duration_since(begun), exact: exact && waited })
    }

    /// What runs, in words; empty when nothing does.
    pub fn describe(&self) -> String {
        let Some(oldest) = self.flights.front() else { return String::new() };
        let more = match self.flights.len() - 1 {
            0 => String::new(),
            1 => "; one more submission waits for it".into(),
            n => format!("; {n} more submissions wait for it"),
        };
        format!("{}{more}", oldest.work.describe())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_submission_begins_when_the_one_before_it_ends() {
        let start = Instant::now();
        let after = |ms| start + Duration::from_millis(ms);
        let mut under_way = UnderWay::new();
        for ms in [0, 1, 2, 3] {
            under_way.add((), Work::Other("copies"), after(ms));
        }
        assert_eq!(under_way.describe(), "copies; 3 more submissions wait for it");
        let mut ended = |ms, waited| {
            let ended = under_way.retire(after(ms), waited);
            ended.map(|ended| (ended.took.as_millis(), ended.exact))
        };
        assert_eq!(ended(10, true), Some((10, true)));
        assert_eq!(ended(15, true), Some((5, true)));
        // Noticed late: it took at most so long, and the next began no earlier than it.
        assert_eq!(ended(40, false), Some((25, false)));
        assert_eq!(ended(50, true), Some((35, false)));
        assert_eq!(ended(60, true), None);
    }
}
