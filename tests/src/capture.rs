//! Captures of any length, made by repetition while they are read: nothing of them is held but one
//! lap.

use std::io::{self, Read};

use fastpath::time::Nanos;

use crate::connection::Arrival;

/// Nanoseconds, little-endian, version 2.4, frames of up to 256 KiB, Ethernet.
const FILE_HEADER: [u32; 6] = [0xa1b2_3c4d, 0x0004_0002, 0, 0, 262_144, 1];

/// A classic pcap of the same frames again and again, time going on from lap to lap.
#[derive(Debug)]
pub struct Laps {
    frames: Vec<Arrival>,
    every: Nanos,
    laps: u64,
    lap: u64,
    /// The next frame of the lap.
    next: usize,
    /// What was made and not read yet.
    made: Vec<u8>,
    read: usize,
}

impl Laps {
    /// `laps` times `frames`, which are in order of time; one lap begins `pause` after the end of the
    /// one before.
    #[must_use]
    pub fn new(frames: Vec<Arrival>, laps: u64, pause: Nanos) -> Self {
        let time = |frame: Option<&Arrival>| frame.map_or(Nanos::ZERO, |(at, ..)| *at);
        let every = time(frames.last()).since(time(frames.first())) + pause;
        let made = FILE_HEADER.iter().flat_map(|word| word.to_le_bytes()).collect();
        Self { frames, every, laps, lap: 0, next: 0, made, read: 0 }
    }

    /// From the beginning of a lap to that of the next.
    #[must_use]
    pub fn every(&self) -> Nanos {
        self.every
    }

    /// Makes the next record; nothing after the last lap.
    fn make(&mut self) {
        (self.read, self.made) = (0, Vec::new());
        if self.next == self.frames.len() {
            (self.lap, self.next) = (self.lap + 1, 0);
        }
        let Some((at, _, frame)) = self.frames.get(self.next).filter(|_| self.lap < self.laps)
        else {
            return;
        };
        self.next += 1;
        let at = at.0 + self.every.0 * self.lap;
        let length = frame.len() as u64;
        for field in [at / 1_000_000_000, at % 1_000_000_000, length, length] {
            let field = u32::try_from(field).expect("until 2106, and no frame is that long");
            self.made.extend_from_slice(&field.to_le_bytes());
        }
        self.made.extend_from_slice(frame);
    }
}

impl Read for Laps {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.read == self.made.len() {
            self.make();
        }
        let left = &self.made[self.read..];
        let length = left.len().min(buffer.len());
        buffer[..length].copy_from_slice(&left[..length]);
        self.read += length;
        Ok(length)
    }
}
