//! What a run leaves behind: answers that nobody will use.
//!
//! A workflow that begins anew throws away what it had been told so far. That is every answer that it
//! asks for again; what had come after the last of these, as far as the same worker made it; and, where
//! the first is a tool's, that of the model which had told the worker to ask it: a run may tell the
//! model what was wrong, which makes its own first request longer.
//!
//! Lengths of requests to tools are short and alike, and an agent may well list and read again in
//! each round. A request to a model carries the conversation: of equal length it stands where it
//! stood. So nothing is abandoned before the run has come to such a step. If nothing had failed, what
//! begins much later is the next run of a job, and the last one was of use. Where the earlier steps
//! still go on when the run begins, two workers do the same side by side, and none is waste.

use super::{Fate, Link, RUN_SILENT, STEPS, Step, Steps, place};
use crate::telemetry::event::ExchangeId;
use crate::time::Nanos;

/// A set of places of steps.
#[derive(Clone, Copy, Debug, Default)]
struct Places(u128);

const _: () = assert!(STEPS <= 128, "a place is a bit");

impl Places {
    fn insert(&mut self, place: usize) {
        self.0 |= 1 << place;
    }

    fn contains(self, place: usize) -> bool {
        self.0 & (1 << place) != 0
    }
}

/// What a run consists of, and what it leaves behind.
#[derive(Clone, Copy, Debug)]
struct Parting {
    /// Steps of the run.
    own: Places,
    /// When the first of them began.
    began: Nanos,
    /// Steps that are repeated, or came after the last of these.
    left: Places,
}

impl Steps {
    /// Takes the answers that the run of the latest step has abandoned and that were not told before.
    pub fn take_abandoned(&mut self, mut tell: impl FnMut(ExchangeId)) {
        let Some(index) = self.proven.take() else { return };
        let Some(run) = self.runs[index].filter(|run| run.model) else { return };
        self.align(index, run.number);
        let Some(parting) = self.parting(run.number) else { return };
        for place in (0..STEPS).filter(|&place| parting.left.contains(place)) {
            let Some(step) = self.steps[place].as_mut() else { continue };
            if step.wasted || step.has_failed() {
                continue;
            }
            (step.wasted, step.left_by) = (true, Some(run.number));
            if let Fate::Answered(_) = step.fate {
                tell(step.id);
                let tokens = step.tokens;
                self.book(Some(run.number), tokens);
            }
        }
    }

    /// Adds an abandoned answer to the episode of the run that left it behind.
    pub(super) fn book(&mut self, run: Option<u32>, tokens: Option<f32>) {
        let of = |of: &&mut super::Run| Some(of.number) == run;
        if let Some(run) = self.runs.iter_mut().flatten().find(of) {
            run.track.in_vain += 1;
            run.track.tokens += f64::from(tokens.unwrap_or(0.0));
        }
    }

    /// Finds the beginning of a run whose first repeated step asks a tool: a model had told the worker
    /// to, and in the run as well.
    fn align(&mut self, index: usize, number: u32) {
        let own = self.steps.iter().flatten().filter(|step| step.run == Some(number));
        let first = own.min_by_key(|step| step.number).copied();
        let repeated = first.and_then(|first| self.step(first.repeats?));
        let of_tool = first.zip(repeated).filter(|(_, repeated)| repeated.tokens.is_none());
        let before = of_tool.and_then(|(own, repeated)| self.same_model_before(&own, &repeated));
        let Some((place, model)) = before else { return };
        if let (Some(step), Some(run)) = (&mut self.steps[place], &mut self.runs[index]) {
            (step.run, step.repeats) = (Some(number), Some(model.number));
            (step.round, step.clean) = (model.round.saturating_add(1), model.is_clean());
            run.first = step.number;
        }
    }

    /// The place of a step right before `first`, and a step right before `repeated` of the same model.
    fn same_model_before(&self, first: &Step, repeated: &Step) -> Option<(usize, Step)> {
        let before = |step: &&Step, next: &Step| {
            step.number < next.number
                && Link::of_step(step).leads_to(&Link::of_step(next), step.end())
        };
        let own = self.steps.iter().flatten().filter(|step| {
            step.repeats.is_none() && step.start >= repeated.last_known() && before(step, first)
        });
        let same = |own: &Step| {
            let models = self.steps.iter().flatten().filter(|step| {
                step.tokens.is_some()
                    && (step.server, step.work.application) == (own.server, own.work.application)
                    && step.last_known() < own.start
                    && before(step, repeated)
            });
            models.max_by_key(|step| step.last_known()).copied()
        };
        let both = own.filter_map(|own| Some((own, same(own)?)));
        let latest = both.max_by_key(|(own, model)| (model.last_known(), own.last_known()));
        latest.map(|(own, model)| (place(own.number), model))
    }

    /// What the run leaves behind, unless that was of use.
    fn parting(&self, number: u32) -> Option<Parting> {
        let own = || self.steps.iter().flatten().filter(|step| step.run == Some(number));
        let began = own().map(|step| step.start).min()?;
        let mut parting = Parting { own: Places::default(), began, left: Places::default() };
        own().for_each(|step| parting.own.insert(place(step.number)));
        let repeated = own().filter_map(|step| self.step(step.repeats?));
        let mut last = repeated.clone().max_by_key(|step| step.number)?;
        let mut failed = repeated.clone().any(|step| step.has_failed());
        if repeated.clone().any(|step| step.last_known() > began) {
            return None;
        }
        repeated.for_each(|step| parting.left.insert(place(step.number)));
        while let Some(next) = self.continued(&last, &parting).filter(|_| !last.has_failed()) {
            if next.last_known() > began {
                return None;
            }
            failed |= next.has_failed();
            parting.left.insert(place(next.number));
            last = next;
        }
        let of_use = !failed && began > last.last_known() + RUN_SILENT;
        (!of_use && !self.goes_on(&last, &parting)).then_some(parting)
    }

    /// The step by which the worker that the run leaves behind went on after `last`, before the run
    /// began: of a server that it is known to ask, on a connection of its own or, to ask a model, on one
    /// that nobody had used before.
    fn continued(&self, last: &Step, parting: &Parting) -> Option<Step> {
        let known = |is: &dyn Fn(&Step) -> bool| {
            let of_run = |place: usize| parting.own.contains(place) || parting.left.contains(place);
            let steps = self.steps.iter().enumerate().filter(|(place, _)| of_run(*place));
            steps.filter_map(|(_, step)| step.as_ref()).any(is)
        };
        let is_fresh = |step: &Step| {
            let on_it = self.steps.iter().flatten().filter(|other| other.flow == step.flow);
            on_it.min_by_key(|other| other.number).is_some_and(|first| first.number == step.number)
        };
        let next = self.steps.iter().flatten().filter_map(|step| {
            let follows = step.number > last.number
                && step.start < parting.began
                && !parting.own.contains(place(step.number))
                && Link::of_step(last).leads_to(&Link::of_step(step), last.end())
                && known(&|other| other.server == step.server);
            let own_flow = known(&|other| other.flow == step.flow);
            let of_pool = step.tokens.is_some()
                && known(&|other| other.work.application == step.work.application)
                && is_fresh(step);
            (follows && (own_flow || of_pool)).then_some((!own_flow, step.number, *step))
        });
        next.min_by_key(|&(strange, number, _)| (strange, number)).map(|(.., step)| step)
    }

    /// Whether the worker of `last` went on beside the run, on a connection that it had used.
    fn goes_on(&self, last: &Step, parting: &Parting) -> bool {
        let left = |flow| {
            let steps = self.steps.iter().enumerate();
            let mut left = steps.filter(|(place, _)| parting.left.contains(*place));
            left.any(|(_, step)| step.is_some_and(|step| step.flow == flow))
        };
        self.steps.iter().flatten().any(|step| {
            step.start >= parting.began
                && !parting.own.contains(place(step.number))
                && Link::of_step(last).leads_to(&Link::of_step(step), last.end())
                && left(step.flow)
        })
    }
}

impl Step {
    fn end(&self) -> Option<Nanos> {
        match self.fate {
            Fate::Running => None,
            Fate::Answered(end) | Fate::Failed(end) => Some(end),
        }
    }
}
