//! Thrash: a workflow that begins again, and a loop that gets nowhere.
//!
//! A step is a first attempt at some work. It continues the chain of the step that had ended just
//! before it began. A step whose work the client had asked for before, within a minute and one after
//! the other, repeats that earlier step; steps that repeat those of one chain in the same order are a
//! run. Equality of one length proves little, so a run counts once two steps of different lengths have
//! repeated; the steps of a template never count. A run whose steps had all been answered, for the
//! fourth time, is a loop without progress.
//!
//! A run says that a workflow began again, and how far it got. What that wasted is what
//! [`restart`](super::restart) says of each exchange: it is right of more of them.
//!
//! State of a client is bounded: its last [`STEPS`] steps, as keyed hashes, and [`RUNS`] runs.

use super::episode::{Change, Subject, Track};
use crate::burst::FlowId;
use crate::keyed::{Fresh, Kept, Keys};
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
/// Steps of one length in a minute that make it a template.
const TEMPLATE_ABOVE: usize = 8;
/// Steps that must repeat in order before a run is told of.
const RUN_STEPS_MIN: u32 = 2;
/// Round from which a run without a failure is a loop.
const LOOP_FROM: u16 = 4;

/// The steps of one client.
#[derive(Clone, Copy, Debug)]
pub struct Steps {
    steps: [Option<Step>; STEPS],
    next: u64,
    runs: [Option<Run>; RUNS],
    chains: u64,
    /// Runs that were given up for newer ones.
    pub lost: u64,
}

#[derive(Clone, Copy, Debug)]
struct Step {
    number: u64,
    id: ExchangeId,
    flow: FlowId,
    work: Asked,
    start: Nanos,
    fate: Fate,
    /// Which time this is done: 1 for the first.
    round: u16,
    /// No earlier round of it failed.
    clean: bool,
    /// Steps that follow one another are a chain.
    chain: u64,
    /// Another step continues it.
    continued: bool,
    /// The run that it is part of, by number.
    run: Option<u64>,
}

/// A step's work, as it is kept.
#[derive(Clone, Copy, Debug)]
struct Asked {
    whole: Kept,
    body: Option<Kept>,
    family: [Kept; 2],
    application: u64,
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
    /// The chain of its own steps, which is its number, and that of the steps it repeats.
    chain: u64,
    repeated_chain: u64,
    round: u16,
    clean: bool,
    /// The latest step that was repeated, and when.
    repeated: u64,
    last: Nanos,
    work: Option<Asked>,
    /// Steps in a row whose lengths differ.
    varied: u32,
    announced: bool,
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
        Self { steps: [None; STEPS], next: 1, runs: [None; RUNS], chains: 0, lost: 0 }
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
        let end = |step: &Step| match step.fate {
            Fate::Running => answered_at(step.flow, step.id),
            Fate::Answered(end) | Fate::Failed(end) => Some(end),
        };
        let over = |step: &Step| end(step).filter(|&end| end <= start.at);
        let parent = self.parent(start, over);
        if let Some(before) = start.retry_of
            && self.is_tried_again(before, parent, start)
        {
            return None;
        }
        let parent = parent.and_then(|parent| self.continue_from(parent));
        let earlier = self.steps.iter().flatten().filter(|step| step.is_asked_again(start));
        let earlier = earlier.filter(|step| over(step).is_some());
        let Some(earlier) = earlier.max_by_key(|step| step.number).copied() else {
            let chain = parent.map_or_else(|| self.new_chain(), |parent| parent.chain);
            self.push(start, chain, parent.map_or(1, |parent| parent.round), true, None);
            return None;
        };
        let alike = self.steps.iter().flatten().filter(|step| step.is_alike(start)).count();
        let index = self.run_after(&earlier, parent.map(|parent| parent.chain), start);
        let run = self.runs[index].as_mut()?;
        run.step(&earlier, start);
        let counts = alike <= TEMPLATE_ABOVE;
        let proven = run.varied >= RUN_STEPS_MIN && counts;
        let change = (proven && !run.announced).then(|| run.announce(start.at));
        let (round, clean, chain) = (run.round, run.clean, run.chain);
        self.push(start, chain, round, clean, counts.then_some(chain));
        change
    }

    /// A step is over. `wasted`: tokens of an answer that had been given before.
    pub fn ended(&mut self, id: ExchangeId, end: Nanos, outcome: Outcome, wasted: Option<f64>) {
        let Some(step) = self.step_of(id) else { return };
        step.fate = if outcome.invites_retry() { Fate::Failed(end) } else { Fate::Answered(end) };
        let (Some(number), Some(tokens)) = (step.run, wasted) else { return };
        if let Some(run) = self.runs.iter_mut().flatten().find(|run| run.chain == number) {
            run.track.in_vain += 1;
            run.track.tokens += tokens;
        }
    }

    /// Time has passed: steps that nothing can repeat any more are forgotten, and a run ends when it
    /// takes no more of them.
    pub fn tick(&mut self, keys: &Keys, now: Nanos) -> Option<(SignalKind, Change)> {
        for slot in &mut self.steps {
            let over = |step: Step| now > step.last_known() + step.kept_for();
            if slot.is_some_and(|step| over(step) || !keys.knows(step.work.whole)) {
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

    fn new_chain(&mut self) -> u64 {
        self.chains += 1;
        self.chains
    }

    fn push(&mut self, start: &Start, chain: u64, round: u16, clean: bool, run: Option<u64>) {
        let number = self.next;
        self.next += 1;
        self.steps[place(number)] = Some(Step {
            number,
            id: start.subject.exchange,
            flow: start.flow,
            work: Asked::of(&start.work),
            start: start.at,
            fate: Fate::Running,
            round,
            clean,
            chain,
            continued: false,
            run,
        });
    }

    /// The place of the step that this one continues: the one before on its connection, else one of its
    /// application, else any; of these the one that ended last.
    fn parent(&self, start: &Start, over: impl Fn(&Step) -> Option<Nanos>) -> Option<usize> {
        let ended = |&index: &usize| {
            let step = self.steps[index].filter(|step| !step.continued)?;
            let end = over(&step).filter(|&end| start.at <= end + CONTINUES_WITHIN)?;
            let same_application = step.work.application == start.work.application;
            Some((step.flow == start.flow, same_application, end))
        };
        (0..STEPS).filter(|index| ended(index).is_some()).max_by_key(ended)
    }

    /// The step that is continued.
    fn continue_from(&mut self, parent: usize) -> Option<Step> {
        let parent = self.steps[parent].as_mut()?;
        parent.continued = true;
        Some(*parent)
    }

    /// Whether a retry is another attempt at a step, and no step of a later run that comes to the one
    /// that had failed: then `before` is what that run repeats next.
    fn is_tried_again(&mut self, before: ExchangeId, parent: Option<usize>, start: &Start) -> bool {
        let chain = parent.and_then(|parent| self.steps[parent]).map(|step| step.chain);
        let runs = self.runs;
        let Some(step) = self.step_of(before) else { return true };
        let comes_to_it = |run: &Run| {
            Some(run.chain) == chain && run.round == step.round + 1 && run.repeated < step.number
        };
        if runs.iter().flatten().any(comes_to_it) {
            return false;
        }
        (step.id, step.flow, step.fate) = (start.subject.exchange, start.flow, Fate::Running);
        true
    }

    /// The run that goes on by repeating `earlier`: the one whose chain this step continues, else the
    /// one that repeats the same chain; or a new one in the place of the oldest.
    fn run_after(&mut self, earlier: &Step, parent: Option<u64>, start: &Start) -> usize {
        let goes_on = |run: &Run| {
            let same_round = run.repeated_chain == earlier.chain && run.round == earlier.round + 1;
            run.repeated < earlier.number
                && run.chain != earlier.chain
                && (Some(run.chain) == parent || same_round)
                && start.at <= run.last + REPEATS_WITHIN
        };
        let running = (0..RUNS).filter(|&i| self.runs[i].as_ref().is_some_and(goes_on));
        let nearest = running
            .max_by_key(|&i| self.runs[i].map(|run| (Some(run.chain) == parent, run.repeated)));
        nearest.unwrap_or_else(|| {
            let worth = |run: Run| (run.announced, run.last);
            let oldest = (0..RUNS).min_by_key(|&i| self.runs[i].map(worth));
            let index = oldest.unwrap_or(0);
            self.lost += u64::from(self.runs[index].is_some_and(|run| run.announced));
            let chain = self.new_chain();
            self.runs[index] = Some(Run::new(chain, earlier, start));
            index
        })
    }
}

impl Asked {
    fn of(work: &Work) -> Self {
        Self {
            whole: work.whole.kept(),
            body: work.body.map(Fresh::kept),
            family: work.family.map(Fresh::kept),
            application: work.application,
        }
    }

    /// The same was asked of the same, with nearly the same length.
    fn is_alike(&self, work: &Work) -> bool {
        self.family.iter().zip(work.family).any(|(kept, own)| own.is(*kept))
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

    /// The same is asked again, not too long after.
    fn is_asked_again(&self, start: &Start) -> bool {
        let Asked { whole, body, .. } = self.work;
        let same_body = || body.zip(start.work.body).is_some_and(|(body, own)| own.is(body));
        let same = start.work.whole.is(whole) || same_body();
        same && self.start < start.at && start.at <= self.last_known() + REPEATS_WITHIN
    }

    /// It has nearly the same length, and is not long ago.
    fn is_alike(&self, start: &Start) -> bool {
        self.work.is_alike(&start.work) && start.at <= self.start + REPEATS_WITHIN
    }
}

impl Run {
    fn new(chain: u64, earlier: &Step, start: &Start) -> Self {
        Self {
            chain,
            repeated_chain: earlier.chain,
            round: earlier.round.saturating_add(1),
            clean: earlier.clean,
            repeated: 0,
            last: start.at,
            work: None,
            varied: 0,
            announced: false,
            kind: SignalKind::WorkflowRestart,
            track: Track::new(start.at, start.subject),
        }
    }

    fn step(&mut self, earlier: &Step, start: &Start) {
        self.repeated = earlier.number;
        self.last = self.last.max(start.at);
        self.clean &= earlier.clean && !matches!(earlier.fate, Fate::Failed(_));
        self.varied += u32::from(!self.work.is_some_and(|work| work.is_alike(&start.work)));
        self.work = Some(Asked::of(&start.work));
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
mod tests {
    use super::*;
    use crate::detect::cascade::tests::subject;
    use crate::keyed::Seed;
    use crate::telemetry::event::Phase;

    /// A client whose steps take 200 ms and begin 300 ms after one another.
    struct Client {
        keys: Keys,
        steps: Steps,
        asked: u64,
        told: Vec<(SignalKind, Phase)>,
        answered: Vec<u64>,
    }

    impl Default for Client {
        fn default() -> Self {
            let (keys, steps) = (Keys::new(Seed::Fixed(1)), Steps::default());
            Self { keys, steps, asked: 0, told: Vec::new(), answered: Vec::new() }
        }
    }

    impl Client {
        fn ask(&mut self, length: u64, outcome: Outcome) {
            self.asked += 1;
            let at = Nanos::from_millis(100_000 + 300 * self.asked);
            let work = Work {
                whole: self.keys.hash(0, length),
                body: None,
                family: [self.keys.hash(2, length / 8), self.keys.hash(3, (length + 4) / 8)],
                application: 1,
            };
            let subject = subject(self.asked);
            let start = Start { at, flow: FlowId(0), work, retry_of: None, subject };
            let change = self.steps.started(&start, |_, _| None);
            self.told.extend(change.map(|(kind, change)| (kind, change.phase)));
            let end = at + Nanos::from_millis(200);
            let wasted = self.answered.contains(&length).then_some(10.0);
            self.steps.ended(subject.exchange, end, outcome, wasted);
            if outcome == Outcome::Complete {
                self.answered.push(length);
            }
        }

        fn ask_all(&mut self, lengths: &[u64]) {
            lengths.iter().for_each(|&length| self.ask(length, Outcome::Complete));
        }
    }

    const BEGINS: (SignalKind, Phase) = (SignalKind::WorkflowRestart, Phase::Begins);

    #[test]
    fn a_workflow_that_begins_again_is_a_restart_and_its_episode_tells_what_was_answered_before() {
        let mut client = Client::default();
        client.ask_all(&[3000, 500, 4000]);
        client.ask(600, Outcome::Failed);
        client.ask_all(&[3000, 500, 4000, 600, 5000]);
        assert_eq!(client.told, [BEGINS]);
        let (kind, end) = client.steps.tick(&client.keys, Nanos::from_secs(200)).unwrap();
        assert_eq!((kind, end.phase, end.value), (SignalKind::WorkflowRestart, Phase::Ends, 2.0));
        assert_eq!((end.track.exchanges, end.track.in_vain, end.track.tokens), (4, 3, 30.0));
    }

    #[test]
    fn the_same_length_once_more_is_no_run_yet() {
        let mut client = Client::default();
        client.ask_all(&[3000, 500, 4000, 500, 700]);
        assert_eq!(client.told, []);
    }

    #[test]
    fn a_batch_of_nearly_one_length_never_is_one() {
        let mut client = Client::default();
        for _ in 0..30 {
            client.ask_all(&[3001, 3000, 3003]);
        }
        assert_eq!(client.told, []);
    }

    #[test]
    fn a_long_agent_loop_with_growing_requests_never_is_one() {
        let mut client = Client::default();
        for n in 0..100 {
            client.ask_all(&[3000 + 700 * n, 400 + 17 * n]);
        }
        assert_eq!(client.told, []);
    }

    #[test]
    fn the_fourth_answered_round_is_a_loop() {
        let mut client = Client::default();
        for _ in 0..4 {
            client.ask_all(&[3000, 500]);
        }
        let loops = (SignalKind::Loop, Phase::Begins);
        assert_eq!(client.told, [BEGINS, BEGINS, loops]);
    }

    #[test]
    fn no_step_is_kept_once_nothing_can_repeat_it() {
        let mut client = Client::default();
        client.ask_all(&[3000, 500, 4000]);
        client.steps.tick(&client.keys, Nanos::from_secs(150));
        assert_eq!(client.steps.steps.iter().flatten().count(), 3);
        client.steps.tick(&client.keys, Nanos::from_secs(165));
        assert_eq!(client.steps.steps.iter().flatten().count(), 0);
    }

    #[test]
    fn what_was_asked_a_minute_ago_is_asked_anew() {
        let mut client = Client::default();
        client.ask_all(&[3000, 500]);
        client.asked += 250;
        client.ask_all(&[3000, 500]);
        assert_eq!(client.told, []);
    }
}
