//! Runs, and what they abandon, from made-up steps.

use super::*;
use crate::detect::cascade::tests::subject;
use crate::telemetry::event::Phase;

/// A client whose steps take 200 ms and begin 300 ms after one another.
#[derive(Default)]
struct Client {
    steps: Steps,
    asked: u64,
    /// Milliseconds that passed beside the steps.
    paused: u64,
    told: Vec<(SignalKind, Phase)>,
    abandoned: Vec<u64>,
}

/// Requests of at least this length are to a model.
const MODEL_FROM: u64 = 1000;

fn work(length: u64, application: u64) -> Work {
    let whole = 1000 * application + length;
    Work {
        whole,
        body: None,
        family: [2000 + length / 8, 9000 + (length + 4) / 8].map(|f| f + 100_000 * application),
        application,
    }
}

impl Client {
    fn start(&mut self, at: Nanos, length: u64, flow: u32, application: u64) -> ExchangeId {
        self.asked += 1;
        let (flow, work) = (FlowId(flow), work(length, application));
        let subject = subject(self.asked);
        let start = Start { at, flow, work, retry_of: None, subject };
        let change = self.steps.started(&start, |_, _| None);
        self.told.extend(change.map(|(kind, change)| (kind, change.phase)));
        self.steps.take_abandoned(|id| self.abandoned.push(id.0));
        subject.exchange
    }

    fn end(&mut self, id: ExchangeId, at: Nanos, length: u64, outcome: Outcome) -> bool {
        let tokens = (length >= MODEL_FROM).then_some(10.0);
        self.steps.ended(id, at, outcome, tokens, false)
    }

    fn ask_on(&mut self, flow: u32, application: u64, length: u64, outcome: Outcome) {
        let at = Nanos::from_millis(100_300 + 300 * self.asked + self.paused);
        let id = self.start(at, length, flow, application);
        let abandoned = self.end(id, at + Nanos::from_millis(200), length, outcome);
        assert!(!abandoned, "every answer ends before the next step begins");
    }

    fn ask(&mut self, length: u64, outcome: Outcome) {
        self.ask_on(0, 1, length, outcome);
    }

    fn ask_all(&mut self, lengths: &[u64]) {
        lengths.iter().for_each(|&length| self.ask(length, Outcome::Complete));
    }
}

const NOTHING: [u64; 0] = [];
const BEGINS: (SignalKind, Phase) = (SignalKind::WorkflowRestart, Phase::Begins);

#[test]
fn a_workflow_that_begins_again_abandons_what_it_had_been_told() {
    let mut client = Client::default();
    client.ask_all(&[3000, 500, 4000]);
    client.ask(600, Outcome::Failed);
    client.ask_all(&[3000, 500, 4000, 600, 5000]);
    assert_eq!(client.told, [BEGINS]);
    let (kind, end) = client.steps.tick(Nanos::from_secs(200)).unwrap();
    assert_eq!((kind, end.phase, end.value), (SignalKind::WorkflowRestart, Phase::Ends, 2.0));
    assert_eq!((end.track.exchanges, end.track.in_vain, end.track.tokens), (4, 3, 20.0));
    assert_eq!(client.abandoned, [1, 2, 3], "each once, and not what had failed");
}

#[test]
fn a_run_whose_first_request_was_changed_abandons_the_answer_to_the_first_as_well() {
    let mut client = Client::default();
    client.ask_all(&[3000, 500, 4000]);
    client.paused += 1000;
    client.ask_all(&[3146, 500, 4000]);
    assert_eq!(client.abandoned, [1, 2, 3]);
}

#[test]
fn each_run_abandons_the_one_before() {
    let mut client = Client::default();
    for _ in 0..3 {
        client.ask_all(&[3000, 500]);
        client.paused += 1000;
    }
    assert_eq!(client.abandoned, [1, 2, 3, 4]);
}

#[test]
fn an_answer_that_ends_after_the_run_is_proven_is_abandoned_at_its_end() {
    let mut client = Client::default();
    client.ask_all(&[3000, 500]);
    let at = |ms: u64| Nanos::from_millis(101_000 + ms);
    let late = client.start(at(0), 4000, 0, 1);
    let first = client.start(at(900), 3000, 0, 1);
    client.end(first, at(1000), 3000, Outcome::Complete);
    let answered_late = |_, id| (id == late).then_some(at(600));
    let start = Start {
        at: at(1100),
        flow: FlowId(0),
        work: work(500, 1),
        retry_of: None,
        subject: subject(99),
    };
    client.steps.started(&start, answered_late);
    client.steps.take_abandoned(|id| client.abandoned.push(id.0));
    assert_eq!(client.abandoned, [1, 2]);
    assert!(client.end(late, at(600), 4000, Outcome::Complete));
}

#[test]
fn two_workers_that_do_the_same_side_by_side_abandon_nothing() {
    let mut client = Client::default();
    let lengths = [3000, 500, 4000, 600, 5000, 700];
    let at = |step: u64, worker: u64| Nanos::from_millis(100_000 + 300 * step + 450 * worker);
    let mut starts: Vec<_> =
        (0..6).flat_map(|step| [0, 1].map(|worker| (at(step, worker), step, worker))).collect();
    starts.sort_unstable();
    let mut running: Vec<(ExchangeId, Nanos, u64)> = Vec::new();
    for (at, step, worker) in starts {
        let over = running.partition_point(|&(_, end, _)| end <= at);
        for (id, end, length) in running.drain(..over).collect::<Vec<_>>() {
            client.end(id, end, length, Outcome::Complete);
        }
        let length = lengths[usize::try_from(step).unwrap()];
        let id = client.start(at, length, u32::try_from(worker).unwrap(), 1);
        running.push((id, at + Nanos::from_millis(200), length));
    }
    assert_eq!(client.abandoned, NOTHING);
}

#[test]
fn a_job_that_runs_again_much_later_abandons_nothing_unless_it_had_failed() {
    let again = |outcome| {
        let mut client = Client::default();
        client.ask_all(&[3000, 500]);
        client.ask(4000, outcome);
        client.paused += 20_000;
        client.ask_all(&[3000, 500, 4000]);
        client.abandoned
    };
    assert_eq!(again(Outcome::Complete), NOTHING);
    assert_eq!(again(Outcome::Failed), [1, 2]);
}

#[test]
fn tools_that_are_asked_the_same_in_each_round_of_an_agent_abandon_nothing() {
    let mut client = Client::default();
    for n in 0..5 {
        client.ask_all(&[3000 + 700 * n, 400, 500]);
    }
    assert_eq!(client.abandoned, NOTHING);
}

#[test]
fn a_model_and_its_tools_may_be_asked_by_two_applications_of_one_worker() {
    let run = |tool_flows: [u32; 2], model_flows: [u32; 2]| {
        let mut client = Client::default();
        for (tool, model) in tool_flows.into_iter().zip(model_flows) {
            client.ask_on(model, 1, 3000, Outcome::Complete);
            client.ask_on(tool, 2, 500, Outcome::Failed);
            client.paused += 1000;
        }
        client.abandoned
    };
    assert_eq!(run([7, 7], [0, 1]), [1], "the tools are asked on one connection");
    assert_eq!(run([7, 8], [0, 1]), NOTHING, "two processes that have nothing in common");
}

#[test]
fn the_same_length_once_more_is_no_run_yet() {
    let mut client = Client::default();
    client.ask_all(&[3000, 500, 4000, 500, 700]);
    assert_eq!(client.told, []);
    assert_eq!(client.abandoned, NOTHING);
}

#[test]
fn a_batch_of_nearly_one_length_never_is_one() {
    let mut client = Client::default();
    for _ in 0..30 {
        client.ask_all(&[3001, 3000, 3003]);
    }
    assert_eq!(client.told, []);
    assert_eq!(client.abandoned, NOTHING);
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
    client.steps.tick(Nanos::from_secs(150));
    assert_eq!(client.steps.steps.iter().flatten().count(), 3);
    client.steps.tick(Nanos::from_secs(165));
    assert_eq!(client.steps.steps.iter().flatten().count(), 0);
}

#[test]
fn what_was_asked_a_minute_ago_is_asked_anew() {
    let mut client = Client::default();
    client.ask_all(&[3000, 500]);
    client.paused += 75_000;
    client.ask_all(&[3000, 500]);
    assert_eq!(client.told, []);
}
