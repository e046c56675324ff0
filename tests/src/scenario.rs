//! Scenarios as text: a line a step, in the manner of packetdrill. `tests/scenarios/README.md` is
//! the reference.

use std::net::SocketAddr;

use fastpath::burst::Direction;
use fastpath::time::Nanos;

use crate::connection::{Arrival, Connection};
use crate::frame::{ACK, FIN, RST, SYN};
use crate::tls;

/// The time that a scenario's zero stands for.
pub const START: Nanos = Nanos::from_secs(1_700_000_000);

const EXPECTED_LINE: &str = "expected `connection NAME CLIENT SERVER` or `TIME NAME ACTION`";

/// A scenario that was read.
#[derive(Debug, Default)]
pub struct Scenario {
    connections: Vec<(String, Connection)>,
    arrivals: Vec<Arrival>,
    /// Where `+N` counts from.
    now: Nanos,
}

/// A line that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScenarioError {
    /// Its number, from 1.
    pub line: usize,
    /// What was expected in place of what.
    pub text: String,
}

/// How the segments of one step arrive.
#[derive(Debug, Default)]
struct Delivery {
    /// In how many segments; none: as many as the MSS makes.
    split: Option<usize>,
    /// Numbers of the segments, from 1, in order of arrival.
    order: Vec<usize>,
    /// Each arrives twice.
    twice: bool,
    /// None arrives.
    lost: bool,
}

impl Scenario {
    /// Reads a scenario.
    ///
    /// # Errors
    /// Names the line, and what was expected.
    pub fn read(text: &str) -> Result<Self, ScenarioError> {
        let mut scenario = Self { now: START, ..Self::default() };
        for (line, text) in text.lines().enumerate() {
            let words: Vec<&str> =
                text.split('#').next().unwrap_or("").split_whitespace().collect();
            if !words.is_empty() {
                scenario.step(&words).map_err(|text| ScenarioError { line: line + 1, text })?;
            }
        }
        // Stable: frames of one time stay in the order in which they were written.
        scenario.arrivals.sort_by_key(|(at, ..)| *at);
        Ok(scenario)
    }

    /// Its frames, in order of arrival.
    #[must_use]
    pub fn arrivals(&self) -> Vec<Arrival> {
        self.arrivals.clone()
    }

    /// What the scenario calls the connection of this client.
    #[must_use]
    pub fn name(&self, client: &str, port: u16) -> &str {
        let is_it = |c: &Connection| c.client.ip().to_string() == client && c.client.port() == port;
        self.connections.iter().find(|(_, c)| is_it(c)).map_or("?", |(name, _)| name)
    }

    fn step(&mut self, words: &[&str]) -> Result<(), String> {
        match words {
            ["connection", name, client, server, rest @ ..] => {
                let mut connection = Connection::new(address(client)?, address(server)?, self.now);
                match rest {
                    [] => {}
                    ["vlan", vlan] => connection.vlan = Some(number(vlan)?),
                    ["mss", mss] => connection.mss = number(mss)?,
                    _ => {
                        return Err(format!(
                            "expected `vlan N` or `mss N`, got `{}`",
                            rest.join(" ")
                        ));
                    }
                }
                self.connections.push(((*name).to_owned(), connection));
                Ok(())
            }
            ["connection", ..] => Err(EXPECTED_LINE.to_owned()),
            [time, name, action @ ..] => {
                self.now = self.time(time)?;
                let known = self.connections.iter_mut().find(|(known, _)| known == name);
                let (_, connection) =
                    known.ok_or_else(|| format!("expected a connection's name, got `{name}`"))?;
                connection.at = self.now;
                act(connection, action)?;
                self.now = connection.at;
                self.arrivals.extend(connection.take());
                Ok(())
            }
            _ => Err(EXPECTED_LINE.to_owned()),
        }
    }

    fn time(&self, word: &str) -> Result<Nanos, String> {
        match word.strip_prefix('+') {
            Some(after) => Ok(self.now + Nanos::from_micros(micros(after)?)),
            None => Ok(START + Nanos::from_micros(micros(word)?)),
        }
    }
}

fn act(connection: &mut Connection, action: &[&str]) -> Result<(), String> {
    let (direction, what) = match action {
        ["open", sni] => {
            connection.open(sni);
            return Ok(());
        }
        ["open", sni, "h2"] => {
            connection.open_offering(sni, &["h2", "http/1.1"]);
            return Ok(());
        }
        ["connect"] => {
            connection.connect();
            return Ok(());
        }
        [">", what @ ..] => (Direction::ToServer, what),
        ["<", what @ ..] => (Direction::ToClient, what),
        _ => {
            return Err(format!(
                "expected `open SNI`, `connect`, `>` or `<`, got `{}`",
                action.join(" ")
            ));
        }
    };
    let (what, delivery) = Delivery::read(what)?;
    let bytes = match what {
        ["hello", sni] => tls::client_hello(sni, &["http/1.1"], 0),
        ["hello", sni, "padding", padding] => {
            tls::client_hello(sni, &["http/1.1"], number(padding)?)
        }
        ["hello"] => [tls::server_hello(), tls::change_cipher_spec(), tls::data(2_800, 2)].concat(),
        ["finished"] => [tls::change_cipher_spec(), tls::data(36, 1)].concat(),
        ["tickets"] => [tls::data(238, 2), tls::data(238, 2)].concat(),
        ["close_notify"] => tls::data(2, 3),
        ["data", lengths @ ..] if !lengths.is_empty() => {
            let lengths: Vec<usize> =
                lengths.iter().map(|word| number(word)).collect::<Result<_, _>>()?;
            lengths.into_iter().flat_map(|length| tls::data(length, 0x55)).collect()
        }
        ["plain", length] => vec![b'x'; number(length)?],
        ["stream", count, length, "every", gap] => {
            let (count, length, gap) = (number::<u32>(count)?, number(length)?, micros(gap)?);
            for n in 0..count {
                if n > 0 {
                    connection.wait(Nanos::from_micros(gap));
                }
                connection.data(direction, &[length]);
            }
            return Ok(());
        }
        ["keep_alive"] => {
            connection.keep_alive(direction);
            return Ok(());
        }
        [letters] => {
            connection.flags(direction, flags(letters)?);
            return Ok(());
        }
        _ => return Err(format!("expected what is sent, got `{}`", what.join(" "))),
    };
    delivery.deliver(connection, direction, &bytes)
}

impl Delivery {
    /// Takes the delivery off the end of a step.
    fn read<'a>(words: &'a [&'a str]) -> Result<(&'a [&'a str], Self), String> {
        let mut delivery = Self::default();
        let mut rest = words;
        loop {
            match rest {
                [before @ .., "twice"] => (rest, delivery.twice) = (before, true),
                [before @ .., "lost"] => (rest, delivery.lost) = (before, true),
                [before @ .., "split", count] => {
                    (rest, delivery.split) = (before, Some(number(count)?));
                }
                [before @ .., "order", order] => {
                    delivery.order = order.split(',').map(number).collect::<Result<_, _>>()?;
                    rest = before;
                }
                _ => return Ok((rest, delivery)),
            }
        }
    }

    fn deliver(
        &self,
        connection: &mut Connection,
        direction: Direction,
        bytes: &[u8],
    ) -> Result<(), String> {
        let size = self.split.map_or(connection.mss, |count| bytes.len().div_ceil(count.max(1)));
        let frames = connection.segments(direction, bytes, size);
        let all: Vec<usize> = (1..=frames.len()).collect();
        let order = if self.order.is_empty() { &all } else { &self.order };
        for &place in order.iter().filter(|_| !self.lost) {
            let frame = place.checked_sub(1).and_then(|index| frames.get(index));
            let frame =
                frame.ok_or_else(|| format!("expected 1 to {}, got {place}", frames.len()))?;
            for _ in 0..=u8::from(self.twice) {
                connection.arrive(direction, frame.clone());
            }
        }
        Ok(())
    }
}

fn flags(letters: &str) -> Result<u8, String> {
    let flag = |letter| match letter {
        'F' => Ok(FIN),
        'S' => Ok(SYN),
        'R' => Ok(RST),
        'A' => Ok(ACK),
        _ => Err(format!("expected flags of S, A, F and R, got `{letters}`")),
    };
    letters.chars().try_fold(0, |flags, letter| Ok(flags | flag(letter)?))
}

fn address(word: &str) -> Result<SocketAddr, String> {
    word.parse().map_err(|_| format!("expected ADDRESS:PORT, got `{word}`"))
}

fn number<N: std::str::FromStr>(word: &str) -> Result<N, String> {
    word.parse().map_err(|_| format!("expected a number, got `{word}`"))
}

/// Milliseconds with up to three decimals, in microseconds.
fn micros(word: &str) -> Result<u64, String> {
    let (whole, part) = word.split_once('.').unwrap_or((word, ""));
    if part.len() > 3 {
        return Err(format!("expected milliseconds with three decimals at most, got `{word}`"));
    }
    number::<u64>(&format!("{whole}{part:0<3}"))
}

impl std::fmt::Display for ScenarioError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "line {}: {}", self.line, self.text)
    }
}

impl std::error::Error for ScenarioError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_follow_one_another_in_time() {
        let text = "connection a 192.0.2.1:1000 192.0.2.2:443\n10 a > S\n+0.5 a < SA # answer\n";
        let scenario = Scenario::read(text).unwrap();
        let times: Vec<u64> =
            scenario.arrivals().iter().map(|(at, ..)| at.since(START).0 / 1000).collect();
        assert_eq!(times, [10_000, 10_500]);
        assert_eq!(scenario.name("192.0.2.1", 1000), "a");
    }

    #[test]
    fn segments_arrive_in_the_order_given() {
        let text = "connection a 192.0.2.1:1000 192.0.2.2:443\n0 a > data 100 split 3 order 2,1\n";
        let arrivals = Scenario::read(text).unwrap().arrivals();
        let lengths: Vec<usize> = arrivals.iter().map(|(.., frame)| frame.len() - 54).collect();
        assert_eq!(lengths, [41, 41], "122 bytes in three: the last one, of 40, is left out");
        assert!(arrivals[0].2[38..42] > arrivals[1].2[38..42], "the second comes first");
    }

    #[test]
    fn a_step_that_cannot_be_read_is_named_by_its_line() {
        let read = |text: &str| Scenario::read(text).unwrap_err().to_string();
        assert_eq!(read("\n5 a > S"), "line 2: expected a connection's name, got `a`");
        assert!(read("connection a 1.2.3.4:5").contains("connection NAME CLIENT SERVER"));
        let known = "connection a 192.0.2.1:1 192.0.2.2:443\n";
        assert!(read(&format!("{known}0 a > XY")).contains("line 2: expected flags"));
        assert!(read(&format!("{known}0 a > data x")).contains("expected a number"));
    }
}
