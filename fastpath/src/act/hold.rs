//! Holding: what a client sends waits here, in order, until it is released, its time is over, a
//! bound is reached or the client leaves.
//!
//! Only frames with new payload are kept. A bare acknowledgment passes, and so does a repeat of what
//! was sent before the hold; a repeat of what is kept is freed, for its original will be sent. So a
//! server sees the same bytes in the same order, later. When a hold ends in the middle of a burst,
//! what the flow has sent in that burst still joins it, so that nothing overtakes.
//!
//! Pacing is a hold of its own kind: a frame that comes before its time waits, and each leaves when the
//! rate allows it. What finds a full queue is freed, as any shaper does: forwarding it would end the
//! pacing of whoever sends most. A flow is held or paced, not both.
//!
//! A client that closes or resets while it is held has left: what is kept is freed, and the server,
//! which waits for a request that will never come, gets an RST with the sequence number it expects.

use std::collections::{HashMap, VecDeque};

use foldhash::fast::RandomState;

use super::queue::{Queue, Queues};
use super::rate::Rate;
use super::reset::Expected;
use super::wheel::{TimerId, Wheel};
use crate::burst::{
    BURST_FRAMES, Burst, Direction, Fate, FlowId, Frame, Frames, Headers, Protocol,
};
use crate::decide::order::{HoldEnd, HoldEnded};
use crate::flow::tcp::distance;
use crate::policy::rules;
use crate::telemetry::reasons::DropReason;
use crate::time::Nanos;

/// Bounds of holding (I3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HoldBounds {
    /// Flows that are held at once.
    pub flows: u32,
    /// Frames that are kept at once.
    pub frames: u32,
    /// Frames that are kept of one flow.
    pub flow_frames: u16,
    /// Bytes of frames that are kept of one flow.
    pub flow_bytes: u32,
}

impl Default for HoldBounds {
    /// Of a flow as much as an initial window of ten segments carries (RFC 6928).
    fn default() -> Self {
        Self { flows: 4096, frames: FRAMES / 2, flow_frames: 32, flow_bytes: 15 * 1024 }
    }
}

/// Frames there are where a port has no bound for them: those of memory.
const FRAMES: u32 = 65_536;

impl HoldBounds {
    /// Room where a port has so many frames for this lcore: half of them. What is held is missing
    /// where frames arrive.
    #[must_use]
    pub fn of(frames: Option<u32>) -> Self {
        Self { frames: frames.map_or(FRAMES, |frames| frames.min(FRAMES)) / 2, ..Self::default() }
    }

    /// These with what the policy says, as far as there is room for it.
    #[must_use]
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of u32")]
    pub fn with(self, rule: &rules::HoldBounds) -> Self {
        let share = (2.0 * f64::from(self.frames) * rule.pool_percent / 100.0) as u32;
        Self { frames: share.min(self.frames), flow_bytes: rule.max_bytes, ..self }
    }
}

/// Flows that are held, with their frames.
#[derive(Debug)]
pub(super) struct Holds<F> {
    bounds: HoldBounds,
    /// What there is room for.
    room: HoldBounds,
    by_flow: HashMap<FlowId, u32, RandomState>,
    holds: Vec<Hold>,
    free: Vec<u32>,
    queues: Queues<F>,
    timers: Wheel,
    /// Holds that are over, whose frames leave with this burst or as soon as there is room.
    leaving: VecDeque<u32>,
    /// Paced flows whose next frame is due.
    due: Vec<u32>,
    /// Begun in this burst.
    begun: Vec<u32>,
    /// What has ended since the last look.
    pub(super) ended: Vec<HoldEnded>,
}

#[derive(Clone, Copy, Debug)]
struct Hold {
    flow: FlowId,
    /// Index in its first burst from which on its frames are kept; 0 in later bursts.
    from: u16,
    /// Sequence numbers of what is kept, once there is anything: the first, and the one behind.
    kept: Option<(u32, u32)>,
    queue: Queue,
    bytes: u32,
    /// `None` while nothing of a paced flow waits.
    timer: Option<TimerId>,
    /// What it is when its time is over.
    then: HoldEnd,
    end: Option<HoldEnd>,
    /// The flow is paced, not held.
    pace: Option<Rate>,
}

/// A client that has left while it was held, by the frame that shows it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Left {
    /// Index of the frame in the burst.
    pub(super) frame: u16,
    /// What its server expects.
    pub(super) server: Expected,
}

/// No place among the holds.
const NOWHERE: u32 = u32::MAX;

/// Where a frame of a held flow goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Pass,
    Keep,
    Repeat,
    Leave,
}

impl<F: Frame> Holds<F> {
    pub(super) fn new(bounds: HoldBounds) -> Self {
        let flows = bounds.flows as usize;
        Self {
            bounds,
            room: bounds,
            by_flow: HashMap::with_capacity_and_hasher(flows, RandomState::default()),
            holds: Vec::with_capacity(flows),
            free: Vec::with_capacity(flows),
            queues: Queues::with_capacity(bounds.frames as usize + BURST_FRAMES),
            timers: Wheel::with_capacity(flows),
            leaving: VecDeque::with_capacity(flows),
            due: Vec::with_capacity(flows),
            begun: Vec::with_capacity(BURST_FRAMES),
            ended: Vec::with_capacity(flows),
        }
    }

    pub(super) fn bound(&mut self, rule: &rules::HoldBounds) {
        self.bounds = self.room.with(rule);
    }

    /// Whether nothing is held.
    pub(super) fn is_empty(&self) -> bool {
        self.by_flow.is_empty()
    }

    /// Flows that are held.
    pub(super) fn flows(&self) -> usize {
        self.by_flow.len()
    }

    /// Frames that are kept.
    pub(super) fn frames(&self) -> usize {
        self.queues.len()
    }

    /// Begins to hold a flow; false when as many are held as may be: then it is over at once.
    pub(super) fn begin(&mut self, flow: FlowId, from: u16, until: Nanos, now: Nanos) -> bool {
        let Some(place) = self.occupy(flow, from, None) else {
            self.ended.push(HoldEnded { flow, end: HoldEnd::Full, at: now });
            return false;
        };
        let timer = self.timers.start(now, until, place);
        self.holds[place as usize].timer = timer;
        if timer.is_none() {
            // It would have no end.
            self.end(place, HoldEnd::Full, now);
        }
        timer.is_some()
    }

    /// Sets the rate of a flow, zero to end it; false when the flow is held, or as many are as may be.
    pub(super) fn pace(&mut self, flow: FlowId, bytes_per_sec: u64, now: Nanos) -> bool {
        let rate = Some(Rate::new(bytes_per_sec));
        match self.by_flow.get(&flow).copied() {
            None => bytes_per_sec == 0 || self.occupy(flow, 0, rate).is_some(),
            Some(place) if self.holds[place as usize].pace.is_none() => false,
            Some(place) if bytes_per_sec == 0 => {
                self.end(place, HoldEnd::Released, now);
                true
            }
            Some(place) => {
                self.holds[place as usize].pace = rate;
                true
            }
        }
    }

    /// A place for a flow that has none, if there is room.
    fn occupy(&mut self, flow: FlowId, from: u16, pace: Option<Rate>) -> Option<u32> {
        let full = self.holds.len() - self.free.len() >= self.bounds.flows as usize;
        if full || self.by_flow.contains_key(&flow) {
            return None;
        }
        let hold = Hold {
            flow,
            from,
            kept: None,
            queue: Queue::EMPTY,
            bytes: 0,
            timer: None,
            then: HoldEnd::Expired,
            end: None,
            pace,
        };
        let place = self.free.pop().map_or(self.holds.len(), |place| place as usize);
        match self.holds.get_mut(place) {
            Some(free) => *free = hold,
            None => self.holds.push(hold),
        }
        let place = u32::try_from(place).ok()?;
        self.by_flow.insert(flow, place);
        self.begun.push(place);
        Some(place)
    }

    /// Ends a hold at `at`.
    pub(super) fn release(&mut self, flow: FlowId, at: Nanos, now: Nanos) {
        let Some(&place) = self.by_flow.get(&flow) else { return };
        let hold = &mut self.holds[place as usize];
        if hold.end.is_some() {
            return;
        }
        if at <= now {
            self.end(place, HoldEnd::Released, now);
            return;
        }
        hold.then = HoldEnd::Released;
        if let Some(timer) = hold.timer.take() {
            self.timers.stop(timer);
        }
        hold.timer = self.timers.start(now, at, place);
    }

    /// Ends a hold whose flow is no more; its slot is another flow's.
    pub(super) fn forget(&mut self, flow: FlowId, now: Nanos) {
        if let Some(&place) = self.by_flow.get(&flow) {
            if self.holds[place as usize].end.is_none() {
                self.end(place, HoldEnd::Expired, now);
            }
            self.by_flow.remove(&flow);
        }
    }

    /// Ends every hold.
    pub(super) fn release_all(&mut self, now: Nanos) {
        for place in 0..u32::try_from(self.holds.len()).unwrap_or(u32::MAX) {
            let Hold { flow, end, .. } = self.holds[place as usize];
            if end.is_none() && self.by_flow.get(&flow) == Some(&place) {
                self.end(place, HoldEnd::Released, now);
            }
        }
    }

    /// Ends the holds whose time is over, and finds the paced flows whose next frame is due.
    pub(super) fn expire(&mut self, now: Nanos) {
        let Self { timers, holds, leaving, ended, due, .. } = self;
        timers.advance(now, |place| {
            let hold = &mut holds[place as usize];
            hold.timer = None;
            if hold.pace.is_some() {
                due.push(place);
                return;
            }
            hold.end = Some(hold.then);
            leaving.push_back(place);
            ended.push(HoldEnded { flow: hold.flow, end: hold.then, at: now });
        });
    }

    /// Keeps the frames of held flows and frees repeats. Tells of the clients that have left.
    pub(super) fn keep(&mut self, burst: &mut Burst<F>, mut left: impl FnMut(&mut Burst<F>, Left)) {
        let mut kept: Frames = 0;
        let mut places = [NOWHERE; BURST_FRAMES];
        for (i, place_of) in places.iter_mut().enumerate().take(burst.len()) {
            let Some((flow, Direction::ToServer)) = burst.packets.flow[i] else { continue };
            let Some(&place) = self.by_flow.get(&flow) else { continue };
            let Some(headers) = burst.packets.headers[i] else { continue };
            if burst.packets.fate[i] != Fate::Forward {
                continue;
            }
            let hold = &mut self.holds[place as usize];
            if i < usize::from(hold.from) {
                continue;
            }
            match hold.way(&headers, burst.packets.fresh_bytes[i], burst.packets.now) {
                Way::Pass => hold.passed(&headers, burst.packets.wire_bytes[i], burst.packets.now),
                Way::Repeat => burst.packets.fate[i] = Fate::Drop(DropReason::HoldRepeated),
                Way::Leave => {
                    if let Some(server) = hold.expected(&headers) {
                        burst.packets.fate[i] = Fate::Drop(DropReason::HoldLeft);
                        let frame = u16::try_from(i).unwrap_or(u16::MAX);
                        left(burst, Left { frame, server });
                    }
                    self.end(place, HoldEnd::Left, burst.packets.now);
                }
                Way::Keep => {
                    let frames = self.queues.len() + kept.count_ones() as usize;
                    if hold.pace.is_some() && hold.is_full(&self.bounds, frames) {
                        // Nobody would send an RST again.
                        if !headers.tcp.flags.rst() {
                            burst.packets.fate[i] = Fate::Drop(DropReason::PaceFull);
                        }
                        continue;
                    }
                    kept |= 1 << i;
                    *place_of = place;
                    hold.take_in(&headers, burst.packets.wire_bytes[i]);
                    if hold.pace.is_none() && hold.is_full(&self.bounds, frames + 1) {
                        self.end(place, HoldEnd::Full, burst.packets.now);
                    }
                }
            }
        }
        let Self { queues, holds, .. } = self;
        burst.take(kept, |i, frame, port| {
            queues.push(&mut holds[places[i] as usize].queue, frame, port);
        });
        for place in self.begun.drain(..) {
            self.holds[place as usize].from = 0;
        }
        for &place in places.iter().filter(|&&place| place != NOWHERE) {
            self.await_turn(place, burst.packets.now);
        }
    }

    /// Starts the timer of a paced flow with a frame that waits.
    fn await_turn(&mut self, place: u32, now: Nanos) {
        let hold = &mut self.holds[place as usize];
        if let Some(rate) = hold.pace
            && hold.timer.is_none()
            && hold.end.is_none()
            && hold.queue.len() > 0
        {
            hold.timer = self.timers.start(now, rate.next(), place);
        }
    }

    /// Sends the frames of paced flows that are due.
    pub(super) fn send_due(&mut self, burst: &mut Burst<F>) {
        let now = burst.packets.now;
        while let Some(place) = self.due.pop() {
            let hold = &mut self.holds[place as usize];
            let Some(rate) = hold.pace.as_mut().filter(|_| hold.end.is_none()) else { continue };
            while burst.added_room() > 0 && rate.conforms(now, Nanos::ZERO) {
                let Some((frame, port)) = self.queues.pop(&mut hold.queue) else { break };
                let bytes = u32::try_from(frame.bytes().len()).unwrap_or(u32::MAX);
                // From when it was due: a timer that was late does not slow the flow down.
                rate.take(rate.next(), bytes);
                hold.bytes = hold.bytes.saturating_sub(bytes);
                burst.add(frame, port, Fate::Forward);
            }
            self.await_turn(place, now);
        }
    }

    /// Lets the frames of ended holds leave with the burst, as many as have room: all of a hold or
    /// none.
    pub(super) fn flush(&mut self, burst: &mut Burst<F>) {
        while let Some(&place) = self.leaving.front() {
            let hold = &mut self.holds[place as usize];
            if hold.queue.len() > burst.added_room() {
                return;
            }
            let fate = match hold.end {
                Some(HoldEnd::Left) => Fate::Drop(DropReason::HoldLeft),
                _ => Fate::Forward,
            };
            self.queues.drain(&mut hold.queue, |frame, port| burst.add(frame, port, fate));
            if self.by_flow.get(&hold.flow) == Some(&place) {
                self.by_flow.remove(&hold.flow);
            }
            self.free.push(place);
            self.leaving.pop_front();
        }
    }

    fn end(&mut self, place: u32, end: HoldEnd, now: Nanos) {
        let hold = &mut self.holds[place as usize];
        hold.end = Some(end);
        if let Some(timer) = hold.timer.take() {
            self.timers.stop(timer);
        }
        self.leaving.push_back(place);
        self.ended.push(HoldEnded { flow: hold.flow, end, at: now });
    }
}

impl Hold {
    fn way(&self, headers: &Headers, fresh_bytes: u32, now: Nanos) -> Way {
        let Headers { tcp, payload_wire_bytes: bytes, .. } = headers;
        if headers.protocol != Protocol::Tcp || headers.is_part() || tcp.flags.syn() {
            return Way::Pass;
        }
        let closes = tcp.flags.fin() || tcp.flags.rst();
        if self.end.is_some() {
            return if closes || *bytes > 0 { Way::Keep } else { Way::Pass };
        }
        if let Some(rate) = self.pace {
            let its_turn = self.queue.len() == 0 && rate.conforms(now, Nanos::ZERO);
            let ordinary = *bytes > 0 || closes;
            return if ordinary && !its_turn { Way::Keep } else { Way::Pass };
        }
        if closes {
            return Way::Leave;
        }
        let end = tcp.seq.wrapping_add(*bytes);
        match self.kept {
            _ if *bytes == 0 => Way::Pass,
            None => Way::Keep,
            Some((first, _)) if distance(first, end) <= 0 => Way::Pass,
            Some((_, behind)) if fresh_bytes == 0 && distance(behind, end) <= 0 => Way::Repeat,
            Some(_) => Way::Keep,
        }
    }

    /// A frame of the flow has gone its way.
    fn passed(&mut self, headers: &Headers, wire_bytes: u32, now: Nanos) {
        if let Some(rate) = &mut self.pace
            && headers.payload_wire_bytes > 0
        {
            rate.take(now, wire_bytes);
        }
    }

    fn take_in(&mut self, headers: &Headers, wire_bytes: u32) {
        let seq = headers.tcp.seq;
        let end = seq.wrapping_add(headers.payload_wire_bytes);
        let (first, behind) = self.kept.unwrap_or((seq, end));
        let first = if distance(first, seq) < 0 { seq } else { first };
        self.kept = Some((first, if distance(behind, end) > 0 { end } else { behind }));
        self.bytes = self.bytes.saturating_add(wire_bytes);
    }

    /// Whether as much is kept of a flow that is held as may be; `frames` are kept of all flows.
    fn is_full(&self, bounds: &HoldBounds, frames: usize) -> bool {
        let flow_frames = self.queue.len() + 1 >= usize::from(bounds.flow_frames);
        let full =
            flow_frames || self.bytes >= bounds.flow_bytes || frames >= bounds.frames as usize;
        self.end.is_none() && full
    }

    /// What the server expects, as seen from a frame of the client that will not reach it.
    fn expected(&self, headers: &Headers) -> Option<Expected> {
        let (seq, _) = self.kept?;
        Some(Expected { toward: Direction::ToServer, seq, ack: headers.tcp.ack })
    }
}
