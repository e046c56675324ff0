//! Retry cascade: attempts multiply, for one client or at one endpoint.
//!
//! Amplification is attempts for each distinct piece of work over ten seconds. A cascade begins when
//! it passes a limit with enough attempts behind it, and ends when there are no more retries than a
//! healthy client makes.

use super::episode::{Change, Subject, Track};
use super::window::Window;
use crate::time::Nanos;

/// When a cascade begins and ends.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Attempts in the window without which there is no cascade.
    pub attempts_min: u32,
    /// Retries among them, likewise.
    pub retries_min: u32,
    /// Amplification at which it begins.
    pub begins: f64,
    /// Amplification below which it ends.
    pub ends: f64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { attempts_min: 8, retries_min: 4, begins: 1.5, ends: 1.2 }
    }
}

/// First attempts, second attempts, later ones.
const FIRST: usize = 0;
const SECOND: usize = 1;
const LATER: usize = 2;

/// Attempts of one client, or at one endpoint.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cascade {
    window: Window<3>,
    /// The first retry after a time without any.
    first_retry: Nanos,
    track: Option<Track>,
}

impl Cascade {
    /// An attempt started; `attempt` is 1 for the first at its work.
    pub fn started(
        &mut self,
        at: Nanos,
        attempt: u16,
        subject: Subject,
        limits: &Limits,
    ) -> Option<Change> {
        let which = match attempt {
            0 | 1 => FIRST,
            2 => SECOND,
            _ => LATER,
        };
        let retry = which != FIRST;
        if retry && self.load(at).1 == 0 {
            self.first_retry = at;
        }
        self.window.add(at, which);
        if let Some(track) = &mut self.track {
            track.exchanges += 1;
            if retry {
                track.subject = subject;
            }
        }
        self.judge(at, subject, limits)
    }

    /// An attempt at the work of an earlier one came to nothing.
    pub fn came_to_nothing(&mut self, tokens: f64) {
        if let Some(track) = &mut self.track {
            track.in_vain += 1;
            track.tokens += tokens;
        }
    }

    /// Time has passed: a cascade ends when its retries do.
    pub fn tick(&mut self, now: Nanos, limits: &Limits) -> Option<Change> {
        let subject = self.track?.subject;
        self.judge(now, subject, limits)
    }

    /// The observation is over.
    pub fn close(&mut self, now: Nanos) -> Option<Change> {
        self.track.take().map(|track| track.ends(now))
    }

    /// First attempts and retries of the last ten seconds.
    pub fn load(&mut self, now: Nanos) -> (u32, u32) {
        let [first, second, later] = self.window.sums(now);
        (first, second.saturating_add(later))
    }

    fn judge(&mut self, now: Nanos, subject: Subject, limits: &Limits) -> Option<Change> {
        let [first, second, later] = self.window.sums(now);
        let retries = second + later;
        let attempts = first + retries;
        // Work whose first attempt lies before the window still has its second in it.
        let works = first.max(second).max(1);
        let amplification = f64::from(attempts) / f64::from(works);
        match &mut self.track {
            None => {
                let enough = attempts >= limits.attempts_min && retries >= limits.retries_min;
                if !enough || amplification < limits.begins {
                    return None;
                }
                let mut track = Track::new(self.first_retry, subject);
                track.exchanges = attempts;
                track.peak = amplification;
                self.track = Some(track);
                Some(track.begins(now))
            }
            Some(track) if retries == 0 || amplification < limits.ends => {
                let change = track.ends(now);
                self.track = None;
                Some(change)
            }
            Some(track) => {
                track.peak = track.peak.max(amplification);
                None
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::burst::{Address, Protocol};
    use crate::telemetry::event::{ExchangeId, Peers, Phase};

    pub(crate) fn subject(n: u64) -> Subject {
        let peers = Peers {
            client: Address::v4([192, 0, 2, 1]),
            client_port: 40_000,
            server: Address::v4([192, 0, 2, 9]),
            server_port: 443,
            protocol: Protocol::Tcp,
        };
        Subject { exchange: ExchangeId(n), peers, endpoint: None }
    }

    /// Attempts a tenth of a second apart from 100 s on; the changes they made.
    fn play(cascade: &mut Cascade, attempts: &[u16]) -> Vec<Change> {
        let at = |n: usize| Nanos::from_millis(100_000 + 100 * n as u64);
        let each = attempts.iter().enumerate();
        each.filter_map(|(n, &attempt)| {
            cascade.started(at(n), attempt, subject(n as u64), &Limits::default())
        })
        .collect()
    }

    #[test]
    fn three_attempts_for_each_call_are_a_cascade_with_a_peak_and_an_end() {
        let mut cascade = Cascade::default();
        let changes = play(&mut cascade, &[1, 1, 1, 2, 2, 2, 3, 3, 3]);
        assert_eq!(changes.len(), 1);
        assert_eq!(changes[0].phase, Phase::Begins);
        assert_eq!(changes[0].track.began, Nanos::from_millis(100_300), "with its first retry");
        cascade.came_to_nothing(5.0);
        let later = Nanos::from_secs(120);
        let end = cascade.tick(later, &Limits::default()).unwrap();
        assert_eq!((end.phase, end.value), (Phase::Ends, 3.0));
        assert_eq!((end.track.exchanges, end.track.in_vain), (9, 1));
        assert!(cascade.tick(later, &Limits::default()).is_none(), "it ends once");
    }

    #[test]
    fn a_retry_for_every_fourth_call_is_none() {
        let attempts: Vec<u16> = (0..40).map(|n| if n % 5 == 4 { 2 } else { 1 }).collect();
        assert!(play(&mut Cascade::default(), &attempts).is_empty());
    }

    #[test]
    fn one_call_with_all_its_retries_is_too_little() {
        assert!(play(&mut Cascade::default(), &[1, 2, 3, 4, 5, 6, 7]).is_empty());
    }

    #[test]
    fn healthy_traffic_of_any_rate_never_is_one() {
        assert!(play(&mut Cascade::default(), &[1; 500]).is_empty());
    }
}
