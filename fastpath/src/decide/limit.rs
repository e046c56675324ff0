//! Concurrency limit of one backend address (law A1, "streaming and waiting"): how many requests may
//! wait there for their first byte.
//!
//! What streams shows how much of a server is busy. So neither its slots nor the length of answers
//! need be known, and the law is free of scale: an lcore judges the requests that it forwarded itself
//! by the first bytes that it saw itself. A pure state machine: what happens comes in, with its time,
//! and [`Limit::judge`] says whether one more may go.

use std::collections::VecDeque;

use super::load::Loads;
use crate::time::Nanos;

/// Requests that wait at one backend and are followed; beyond it they count, and are not judged by.
const WAITING_MAX: usize = 1024;
/// First bytes remembered: K of the dequeue rate is at most one less.
const FIRST_BYTES: usize = 257;
/// K of the dequeue rate X̂, least and most.
const K_MIN: usize = 8;
const K_MAX: usize = FIRST_BYTES - 1;
/// A waiting request that so many later ones overtook says nothing of the queue.
const OVERTAKEN_BY: u8 = 8;
/// κ: waiting requests for each that the server is seen to take up in p̂.
const KAPPA: f64 = 2.5;
/// W0: requests that may always wait.
const WAITING_FREE: f64 = 3.0;
/// Evidence E: 2 · median age above this many p̂ and this much more.
const EVIDENCE_BASES: f64 = 2.0;
const EVIDENCE_MORE_SECS: f64 = 0.05;
/// Stall: at least so many waiting, and silence above this many p̂ and this many mean gaps.
const STALL_WAITING: usize = 3;
const STALL_BASES: f64 = 0.5;
const STALL_GAPS: f64 = 4.0;
/// First bytes a second that gaps are taken from, at least.
const STALL_RATE_MIN: f64 = 0.05;
/// p̂: a window has at least so many first bytes and lasts at least so long.
const WINDOW_SAMPLES: u32 = 16;
const WINDOW_MIN: Nanos = Nanos::from_secs(1);
/// p̂: windows end no sooner than this after the first byte that came first.
const SKIPPED: Nanos = Nanos::from_secs(5);
/// p̂ is a quantile of the windows of so many seconds without evidence, of so many at least.
const BASE_SECS: f64 = 120.0;
const BASE_WINDOWS_MIN: usize = 4;
const BASE_WINDOWS_MAX: usize = 128;
/// D̂: mean of so many, smoothed by this.
const DURATION_SAMPLES: u32 = 32;
const DURATION_SMOOTHING: f64 = 0.2;
/// A response that takes this many D̂ is a long one.
const LONG_ANSWER: f64 = 3.0;
/// p̂/D̂ while D̂ is not known.
const SHARE_DEFAULT: f64 = 0.1;
/// What X̂ may show for each that B does: the slots that come back together after a cut give many first
/// bytes at once, and no more than once.
const RAMP: f64 = 2.0;
/// Nothing is held before so many seconds' work waits beyond W\*; what is held already goes by W\*.
const START_SECS: f64 = 1.0;
/// κ and W0 for a tenant that has more than its share: a queue for others is not left to it.
const KAPPA_OVER: f64 = 1.3;
const WAITING_FREE_OVER: f64 = 1.0;
/// Hard cap: this many times the peak without evidence, which decays over so long.
const CAP_PEAKS: f64 = 2.0;
const PEAK_DECAY_SECS: f64 = 600.0;
/// Guard: y alternates between 1 and this, while something is held.
const PROBE: f64 = 1.5;
/// Guard: each phase settles for so many first-byte times, and at least this long.
const SETTLE_BASES: f64 = 1.5;
const SETTLE_MIN_SECS: f64 = 0.3;
/// Guard: and is measured for so long, for so many p̂, and so many first bytes.
const MEASURE_MIN_SECS: f64 = 2.0;
const MEASURE_BASES: f64 = 2.0;
const MEASURE_SAMPLES: u32 = 24;
/// Guard: g grows above the one ratio and shrinks below the other.
const GROWS_ABOVE: f64 = 1.25;
const SHRINKS_BELOW: f64 = 1.1;
const GROWTH: f64 = 1.25;
const SHRINKAGE: f64 = 1.1;
const GAIN_MAX: f64 = 50.0;
/// Guard: g decays so much a second while nothing is held.
const GAIN_DECAY_PER_SEC: f64 = 0.01;

/// How often [`Limit::tick`] is called.
pub const TICK: Nanos = Nanos::from_millis(250);
/// Throttled: in flight is multiplied by this, at most so often, and never to less than this.
const CEILING_LOWERED: f64 = 0.7;
const CEILING_EVERY: Nanos = Nanos::from_secs(1);
const CEILING_MIN: f64 = 2.0;
/// And grows by this share a second, and by so many, until it is above twice the peak.
const CEILING_GROWTH: f64 = 0.05;
const CEILING_MORE: f64 = 0.5;
/// The hard cap is never below this, over all lcores.
pub const CAP_MIN: f64 = 64.0;

/// One backend address.
#[derive(Debug)]
pub struct Limit {
    /// Forwarded and without first byte, in the order in which they were forwarded.
    waiting: VecDeque<Waiting>,
    overtaken: usize,
    /// Forwarded, without first byte, and not in the list.
    unlisted: u32,
    streaming: u32,
    next: u64,
    first_bytes: VecDeque<Nanos>,
    base: Base,
    duration: Duration,
    guard: Guard,
    /// Npk, and N at the latest tick, if that was without evidence.
    peak: f64,
    sampled: Option<f64>,
    loads: Loads,
    ceiling: Option<Ceiling>,
    cap_min: f64,
    ticks: u32,
    /// A factor of W\* from outside (law A11); 1 leaves it.
    pub scale: f64,
}

/// What a backend that throttles (429) is given: its answers are fast, so that nothing waits there.
#[derive(Clone, Copy, Debug)]
struct Ceiling {
    in_flight: f64,
    lowered: Nanos,
}

/// A forwarded request, as its limit knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    number: u64,
    listed: bool,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    number: u64,
    since: Nanos,
    overtaken_by: u8,
}

/// p̂.
#[derive(Debug, Default)]
struct Base {
    sum: f64,
    count: u32,
    /// When the window began; `None` before the first byte that came first.
    window: Option<Nanos>,
    first: Option<Nanos>,
    /// Seconds without evidence so far.
    clean_secs: f64,
    /// Mean of a window, and the clean seconds at its end.
    windows: VecDeque<(f64, f64)>,
    /// The quantile.
    secs: Option<f64>,
    /// The latest time to first byte, and smoothed.
    latest: f64,
    smoothed: f64,
}

/// D̂.
#[derive(Debug, Default)]
struct Duration {
    sum: f64,
    count: u32,
    secs: Option<f64>,
}

/// g and y.
#[derive(Debug)]
struct Guard {
    gain: f64,
    probing: bool,
    /// When the phase began.
    since: Nanos,
    /// When its measurement began.
    measured: Option<Nanos>,
    first_bytes: u32,
    rates: [f64; 2],
}

/// What a limit says of one more request, and the figures it goes by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Judgement {
    /// Whether one more may go.
    pub admits: bool,
    /// Whether one more may go of a tenant that has more than its share, beside others.
    pub admits_over: bool,
    /// Q: waiting requests that were not overtaken.
    pub waiting: usize,
    /// W\*: how many may wait; `None` while p̂ is not known.
    pub waiting_max: Option<f64>,
    /// N: forwarded and not over.
    pub in_flight: usize,
    /// The hard cap of N.
    pub in_flight_max: f64,
    /// E: half of the waiting wait too long.
    pub evidence: bool,
    /// Nothing has come for longer than it can by chance.
    pub stall: bool,
    /// p̂, seconds.
    pub base_secs: Option<f64>,
    /// X̂, first bytes a second.
    pub rate_per_sec: f64,
}

impl Limit {
    /// A backend that nothing is known of, on one of so many lcores.
    #[must_use]
    pub fn new(lcores: u16) -> Self {
        Self {
            waiting: VecDeque::with_capacity(WAITING_MAX),
            overtaken: 0,
            unlisted: 0,
            streaming: 0,
            next: 1,
            first_bytes: VecDeque::with_capacity(FIRST_BYTES),
            base: Base { windows: VecDeque::with_capacity(BASE_WINDOWS_MAX), ..Base::default() },
            duration: Duration::default(),
            guard: Guard::new(),
            peak: 0.0,
            sampled: None,
            loads: Loads::default(),
            ceiling: None,
            cap_min: CAP_MIN / f64::from(lcores.max(1)),
            ticks: 0,
            scale: 1.0,
        }
    }

    /// Forgets everything, and keeps its memory: another backend takes the place.
    pub fn reset(&mut self) {
        self.waiting.clear();
        self.first_bytes.clear();
        self.base.windows.clear();
        let windows = std::mem::take(&mut self.base.windows);
        self.base = Base { windows, ..Base::default() };
        (self.overtaken, self.unlisted, self.streaming) = (0, 0, 0);
        (self.duration, self.guard) = (Duration::default(), Guard::new());
        (self.peak, self.ticks, self.scale, self.ceiling) = (0.0, 0, 1.0, None);
        (self.sampled, self.loads) = (None, Loads::default());
    }

    /// Whether one more may go, while so many are held here already.
    #[must_use]
    pub fn judge(&self, held: usize, now: Nanos) -> Judgement {
        let (waiting, in_flight) = (self.queue(), self.in_flight());
        let (evidence, stall) = (self.evidence(now), self.stall(now));
        let waiting_max = self.waiting_max(stall, now);
        let ceiling = self.ceiling.map_or(f64::INFINITY, |ceiling| ceiling.in_flight);
        let in_flight_max = self.cap().min(ceiling);
        let crowded = |max: f64| waiting as f64 >= max;
        let below_cap = (in_flight as f64) < in_flight_max;
        let rate_per_sec = self.rate(self.wide(now), now);
        // Nothing is held before there is evidence; what is held goes in its turn.
        let holds = waiting_max.is_some_and(|max| {
            let start = if stall { 0.0 } else { START_SECS * rate_per_sec };
            if held > 0 { crowded(max) } else { evidence && crowded(max + start) }
        });
        let over = waiting_max.map(over).filter(|_| held > 0 || evidence);
        let below_peak = (in_flight as f64) < self.peak.max(self.cap_min).min(in_flight_max);
        Judgement {
            admits: below_cap && !holds,
            admits_over: below_peak && !holds && !over.is_some_and(crowded),
            waiting,
            waiting_max,
            in_flight,
            in_flight_max,
            evidence,
            stall,
            base_secs: self.base.secs,
            rate_per_sec,
        }
    }

    /// A request is forwarded.
    pub fn forwarded(&mut self, now: Nanos) -> Ticket {
        let listed = self.waiting.len() < WAITING_MAX;
        let number = self.next;
        self.next += 1;
        if listed {
            self.waiting.push_back(Waiting { number, since: now, overtaken_by: 0 });
        } else {
            self.unlisted += 1;
        }
        Ticket { number, listed }
    }

    /// It begins only now: a connection that was let through had to be opened first.
    pub fn begun(&mut self, ticket: Ticket, now: Nanos) {
        if let Some(place) = self.place(ticket) {
            self.waiting[place].since = now;
        }
    }

    /// Its first byte has come. `asked`: when its last byte was sent, if that is known; `held`: how
    /// many are held here.
    pub fn first_byte(&mut self, ticket: Ticket, asked: Nanos, held: usize, now: Nanos) {
        let armed = held > 0 || self.evidence(now);
        let since = self.place(ticket).map(|place| self.waiting[place].since);
        self.overtake(ticket, since);
        self.leave(ticket, false);
        self.streaming += 1;
        if self.first_bytes.len() == FIRST_BYTES {
            self.first_bytes.pop_front();
        }
        self.first_bytes.push_back(now);
        self.guard.first_bytes += 1;
        let since = since.map_or(asked, |since| since.max(asked));
        self.base.first_byte(now.since(since).secs_f64(), armed, now);
    }

    /// It is over, or its client has left. `first_byte`: when that had come.
    pub fn ended(&mut self, ticket: Ticket, first_byte: Option<Nanos>, held: usize, now: Nanos) {
        self.leave(ticket, first_byte.is_some());
        if let Some(first) = first_byte {
            let armed = held > 0 || self.evidence(now);
            self.duration.ended(now.since(first).secs_f64(), armed);
        }
    }

    /// It was throttled (law A5: that lowers L, and opens no breaker).
    pub fn throttled(&mut self, now: Nanos) {
        let Some(ceiling) = &self.ceiling else {
            let in_flight = (CEILING_LOWERED * self.in_flight() as f64).max(CEILING_MIN);
            self.ceiling = Some(Ceiling { in_flight, lowered: now });
            return;
        };
        if now.since(ceiling.lowered) >= CEILING_EVERY {
            let in_flight = ceiling.in_flight.min(self.in_flight() as f64);
            let in_flight = (CEILING_LOWERED * in_flight).max(CEILING_MIN);
            self.ceiling = Some(Ceiling { in_flight, lowered: now });
        }
    }

    /// [`TICK`] has passed.
    pub fn tick(&mut self, held: usize, now: Nanos) {
        self.ticks = self.ticks.wrapping_add(1);
        let evidence = self.evidence(now);
        if held == 0 && !evidence {
            self.base.clean_secs += TICK.secs_f64();
        }
        self.loads.tick(evidence && held > 0, now);
        self.peak *= (-TICK.secs_f64() / PEAK_DECAY_SECS).exp();
        // A herd is there before its evidence is: one sample shows no peak.
        let sample = Some(self.in_flight() as f64).filter(|_| !evidence);
        let both = self.sampled.zip(sample).map_or(0.0, |(a, b)| a.min(b));
        (self.peak, self.sampled) = (self.peak.max(both), sample);
        let cap = self.cap();
        if let Some(ceiling) = &mut self.ceiling {
            let more = CEILING_GROWTH * ceiling.in_flight + CEILING_MORE;
            ceiling.in_flight += TICK.secs_f64() * more;
            if ceiling.in_flight > cap {
                self.ceiling = None;
            }
        }
        self.base.smoothed += 0.2 * (self.base.latest - self.base.smoothed);
        self.guard.tick(held, &self.base, now);
    }

    /// Whether the backend queued and requests were held for it around `then`, or nobody remembers.
    #[must_use]
    pub fn was_loaded(&self, then: Nanos) -> bool {
        self.loads.was_loaded(then)
    }

    /// Seconds from forwarding in which nearly every response ends: p̂, and three times D̂, as a tenth of
    /// all answers is longer than twice the mean.
    #[must_use]
    pub fn served_secs(&self) -> f64 {
        self.base.secs.unwrap_or(0.0) + LONG_ANSWER * self.duration.secs.unwrap_or(0.0)
    }

    /// p̂, seconds.
    #[must_use]
    pub fn base_secs(&self) -> Option<f64> {
        self.base.secs
    }

    /// B: responses that are under way.
    #[must_use]
    pub fn streaming(&self) -> u32 {
        self.streaming
    }

    /// N: requests that are forwarded and not over.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.waiting.len() + self.unlisted as usize + self.streaming as usize
    }

    /// The hard cap.
    fn cap(&self) -> f64 {
        self.cap_min.max(CAP_PEAKS * self.peak)
    }

    /// Q.
    fn queue(&self) -> usize {
        self.waiting.len() - self.overtaken
    }

    /// W\*.
    fn waiting_max(&self, stall: bool, now: Nanos) -> Option<f64> {
        let base = self.base.secs?;
        let share = self.duration.secs.map_or(SHARE_DEFAULT, |secs| (base / secs).min(1.0));
        let rate = self.rate(self.wide(now), now);
        let streams = share * f64::from(self.streaming);
        // By Little's law both are the same once it is steady.
        let steady = self.duration.secs.is_some() && share < 1.0;
        let most = if steady { RAMP * streams } else { f64::INFINITY };
        let taken = (rate * base).min(most).max(streams);
        let taken = if stall { 0.0 } else { taken };
        let probe = if self.guard.probing { PROBE } else { 1.0 };
        Some((KAPPA * self.guard.gain * probe * taken + WAITING_FREE) * self.scale)
    }

    /// K of X̂: as many first bytes as come in p̂.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
    fn wide(&self, now: Nanos) -> usize {
        let expected = self.rate(4 * K_MIN, now) * self.base.secs.unwrap_or(0.0);
        expected.ceil().clamp(K_MIN as f64, K_MAX as f64) as usize
    }

    /// K / (now − time of the K-th last first byte).
    fn rate(&self, k: usize, now: Nanos) -> f64 {
        let count = self.first_bytes.len();
        if count < 2 {
            return 0.0;
        }
        let k = k.min(count - 1);
        k as f64 / now.since(self.first_bytes[count - 1 - k]).secs_f64().max(1e-3)
    }

    /// E. The median of an even number is the younger one of the middle.
    fn evidence(&self, now: Nanos) -> bool {
        let Some(base) = self.base.secs else { return false };
        let middle = self.queue().div_ceil(2);
        let mut judged = self.waiting.iter().filter(|w| w.overtaken_by < OVERTAKEN_BY);
        let Some(median) = middle.checked_sub(1).and_then(|n| judged.nth(n)) else { return false };
        2.0 * now.since(median.since).secs_f64() > EVIDENCE_BASES * base + EVIDENCE_MORE_SECS
    }

    fn stall(&self, now: Nanos) -> bool {
        let (Some(base), Some(&last)) = (self.base.secs, self.first_bytes.back()) else {
            return false;
        };
        if self.first_bytes.len() < K_MIN || self.queue() < STALL_WAITING {
            return false;
        }
        let gap = 1.0 / self.rate(2 * K_MIN, last).max(STALL_RATE_MIN);
        now.since(last).secs_f64() > STALL_BASES * base + STALL_GAPS * gap
    }

    fn place(&self, ticket: Ticket) -> Option<usize> {
        if !ticket.listed {
            return None;
        }
        self.waiting.binary_search_by_key(&ticket.number, |waiting| waiting.number).ok()
    }

    /// The requests that were at the server before this one have been overtaken by it. One whose
    /// release is not due yet has not.
    fn overtake(&mut self, ticket: Ticket, since: Option<Nanos>) {
        let before = self.waiting.iter_mut().take_while(|w| w.number < ticket.number);
        let before = before.filter(|w| since.is_none_or(|since| w.since <= since));
        for waiting in before.filter(|w| w.overtaken_by < OVERTAKEN_BY) {
            waiting.overtaken_by += 1;
            self.overtaken += usize::from(waiting.overtaken_by == OVERTAKEN_BY);
        }
    }

    fn leave(&mut self, ticket: Ticket, streaming: bool) {
        if streaming {
            self.streaming = self.streaming.saturating_sub(1);
        } else if let Some(gone) = self.place(ticket).and_then(|place| self.waiting.remove(place)) {
            self.overtaken -= usize::from(gone.overtaken_by >= OVERTAKEN_BY);
        } else if !ticket.listed {
            self.unlisted = self.unlisted.saturating_sub(1);
        }
    }
}

/// W\* of a tenant that has more than its share, for the W\* of the others.
fn over(waiting_max: f64) -> f64 {
    (waiting_max - WAITING_FREE).max(0.0) * KAPPA_OVER / KAPPA + WAITING_FREE_OVER
}

impl Base {
    fn first_byte(&mut self, secs: f64, armed: bool, now: Nanos) {
        self.latest = secs;
        let first = *self.first.get_or_insert(now);
        let window = *self.window.get_or_insert(now);
        if armed {
            (self.sum, self.count, self.window) = (0.0, 0, Some(now));
            return;
        }
        self.sum += secs;
        self.count += 1;
        if self.count < WINDOW_SAMPLES || now.since(window) < WINDOW_MIN {
            return;
        }
        let mean = self.sum / f64::from(self.count);
        (self.sum, self.count, self.window) = (0.0, 0, Some(now));
        if now.since(first) <= SKIPPED {
            return;
        }
        if self.windows.len() == BASE_WINDOWS_MAX {
            self.windows.pop_front();
        }
        self.windows.push_back((mean, self.clean_secs));
        let oldest = self.clean_secs - BASE_SECS;
        while self.windows.pop_front_if(|(_, at)| *at < oldest).is_some() {}
        self.take_quantile();
    }

    /// The 25th percentile of the windows.
    fn take_quantile(&mut self) {
        let count = self.windows.len();
        if count < BASE_WINDOWS_MIN {
            return;
        }
        let mut means = [0.0; BASE_WINDOWS_MAX];
        for (to, (mean, _)) in means.iter_mut().zip(&self.windows) {
            *to = *mean;
        }
        let means = &mut means[..count];
        means.sort_unstable_by(f64::total_cmp);
        self.secs = means.get((count - 1) / 4).copied();
    }
}

impl Duration {
    fn ended(&mut self, secs: f64, armed: bool) {
        self.sum += secs;
        self.count += 1;
        if self.count < DURATION_SAMPLES {
            return;
        }
        let mean = self.sum / f64::from(self.count);
        (self.sum, self.count) = (0.0, 0);
        match &mut self.secs {
            None => self.secs = Some(mean),
            Some(secs) if !armed => *secs += DURATION_SMOOTHING * (mean - *secs),
            Some(_) => {}
        }
    }
}

impl Guard {
    const fn new() -> Self {
        Self {
            gain: 1.0,
            probing: false,
            since: Nanos::ZERO,
            measured: None,
            first_bytes: 0,
            rates: [0.0; 2],
        }
    }

    /// While something is held the server is asked for more in turn: does it give more?
    fn tick(&mut self, held: usize, base: &Base, now: Nanos) {
        if held == 0 {
            (self.probing, self.since, self.measured) = (false, now, None);
            self.gain = (self.gain * (-GAIN_DECAY_PER_SEC * TICK.secs_f64()).exp()).max(1.0);
            return;
        }
        let Some(measured) = self.measured else {
            let settle = (SETTLE_BASES * base.smoothed).max(SETTLE_MIN_SECS);
            if now.since(self.since).secs_f64() > settle {
                (self.measured, self.first_bytes) = (Some(now), 0);
            }
            return;
        };
        let secs = now.since(measured).secs_f64();
        let least = MEASURE_MIN_SECS.max(MEASURE_BASES * base.secs.unwrap_or(0.0));
        if secs < least || self.first_bytes < MEASURE_SAMPLES {
            return;
        }
        self.rates[usize::from(self.probing)] = f64::from(self.first_bytes) / secs;
        if self.probing && self.rates[0] > 0.0 {
            let ratio = self.rates[1] / self.rates[0];
            if ratio > GROWS_ABOVE {
                self.gain = (self.gain * GROWTH).min(GAIN_MAX);
            } else if ratio < SHRINKS_BELOW {
                self.gain = (self.gain / SHRINKAGE).max(1.0);
            }
        }
        (self.probing, self.since, self.measured) = (!self.probing, now, None);
    }
}

#[cfg(test)]
mod tests;
