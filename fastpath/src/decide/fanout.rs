//! Fan-out (law A12): how many requests one client may have running at once. What exceeds it is held,
//! never refused, and goes as soon as another of them is over.

use crate::lru::Reuse;
use crate::policy::rules::FanOut as Rule;

/// One client.
#[derive(Clone, Copy, Debug, Default)]
pub struct FanOut {
    running: u32,
}

impl Reuse for FanOut {}

impl FanOut {
    /// A request of it is forwarded.
    pub fn forwarded(&mut self) {
        self.running = self.running.saturating_add(1);
    }

    /// One is over.
    pub fn ended(&mut self) {
        self.running = self.running.saturating_sub(1);
    }

    /// Requests that run.
    #[must_use]
    pub const fn running(&self) -> u32 {
        self.running
    }

    /// Whether one more may go.
    #[must_use]
    pub fn admits(&self, rule: &Rule) -> bool {
        rule.max_concurrent.is_none_or(|cap| self.running < cap)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_the_cap_run_at_once_and_without_one_all_do() {
        let (mut client, rule) = (FanOut::default(), Rule { max_concurrent: Some(8) });
        let mut admitted = 0;
        for _ in 0..100 {
            if client.admits(&rule) {
                client.forwarded();
                admitted += 1;
            }
        }
        assert_eq!((admitted, client.running()), (8, 8));
        assert!(client.admits(&Rule { max_concurrent: None }));
        client.ended();
        assert!(client.admits(&rule));
    }
}
