//! The body of a response as a script of steps: wait, send, cut. Streamed and plain answers are the
//! same thing here.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::{Sleep, sleep};

use crate::answer::{Event, Seed};
use crate::clock::{micros, now};
use crate::connection::Connection;
use crate::exchange::Exchange;
use crate::plan::{Cut, Fault};
use crate::slots::Slot;
use crate::truth::Note;

/// One step of a response body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing for a while. Whatever was sent before leaves as records of its own, since hyper
    /// flushes a body that has nothing to give.
    Wait(Duration),
    /// A silence that the plan asked for.
    Stall(Duration),
    /// Bytes, and the tokens in them.
    Send(Bytes, u32),
    /// The connection ends here.
    Cut(Cut),
}

/// The script of a streamed answer: every event its own write, the chunk terminator too.
pub(crate) fn script(
    events: &[Event],
    token_ms: [u64; 2],
    fault: Option<&Fault>,
    seed: &mut Seed,
) -> VecDeque<Step> {
    let mut steps = VecDeque::from([Step::Wait(FLUSH)]);
    let (mut sent, mut stalled) = (0, false);
    for event in events {
        match fault {
            Some(Fault::Cut { after_tokens, by }) if sent >= *after_tokens => {
                steps.extend([Step::Wait(BEFORE_CUT), Step::Cut(*by)]);
                return steps;
            }
            Some(Fault::Stall { after_tokens, ms }) if sent >= *after_tokens && !stalled => {
                stalled = true;
                steps.push_back(Step::Stall(Duration::from_millis(*ms)));
            }
            _ => {}
        }
        steps.push_back(Step::Send(Bytes::from(event.bytes.clone()), event.tokens));
        sent += event.tokens;
        steps.push_back(Step::Wait(pause(event.tokens, token_ms, seed)));
    }
    steps
}

/// The script of a plain answer; cut in the middle if the plan says so.
pub(crate) fn plain_script(body: &Bytes, tokens: u32, fault: Option<&Fault>) -> VecDeque<Step> {
    match fault {
        Some(Fault::Cut { by, .. }) => {
            let half = body.slice(..body.len() / 2);
            VecDeque::from([Step::Send(half, tokens / 2), Step::Wait(BEFORE_CUT), Step::Cut(*by)])
        }
        _ => VecDeque::from([Step::Send(body.clone(), tokens)]),
    }
}

/// Time an event's tokens take; events without tokens follow at once.
fn pause(tokens: u32, [low, high]: [u64; 2], seed: &mut Seed) -> Duration {
    let ms: u64 = (0..tokens).map(|_| seed.between(low, high)).sum();
    Duration::from_millis(ms).max(FLUSH)
}

/// A response body that plays its script and keeps the truth.
pub(crate) struct Reply {
    exchange: Exchange,
    steps: VecDeque<Step>,
    timer: Option<Pin<Box<Sleep>>>,
    length: Option<u64>,
    connection: Arc<Connection>,
    slot: Option<Slot>,
    free_on_disconnect: bool,
}

impl Reply {
    /// A body; `length` is that of the whole answer when the client is told it beforehand.
    pub(crate) fn new(
        exchange: Exchange,
        steps: VecDeque<Step>,
        length: Option<u64>,
        connection: Arc<Connection>,
    ) -> Self {
        let (timer, slot) = (None, None);
        Self { exchange, steps, timer, length, connection, slot, free_on_disconnect: true }
    }

    /// The slot this answer occupies until it ends.
    pub(crate) fn occupying(mut self, slot: Slot, free_on_disconnect: bool) -> Self {
        self.slot = Some(slot);
        self.free_on_disconnect = free_on_disconnect;
        self
    }

    /// Arms the timer of a wait.
    fn wait(&mut self, time: Duration) {
        self.timer = Some(Box::pin(sleep(time)));
    }

    /// The timer has run out, or there is none.
    fn is_due(&mut self, context: &mut Context<'_>) -> bool {
        let due = match &mut self.timer {
            Some(timer) => timer.as_mut().poll(context).is_ready(),
            None => true,
        };
        if due {
            self.timer = None;
        }
        due
    }

    /// Time the rest of the script takes.
    fn remaining(&self) -> Duration {
        self.steps.iter().map(Step::time).sum()
    }
}

impl Step {
    /// The client has not had everything while this is to come.
    fn is_owed(&self) -> bool {
        match self {
            Self::Send(..) | Self::Cut(_) => true,
            Self::Wait(_) | Self::Stall(_) => false,
        }
    }

    /// Time this step takes.
    fn time(&self) -> Duration {
        match self {
            Self::Wait(time) | Self::Stall(time) => *time,
            Self::Send(..) | Self::Cut(_) => Duration::ZERO,
        }
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = &mut *self;
        loop {
            if !this.is_due(context) {
                return Poll::Pending;
            }
            match this.steps.pop_front() {
                Some(Step::Wait(time)) => this.wait(time),
                Some(Step::Stall(time)) => {
                    let (stall_s, stall_t) = (time.as_secs_f64(), micros(now()));
                    this.exchange.record.note = Some(Note { stall_s, stall_t });
                    this.wait(time);
                }
                Some(Step::Send(bytes, tokens)) => {
                    this.exchange.sent(bytes.len(), tokens);
                    if this.length.is_some() && this.steps.is_empty() {
                        this.exchange.complete();
                    }
                    return Poll::Ready(Some(Ok(Frame::data(bytes))));
                }
                Some(Step::Cut(by)) => {
                    // It stays the next step: whoever polls again must not find the end of the
                    // body.
                    this.steps.push_front(Step::Cut(by));
                    this.exchange.broken(by);
                    this.connection.cut(by);
                    return Poll::Pending;
                }
                None => {
                    this.exchange.complete();
                    return Poll::Ready(None);
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.length.is_some() && self.steps.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl Drop for Reply {
    /// A client that leaves after the last event has its answer. One that leaves earlier frees its
    /// slot, or the server works on to the end for nobody.
    fn drop(&mut self) {
        if !self.steps.iter().any(Step::is_owed) {
            self.exchange.complete();
        }
        if self.exchange.is_over() || self.free_on_disconnect {
            return;
        }
        if let (Some(slot), Ok(runtime)) = (self.slot.take(), tokio::runtime::Handle::try_current())
        {
            let remaining = self.remaining();
            runtime.spawn(async move {
                sleep(remaining).await;
                drop(slot);
            });
        }
    }
}

/// The shortest pause that makes hyper flush: a tick of tokio's timer.
const FLUSH: Duration = Duration::from_millis(1);
/// A RST overtakes what the client has not read yet, so a cut waits until it must have read
/// everything.
const BEFORE_CUT: Duration = Duration::from_millis(40);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::truth::{Log, Record};

    fn events(count: usize) -> Vec<Event> {
        (0..count).map(|index| Event { bytes: format!("data: {index}\n\n"), tokens: 1 }).collect()
    }

    fn steps(fault: Option<&Fault>) -> VecDeque<Step> {
        script(&events(5), [2, 2], fault, &mut Seed::of_request(0, "", b""))
    }

    fn sends(steps: &VecDeque<Step>) -> usize {
        steps.iter().filter(|step| matches!(step, Step::Send(..))).count()
    }

    #[test]
    fn events_never_touch_so_each_becomes_a_record() {
        let steps = steps(None);
        let touching = steps
            .iter()
            .zip(steps.iter().skip(1))
            .any(|pair| matches!(pair, (Step::Send(..), Step::Send(..))));
        assert!(!touching);
        assert!(matches!(steps.front(), Some(Step::Wait(_))), "headers leave first");
        assert!(matches!(steps.back(), Some(Step::Wait(_))), "the terminator leaves alone");
    }

    #[test]
    fn a_cut_stream_ends_after_its_tokens() {
        let steps = steps(Some(&Fault::Cut { after_tokens: 3, by: Cut::Rst }));
        assert_eq!(sends(&steps), 3);
        assert_eq!(steps.back(), Some(&Step::Cut(Cut::Rst)));
    }

    #[test]
    fn a_stalled_stream_falls_silent_once_and_ends_whole() {
        let steps = steps(Some(&Fault::Stall { after_tokens: 2, ms: 900 }));
        let stalls = steps.iter().filter(|step| matches!(step, Step::Stall(_))).count();
        assert_eq!((sends(&steps), stalls), (5, 1));
    }

    #[test]
    fn a_cut_plain_answer_sends_half() {
        let fault = Fault::Cut { after_tokens: 0, by: Cut::Fin };
        let steps = plain_script(&Bytes::from_static(b"0123456789"), 8, Some(&fault));
        assert_eq!(steps.front(), Some(&Step::Send(Bytes::from_static(b"01234"), 4)));
    }

    /// Polls a body `polls` times, drops it, and returns what the polls gave and the truth that was
    /// written.
    fn play(name: &str, steps: Vec<Step>, polls: usize) -> (Vec<&'static str>, Record) {
        let (log, path) = Log::of_test(name);
        let exchange = Exchange::new(Record::default(), Arc::new(log));
        let connection = Arc::new(Connection::to_nowhere());
        let mut reply = Reply::new(exchange, steps.into(), None, connection);
        let mut context = Context::from_waker(std::task::Waker::noop());
        let seen = (0..polls)
            .map(|_| match Pin::new(&mut reply).poll_frame(&mut context) {
                Poll::Pending => "pending",
                Poll::Ready(Some(_)) => "frame",
                Poll::Ready(None) => "end",
            })
            .collect();
        drop(reply);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        (seen, serde_json::from_str(&text).unwrap())
    }

    fn event() -> Step {
        Step::Send(Bytes::from_static(b"data: 0\n\n"), 1)
    }

    #[test]
    fn a_cut_body_never_ends_however_often_it_is_polled() {
        let steps = vec![event(), Step::Cut(Cut::Fin)];
        let (seen, truth) = play("cut", steps, 4);
        assert_eq!(seen, ["frame", "pending", "pending", "pending"]);
        assert_eq!((truth.end.as_str(), truth.cls.as_str()), ("server_close", "server_reset"));
        assert_eq!(truth.wasted_tokens, 1);
    }

    #[test]
    fn a_body_dropped_with_events_to_come_is_a_client_abort() {
        let (_, truth) = play("abort", vec![event(), event()], 1);
        assert_eq!((truth.end.as_str(), truth.wasted_tokens), ("client_abort", 1));
    }

    #[test]
    fn a_body_dropped_after_its_last_event_is_complete() {
        let (_, truth) = play("last", vec![event(), Step::Wait(FLUSH)], 1);
        assert_eq!((truth.end.as_str(), truth.wasted_tokens), ("complete", 0));
    }

    #[test]
    fn a_whole_body_is_complete() {
        let (seen, truth) = play("whole", vec![event()], 2);
        assert_eq!(seen, ["frame", "end"]);
        assert_eq!((truth.end.as_str(), truth.tokens, truth.chunks), ("complete", 1, 1));
    }
}
