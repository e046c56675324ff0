//! Thrash: a workflow that begins again, and a loop that gets nowhere.
//!
//! A step is a first attempt at some work. A step whose work the client had asked for before, within a
//! minute and one after the other, repeats that earlier step. Equality of one length proves little.
//! Two steps that came one right after the other, of the same worker, and now do so again are a run:
//! the workflow began anew. Steps of a template, of which there are many of nearly one length, never
//! count. A run whose steps had all been answered, for the fourth time, is a loop without progress.
//!
//! What a run wasted is not its own steps: they may yet be of use. It is the answers that it makes
//! its client ask for again, and those that came after them: see [`abandoned`](self::abandoned).
//!
//! State of a client is bounded: its last [`STEPS`] steps, as keyed hashes, and [`RUNS`] runs.

mod abandoned;

use super::episode::{Change, Subject, Track};
use crate::burst::{Address, FlowId};
use crate::telemetry::event::{ExchangeId, Outcome, SignalKind, Work};
use crate::time::Nanos;

/// Steps of a client that are remembered.
pub const STEPS: usize = 128;
/// Runs of a client that are followed at once.
pub const RUNS: usize = 16;
/// What was asked longer ago than this is asked anew.
const REPEATS_WITHIN: Nanos = Nanos::from_secs(60);
/// A step whose end was not seen is forgotten after this time.
const RUNS_FOR_AT_MOST: Nanos = Nanos::from_secs(660);
/// A run that takes no step for this long is over.
const RUN_SILENT: Nanos = Nanos::from_secs(12);
/// A step begins within this time after the one that it continues.
const CONTINUES_WITHIN: Nanos = Nanos::from_millis(500);
/// The same where model and tools are called by two applications: the call of a tool needs no thought.
const CALLS_TOOL_WITHIN: Nanos = Nanos::from_millis(200);
/// Steps of one length in a minute that make it a template.
const TEMPLATE_ABOVE: usize = 8;
/// Round from which a run without a failure is a loop.
const LOOP_FROM: u16 = 4;

/// The steps of one client.
#[derive(Clone, Copy, Debug)]
pub struct Steps {
    steps: [Option<Step>; STEPS],
    next: u64,
    runs: [Option<Run>; RUNS],
    numbers: u32,
    /// The run that took the latest step, if what it abandons is to be told.
    proven: Option<usize>,
    /// Runs that were given up for newer ones.
    pub lost: u64,
}

#[derive(Clone, Copy, Debug)]
struct Step {
    number: u64,
    id: ExchangeId,
    flow: FlowId,
    server: Address,
    work: Work,
    start: Nanos,
    fate: Fate,
    /// Output tokens of its answer, if a model gave it.
    tokens: Option<f32>,
    /// Its answer came to nothing.
    wasted: bool,
    /// Which time this is done: 1 for the first.
    round: u16,
    /// No earlier round of it failed.
    clean: bool,
    /// The run that it is a step of, and the step that it repeats, by number.
    run: Option<u32>,
    repeats: Option<u64>,
    /// The run that left it behind.
    left_by: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Running,
    Answered(Nanos),
    Failed(Nanos),
}

/// Steps that repeat earlier ones in order.
#[derive(Clone, Copy, Debug)]
struct Run {
    number: u32,
    round: u16,
    clean: bool,
    /// Its first step, by number.
    first: u64,
    last: Nanos,
    announced: bool,
    /// It has come to a step that a model had answered.
    model: bool,
    kind: SignalKind,
    track: Track,
}

/// A step that begins.
#[derive(Clone, Copy, Debug)]
pub struct Start {
    /// When.
    pub at: Nanos,
    /// On which flow.
    pub flow: FlowId,
    /// What it asks.
    pub work: Work,
    /// The attempt before, if it is a retry: then it is no step of its own.
    pub retry_of: Option<ExchangeId>,
    /// Itself.
    pub subject: Subject,
}

impl Default for Steps {
    fn default() -> Self {
        Self {
            steps: [None; STEPS],
            next: 1,
            runs: [None; RUNS],
            numbers: 0,
            proven: None,
            lost: 0,
        }
    }
}

impl Steps {
    /// A step begins. `answered_at` says when the exchange that still runs on a flow was last
    /// heard from its server. Tells of a run when it is recognised.
    pub fn started(
        &mut self,
        start: &Start,
        answered_at: impl Fn(FlowId, ExchangeId) -> Option<Nanos>,
    ) -> Option<(SignalKind, Change)> {
        self.proven = None;
        let end = |step: &Step| match step.fate {
            Fate::Running => answered_at(step.flow, step.id),
            Fate::Answered(end) | Fate::Failed(end) => Some(end),
        };
        let over = |step: &Step| end(step).is_some_and(|end| end <= start.at);
        let before = start.retry_of.and_then(|before| self.step_of(before).copied());
        let earlier = match start.retry_of {
            Some(_) => before,
            None => {
                let asked = self.steps.iter().flatten().filter(|step| step.is_asked_again(start));
                asked.filter(|step| over(step)).max_by_key(|step| step.number).copied()
            }
        };
        let alike = self.steps.iter().flatten().filter(|step| step.is_alike(start)).count();
        let repeated = earlier.filter(|_| alike <= TEMPLATE_ABOVE);
        let run = repeated.and_then(|earlier| self.run_that_comes_to(&earlier, start, end));
        if start.retry_of.is_some() && run.is_none() {
            if let Some(before) = before {
                let comes_again = self.took_another(&before, start, end);
                self.tried_again(&before, start, comes_again);
            }
            return None;
        }
        let Some(earlier) = repeated else {
            self.push(start, None, None);
            return None;
        };
        let proven = run.is_some();
        let index = run.unwrap_or_else(|| self.begin_run(&earlier, start));
        self.push(start, Some(&earlier), Some(index));
        let run = self.runs[index].as_mut()?;
        run.step(&earlier, start);
        self.proven = proven.then_some(index);
        (proven && !run.announced).then(|| run.announce(start.at))
    }

    /// A step is over. `tokens`: of its answer, if a model gave it; `wasted`: it came to nothing by
    /// itself. Returns whether a run had abandoned its answer already.
    pub fn ended(
        &mut self,
        id: ExchangeId,
        end: Nanos,
        outcome: Outcome,
        tokens: Option<f32>,
        wasted: bool,
    ) -> bool {
        let Some(step) = self.step_of(id) else { return false };
        step.fate = if outcome.invites_retry() { Fate::Failed(end) } else { Fate::Answered(end) };
        step.tokens = tokens;
        let abandoned = step.wasted && !wasted && outcome == Outcome::Complete;
        step.wasted |= wasted;
        let left_by = step.left_by;
        if abandoned {
            self.book(left_by, tokens);
        }
        abandoned
    }

    /// Time has passed: steps that nothing can repeat any more are forgotten, and a run ends when it
    /// takes no more of them.
    pub fn tick(&mut self, now: Nanos) -> Option<(SignalKind, Change)> {
        for slot in &mut self.steps {
            if slot.is_some_and(|step| now > step.last_known() + step.kept_for()) {
                *slot = None;
            }
        }
        let silent = |run: &Run| now > run.last + RUN_SILENT;
        let slot = self.runs.iter_mut().find(|slot| slot.as_ref().is_some_and(silent))?;
        slot.take()?.end()
    }

    /// The observation is over; call until it tells nothing.
    pub fn close(&mut self) -> Option<(SignalKind, Change)> {
        self.runs.iter_mut().filter_map(Option::take).find_map(|run| run.end())
    }

    fn step_of(&mut self, id: ExchangeId) -> Option<&mut Step> {
        self.steps.iter_mut().flatten().find(|step| step.id == id)
    }

    /// The step with this number, while it is remembered.
    fn step(&self, number: u64) -> Option<Step> {
        self.steps[place(number)].filter(|step| step.number == number)
    }

    fn push(&mut self, start: &Start, repeats: Option<&Step>, run: Option<usize>) {
        let number = self.next;
        self.next += 1;
        self.steps[place(number)] = Some(Step {
            number,
            id: start.subject.exchange,
            flow: start.flow,
            server: start.subject.peers.server,
            work: start.work,
            start: start.at,
            fate: Fate::Running,
            tokens: None,
            wasted: false,
            round: repeats.map_or(1, |earlier| earlier.round.saturating_add(1)),
            clean: repeats.is_none_or(Step::is_clean),
            run: run.and_then(|index| self.runs[index]).map(|run| run.number),
            repeats: repeats.map(|earlier| earlier.number),
            left_by: None,
        });
    }

    /// Whether the worker took another step after `before` had failed and right before the one that
    /// begins: then it comes to it again, and does not just try it again.
    fn took_another(
        &self,
        before: &Step,
        start: &Start,
        end: impl Fn(&Step) -> Option<Nanos>,
    ) -> bool {
        let begins = Link::of_start(start);
        self.steps.iter().flatten().any(|step| {
            step.start >= before.last_known()
                && step.number > before.number
                && step.work.application == start.work.application
                && Link::of_step(step).leads_to(&begins, end(step))
        })
    }

    /// Another attempt at a step. Where the worker `comes_again` to it, it is its latest step.
    fn tried_again(&mut self, before: &Step, start: &Start, comes_again: bool) {
        let mut step = *before;
        (step.id, step.flow, step.fate) = (start.subject.exchange, start.flow, Fate::Running);
        (step.tokens, step.wasted) = (None, false);
        if comes_again {
            self.steps[place(before.number)] = None;
            (step.number, step.start) = (self.next, start.at);
            self.next += 1;
        }
        self.steps[place(step.number)] = Some(step);
    }

    /// The run that comes to `earlier` with the step that begins: a step of it came right before this
    /// one, as the one which that repeats came right before `earlier`. A run that began with another
    /// step than the one repeated goes on with the same worker: one application, or one of its
    /// connections.
    fn run_that_comes_to(
        &self,
        earlier: &Step,
        start: &Start,
        end: impl Fn(&Step) -> Option<Nanos>,
    ) -> Option<usize> {
        let begins = Link { model: earlier.tokens.is_some(), ..Link::of_start(start) };
        let comes = self.steps.iter().flatten().filter(|step| {
            let repeated = step.repeats.and_then(|number| self.step(number));
            repeated.is_some_and(|repeated| {
                let last = Link { model: repeated.tokens.is_some(), ..Link::of_step(step) };
                repeated.number < earlier.number
                    && !repeated.work.is_alike(&earlier.work)
                    && last.leads_to(&begins, end(step))
                    && Link::of_step(&repeated).leads_to(&Link::of_step(earlier), end(&repeated))
                    && (step.work.application == start.work.application
                        || step.flow == repeated.flow
                        || start.flow == earlier.flow)
            })
        });
        let found = comes.filter_map(|step| {
            let of = |run: &Option<Run>| {
                run.is_some_and(|run| Some(run.number) == step.run && earlier.number < run.first)
            };
            Some((step.number, self.runs.iter().position(of)?))
        });
        found.max().map(|(_, index)| index)
    }

    /// A run that begins with the repetition of `earlier`, in the place of the oldest.
    fn begin_run(&mut self, earlier: &Step, start: &Start) -> usize {
        let worth = |run: Run| (run.announced, run.last);
        let oldest = (0..RUNS).min_by_key(|&i| self.runs[i].map(worth));
        let index = oldest.unwrap_or(0);
        self.lost += u64::from(self.runs[index].is_some_and(|run| run.announced));
        self.numbers += 1;
        self.runs[index] = Some(Run {
            number: self.numbers,
            round: earlier.round.saturating_add(1),
            clean: earlier.clean,
            first: self.next,
            last: start.at,
            announced: false,
            model: false,
            kind: SignalKind::WorkflowRestart,
            track: Track::new(start.at, start.subject),
        });
        index
    }
}

/// What tells whether a step continues another.
#[derive(Clone, Copy, Debug)]
struct Link {
    start: Nanos,
    flow: FlowId,
    application: u64,
    model: bool,
}

impl Link {
    fn of_start(start: &Start) -> Self {
        let application = start.work.application;
        Self { start: start.at, flow: start.flow, application, model: false }
    }

    fn of_step(step: &Step) -> Self {
        let &Step { start, flow, .. } = step;
        Self { start, flow, application: step.work.application, model: step.tokens.is_some() }
    }

    /// Whether `next` comes right after this one, which is over at `end`. A worker uses one
    /// application, or one for its model and one for its tools.
    fn leads_to(&self, next: &Self, end: Option<Nanos>) -> bool {
        let same_worker = self.application == next.application || self.flow == next.flow;
        let within = match (same_worker, self.model == next.model) {
            (true, _) => CONTINUES_WITHIN,
            (false, false) => CALLS_TOOL_WITHIN,
            (false, true) => return false,
        };
        end.is_some_and(|end| (end..=end + within).contains(&next.start))
    }
}

impl Step {
    /// Its end, or its start while that is not known.
    fn last_known(&self) -> Nanos {
        match self.fate {
            Fate::Running => self.start,
            Fate::Answered(end) | Fate::Failed(end) => end,
        }
    }

    fn kept_for(&self) -> Nanos {
        if self.fate == Fate::Running { RUNS_FOR_AT_MOST } else { REPEATS_WITHIN }
    }

    fn is_clean(&self) -> bool {
        self.clean && !self.has_failed()
    }

    fn has_failed(&self) -> bool {
        matches!(self.fate, Fate::Failed(_))
    }

    /// The same is asked again, not too long after.
    fn is_asked_again(&self, start: &Start) -> bool {
        let same = self.work.whole == start.work.whole
            || (self.work.body.is_some() && self.work.body == start.work.body);
        same && self.start < start.at && start.at <= self.last_known() + REPEATS_WITHIN
    }

    /// It has nearly the same length, and is not long ago.
    fn is_alike(&self, start: &Start) -> bool {
        self.work.is_alike(&start.work) && start.at <= self.start + REPEATS_WITHIN
    }
}

impl Run {
    fn step(&mut self, earlier: &Step, start: &Start) {
        self.last = self.last.max(start.at);
        self.clean &= earlier.is_clean();
        self.model |= earlier.tokens.is_some();
        self.track.subject = start.subject;
        self.track.exchanges += 1;
        self.track.peak = f64::from(self.round);
    }

    fn announce(&mut self, at: Nanos) -> (SignalKind, Change) {
        self.announced = true;
        let gets_nowhere = self.clean && self.round >= LOOP_FROM;
        self.kind = if gets_nowhere { SignalKind::Loop } else { SignalKind::WorkflowRestart };
        (self.kind, self.track.begins(at))
    }

    fn end(&self) -> Option<(SignalKind, Change)> {
        self.announced.then(|| (self.kind, self.track.ends(self.last)))
    }
}

/// The place of a step in its ring.
#[allow(clippy::cast_possible_truncation, reason = "a remainder of the ring's size")]
fn place(number: u64) -> usize {
    (number % STEPS as u64) as usize
}

#[cfg(test)]
mod tests;
