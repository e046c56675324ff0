//! What is said of exchanges over QUIC: that there was one, and whether it was answered.
//!
//! Sizes of datagrams tell a response from none. They do not tell an error from an answer, nor who
//! left: a reset and a close look like acknowledgments. Acknowledgments ride along with requests,
//! so lengths do not repeat and no links are drawn; tokens are fitted to records and there are none.

use super::account::Account;
use crate::burst::Protocol;
use crate::exchange::h1::Facts;
use crate::telemetry::event::{Outcome, Peers};
use crate::telemetry::grounds::OutcomeRule;

/// Whether exchanges between these are of datagrams.
#[must_use]
pub fn is_between(peers: &Peers) -> bool {
    peers.protocol == Protocol::Udp
}

/// What is told of an exchange.
#[must_use]
pub(super) fn account(facts: &Facts) -> Account {
    let (outcome, rule) = judge(facts);
    super::account(facts, outcome, rule)
}

/// How an exchange ended, as far as that is seen: it was answered, or nobody knows.
fn judge(facts: &Facts) -> (Outcome, OutcomeRule) {
    match facts.seen.down_records {
        0 => (Outcome::Open, OutcomeRule::NoResponse),
        _ => (Outcome::Complete, OutcomeRule::NothingAgainst),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::tests::{Shape, facts};

    #[test]
    fn an_answer_is_complete_whatever_its_shape_and_no_answer_is_open() {
        let by = |shape| judge(&facts(shape)).0;
        assert_eq!(by(Shape { down: &[(100, 200)], ..Shape::default() }), Outcome::Complete);
        assert_eq!(by(Shape::default()), Outcome::Open);
    }
}
