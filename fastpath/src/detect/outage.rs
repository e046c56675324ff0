//! Partial outage: one server address fails more than it did, while others of its endpoint may be
//! well.
//!
//! An outage begins with five failures in a row, or when the share of failures over ten seconds is far
//! above what this address is used to. Where all failures are of one client and others are answered,
//! the client is the cause, and nothing is told. Throttling is told apart by the shape of the answers:
//! it says that the backend is well and asks for less.

use super::episode::{Change, Subject, Track};
use super::window::Window;
use crate::telemetry::event::{Outcome, Scope, SignalKind};
use crate::time::Nanos;

/// When an outage begins and ends.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Failures in a row that are enough.
    pub in_a_row: u32,
    /// Exchanges in the window without which a share says nothing.
    pub exchanges_min: u32,
    /// Failures among them, likewise.
    pub failures_min: u32,
    /// Share of failures at which it may begin.
    pub begins: f64,
    /// Share below which it ends.
    pub ends: f64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { in_a_row: 5, exchanges_min: 8, failures_min: 4, begins: 0.2, ends: 0.1 }
    }
}

/// Counts of a window.
const ANSWERED: usize = 0;
const FAILED: usize = 1;
const THROTTLED: usize = 2;

/// How fast the usual share of failures follows.
const PAST_WEIGHT: f64 = 0.005;
/// So much above the usual share is far above it.
const ABOVE_PAST: f64 = 0.15;
/// A client that leaves before the first byte has timed out if it had waited this long.
const TIMED_OUT_AFTER: Nanos = Nanos::from_secs(1);

/// One server address.
#[derive(Clone, Copy, Debug, Default)]
pub struct Backend {
    window: Window<3>,
    /// Usual share of failures.
    past: f64,
    in_a_row: u32,
    /// Clients that were answered and that were failed, this half minute and the one before.
    crowds: [Crowd; 2],
    crowd: u64,
    /// The most it answered in a window.
    most: u32,
    track: Option<(SignalKind, Track)>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Crowd {
    answered: Two,
    failed: Two,
}

/// The first two of several clients, as hashes: enough to tell one from many.
#[derive(Clone, Copy, Debug, Default)]
struct Two([Option<u64>; 2]);

/// How an exchange speaks of its backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// It is well.
    Answered,
    /// It is not.
    Failed,
    /// It is asked for too much.
    Throttled,
}

/// What is known of the endpoint's other addresses over the window.
#[derive(Clone, Copy, Debug, Default)]
pub struct Others {
    /// Exchanges that were answered.
    pub answered: u32,
    /// Exchanges that failed or were throttled.
    pub failed: u32,
}

/// A change of an outage: what kind it is, and whom it is about.
pub type Told = (SignalKind, Scope, Change);

/// What an outcome says of the backend; nothing where the client left on its own.
#[must_use]
pub fn sign(outcome: Outcome, waited_for_first_byte: Option<Nanos>) -> Option<Sign> {
    match outcome {
        Outcome::Complete => Some(Sign::Answered),
        Outcome::Failed
        | Outcome::ServerAbort
        | Outcome::ConnectFailed
        | Outcome::Truncated
        | Outcome::Stalled => Some(Sign::Failed),
        Outcome::Throttled => Some(Sign::Throttled),
        Outcome::ClientAbort => {
            let timed_out = waited_for_first_byte.is_some_and(|waited| waited >= TIMED_OUT_AFTER);
            timed_out.then_some(Sign::Failed)
        }
        Outcome::Open => None,
    }
}

impl Backend {
    /// An exchange with it is over. `client` is a hash of who asked.
    pub fn ended(
        &mut self,
        at: Nanos,
        sign: Sign,
        client: u64,
        subject: Subject,
        others: Others,
        limits: &Limits,
    ) -> Option<Told> {
        let bad = sign != Sign::Answered;
        let which = match sign {
            Sign::Answered => ANSWERED,
            Sign::Failed => FAILED,
            Sign::Throttled => THROTTLED,
        };
        self.window.add(at, which);
        self.in_a_row = if bad { self.in_a_row.saturating_add(1) } else { 0 };
        self.met(at, client, bad);
        if let Some((_, track)) = &mut self.track {
            track.exchanges += 1;
            track.in_vain += u32::from(bad);
            track.subject = if bad { subject } else { track.subject };
        } else {
            self.past += (f64::from(u8::from(bad)) - self.past) * PAST_WEIGHT;
        }
        self.judge(at, subject, others, limits)
    }

    /// Time has passed: an outage ends when nothing fails any more.
    pub fn tick(&mut self, now: Nanos, others: Others, limits: &Limits) -> Option<Told> {
        let (_, track) = self.track?;
        self.judge(now, track.subject, others, limits)
    }

    /// The observation is over.
    pub fn close(&mut self, now: Nanos) -> Option<Told> {
        self.track.take().map(|(kind, track)| (kind, Scope::Endpoint, track.ends(now)))
    }

    /// Answered, failed or throttled over the last ten seconds.
    pub fn counts(&mut self, now: Nanos) -> (u32, u32) {
        let [answered, failed, throttled] = self.window.sums(now);
        (answered, failed.saturating_add(throttled))
    }

    /// The most it ever answered, exchanges a second over a window.
    #[must_use]
    pub fn most_per_second(&self) -> f64 {
        f64::from(self.most) / super::window::WINDOW.secs_f64()
    }

    fn judge(
        &mut self,
        now: Nanos,
        subject: Subject,
        others: Others,
        limits: &Limits,
    ) -> Option<Told> {
        let [answered, failed, throttled] = self.window.sums(now);
        self.most = self.most.max(answered);
        let (bad, all) = (failed + throttled, answered + failed + throttled);
        let share = f64::from(bad) / f64::from(all.max(1));
        let scope = scope(share, others);
        if let Some((kind, track)) = &mut self.track {
            track.peak = track.peak.max(share);
            let over = all == 0 || (share < limits.ends && self.in_a_row == 0);
            let told = over.then(|| (*kind, scope, track.ends(now)));
            self.track = self.track.filter(|_| !over);
            return told;
        }
        let far_above = share >= limits.begins.max(self.past + ABOVE_PAST);
        let counted = all >= limits.exchanges_min && bad >= limits.failures_min;
        let begins = self.in_a_row >= limits.in_a_row || (counted && far_above);
        // What is told of long after its end says nothing of this window.
        if all == 0 || !begins || self.is_one_client() {
            return None;
        }
        let kind = if throttled > failed { SignalKind::Throttling } else { SignalKind::Outage };
        let mut track = Track::new(now, subject);
        (track.exchanges, track.in_vain, track.peak) = (all, bad, share);
        self.track = Some((kind, track));
        Some((kind, scope, track.begins(now)))
    }

    fn met(&mut self, at: Nanos, client: u64, bad: bool) {
        let crowd = at.0 / (30 * 1_000_000_000);
        if crowd > self.crowd {
            let before = if crowd == self.crowd + 1 { self.crowds[0] } else { Crowd::default() };
            self.crowds = [Crowd::default(), before];
            self.crowd = crowd;
        }
        let seen = &mut self.crowds[0];
        if bad { &mut seen.failed } else { &mut seen.answered }.add(client);
    }

    /// All failures are of one client, and another one is answered.
    fn is_one_client(&self) -> bool {
        let mut failed = self.crowds.iter().flat_map(|crowd| crowd.failed.iter());
        let Some(first) = failed.next() else { return false };
        let mut answered = self.crowds.iter().flat_map(|crowd| crowd.answered.iter());
        failed.all(|other| other == first) && answered.any(|other| other != first)
    }
}

impl Two {
    fn add(&mut self, client: u64) {
        let Self(seen) = self;
        match seen {
            [None, _] => seen[0] = Some(client),
            [Some(first), None] if *first != client => seen[1] = Some(client),
            [Some(_), _] => {}
        }
    }

    fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        self.0.iter().copied().flatten()
    }
}

/// It is this address alone when others are well.
fn scope(share: f64, others: Others) -> Scope {
    let all = others.answered + others.failed;
    let theirs = f64::from(others.failed) / f64::from(all.max(1));
    if all > 0 && theirs < share / 2.0 { Scope::Backend } else { Scope::Endpoint }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::cascade::tests::subject;
    use crate::telemetry::event::Phase;
    use Sign::{Answered, Failed, Throttled};

    /// Exchanges a tenth of a second apart by three clients in turn.
    fn play(backend: &mut Backend, signs: &[Sign], clients: u64) -> Vec<Told> {
        let at = |n: usize| Nanos::from_millis(100_000 + 100 * n as u64);
        let told = signs.iter().enumerate().filter_map(|(n, &sign)| {
            let (n_th, others) = (n as u64, Others::default());
            let limits = Limits::default();
            backend.ended(at(n), sign, n_th % clients, subject(n_th), others, &limits)
        });
        told.collect()
    }

    fn signs(count: usize, sign: impl Fn(usize) -> Sign) -> Vec<Sign> {
        (0..count).map(sign).collect()
    }

    #[test]
    fn a_third_of_failures_after_health_is_an_outage_and_ends_when_they_do() {
        let mut backend = Backend::default();
        let told = play(
            &mut backend,
            &signs(300, |n| if (100..180).contains(&n) && n % 3 == 0 { Failed } else { Answered }),
            4,
        );
        let kinds: Vec<_> = told.iter().map(|(kind, _, change)| (*kind, change.phase)).collect();
        let outage = |phase| (SignalKind::Outage, phase);
        assert_eq!(kinds, [outage(Phase::Begins), outage(Phase::Ends)]);
        assert!(told[1].2.value < 0.4);
    }

    #[test]
    fn answers_of_the_shape_of_a_429_are_throttling() {
        let told = play(&mut Backend::default(), &[Throttled; 6], 4);
        assert_eq!(told[0].0, SignalKind::Throttling);
    }

    #[test]
    fn a_failure_in_twenty_is_none() {
        let few = signs(400, |n| if n % 20 == 0 { Failed } else { Answered });
        assert!(play(&mut Backend::default(), &few, 3).is_empty());
    }

    #[test]
    fn what_one_client_meets_alone_is_its_own_fault() {
        let own = signs(60, |n| if n % 3 == 0 { Failed } else { Answered });
        assert!(play(&mut Backend::default(), &own, 3).is_empty());
    }

    #[test]
    fn two_failing_clients_are_two_whatever_their_hashes() {
        let mut backend = Backend::default();
        // The first two agree in their last six bits.
        let clients = [0, 64, 1].into_iter().cycle();
        let told = (0..60).zip(clients).find_map(|(n, client)| {
            let sign = if client == 1 { Answered } else { Failed };
            let at = Nanos::from_millis(100_000 + 100 * n);
            backend.ended(at, sign, client, subject(n), Others::default(), &Limits::default())
        });
        assert!(told.is_some_and(|(kind, ..)| kind == SignalKind::Outage));
    }

    #[test]
    fn a_backend_fails_alone_when_others_are_well() {
        let well = Others { answered: 30, failed: 1 };
        assert_eq!(scope(0.5, well), Scope::Backend);
        assert_eq!(scope(0.5, Others { answered: 10, failed: 10 }), Scope::Endpoint);
        assert_eq!(scope(0.5, Others::default()), Scope::Endpoint);
    }

    #[test]
    fn a_client_that_leaves_early_says_nothing_and_one_that_waited_does() {
        let left = |ms| sign(Outcome::ClientAbort, Some(Nanos::from_millis(ms)));
        assert_eq!((left(300), left(2000)), (None, Some(Failed)));
        assert_eq!(sign(Outcome::ClientAbort, None), None);
    }
}
