//! Sums of made-up exchanges.

use proptest::prelude::*;

pub(crate) use super::tally::tests::exchange;
use super::*;
use crate::telemetry::event::{Amendment, ExchangeId};
use crate::time::Nanos;

#[test]
fn known_endpoints_and_other_servers_are_booked_apart() {
    let mut ledger = Ledger::default();
    ledger.add(&exchange(0.0, 1.0));
    let other = ExchangeLine {
        endpoint: None,
        sni: Some("www.example.com".to_owned()),
        ..exchange(0.0, 1.0)
    };
    ledger.add(&other);
    ledger.add(&ExchangeLine { sni: None, ..other });
    let view = ledger.view();
    assert_eq!(view.endpoints.totals.exchanges, 1);
    let names: Vec<_> = view.others.servers.iter().map(|row| row.name.as_str()).collect();
    assert_eq!(names, ["192.0.2.1", "www.example.com"]);
}

#[test]
fn a_full_book_counts_on_in_the_account_of_the_others() {
    let mut book = Book::default();
    for n in 0..CLIENTS_MAX + 10 {
        book.add(&ExchangeLine { client: format!("client-{n}"), ..exchange(0.0, 1.0) });
    }
    let rows = book.client_rows();
    assert_eq!(rows.len(), CLIENTS_MAX + 1);
    let others = rows.iter().find(|row| row.name == OTHERS).map(|row| row.tally.exchanges);
    assert_eq!(others, Some(10));
    assert_eq!(rows.iter().map(|row| row.tally.exchanges).sum::<u64>(), book.totals().exchanges);
}

#[test]
fn the_most_wasteful_comes_first() {
    let mut book = Book::default();
    for _ in 0..3 {
        book.add(&ExchangeLine { client: "busy".to_owned(), ..exchange(0.0, 1.0) });
    }
    let waste = Some(Waste::Retry);
    book.add(&ExchangeLine { client: "wasteful".to_owned(), waste, ..exchange(0.0, 1.0) });
    assert_eq!(book.client_rows()[0].name, "wasteful");
}

#[test]
fn quantiles_of_the_first_byte_are_within_two_figures() {
    let mut book = Book::default();
    for n in 1..=100 {
        let first_byte = Some(f64::from(n) / 100.0);
        book.add(&ExchangeLine { first_byte, ..exchange(0.0, 1.0) });
    }
    let row = &book.server_rows()[0];
    let near = |value: Option<f64>, wanted: f64| {
        value.is_some_and(|value| (value - wanted).abs() <= wanted * 0.01)
    };
    assert!(near(row.first_byte_p50_ms, 500.0), "{:?}", row.first_byte_p50_ms);
    assert!(near(row.first_byte_p99_ms, 990.0), "{:?}", row.first_byte_p99_ms);
}

#[test]
fn no_response_has_no_first_byte_time() {
    let mut book = Book::default();
    book.add(&ExchangeLine { first_byte: None, ..exchange(0.0, 1.0) });
    assert_eq!(book.server_rows()[0].first_byte_p50_ms, None);
}

#[test]
fn a_view_survives_the_socket() {
    let mut ledger = Ledger::default();
    ledger.add(&exchange(0.0, 1.0));
    let text = serde_json::to_string(&ledger.view()).unwrap();
    assert_eq!(serde_json::from_str::<LedgerView>(&text).unwrap(), ledger.view());
}

#[test]
fn tenants_have_accounts_and_what_has_no_tenant_is_unnamed() {
    let mut book = Book::default();
    book.add(&exchange(0.0, 1.0));
    let (tenant, waste) = (Some("research".to_owned()), Some(Waste::Retry));
    book.add(&ExchangeLine { tenant, waste, ..exchange(0.0, 1.0) });
    for n in 0..TENANTS_MAX {
        book.add(&ExchangeLine { tenant: Some(format!("t{n}")), ..exchange(0.0, 1.0) });
    }
    let rows = book.tenant_rows();
    assert_eq!(rows[0].name, "research");
    assert_eq!(rows.len(), TENANTS_MAX + 1);
    let count =
        |name: &str| rows.iter().find(|row| row.name == name).map(|row| row.tally.exchanges);
    assert_eq!((count(UNNAMED), count(OTHERS)), (Some(1), Some(2)));
}

#[test]
fn what_is_waste_already_is_not_booked_again() {
    let mut ledger = Ledger::default();
    let partial = ExchangeLine { waste: Some(Waste::Partial), ..exchange(0.0, 1.0) };
    ledger.add(&partial);
    let before = ledger.view();
    ledger.amend(&partial, Waste::Thrash);
    assert_eq!(ledger.view(), before);
}

/// Whole figures: the sums are exact, in whatever order they are made.
fn any_exchange() -> impl Strategy<Value = ExchangeLine> {
    let (who, tokens) = ((0..3_u8, 0..3_u8, 0..3_u8), 0..1000_u16);
    let waste = prop_oneof![3 => Just(None), 1 => Just(Some(Waste::Retry))];
    (who, tokens, 1..60_u8, waste).prop_map(|((client, server, tenant), tokens, took, waste)| {
        let likely = f64::from(tokens);
        ExchangeLine {
            client: format!("client-{client}"),
            endpoint: (server > 0).then(|| format!("endpoint-{server}")),
            tenant: (tenant > 0).then(|| format!("tenant-{tenant}")),
            tokens_estimate: (tokens > 9).then_some([likely - 5.0, likely, likely + 5.0]),
            cost_usd: None,
            waste,
            ..exchange(0.0, took.into())
        }
    })
}

proptest! {
    #[test]
    fn the_ledger_is_the_sum_of_the_lines_as_they_are_amended(
        mut lines in proptest::collection::vec(any_exchange(), 1..40),
        amended in proptest::collection::vec((0..40_usize, 0..7_usize), 0..40),
    ) {
        let mut ledger = Ledger::default();
        lines.iter().for_each(|line| ledger.add(line));
        for (which, waste) in amended {
            let Some(line) = lines.get_mut(which) else { continue };
            let waste = Waste::ALL[waste];
            ledger.amend(line, waste);
            line.amend(&Amendment { at: Nanos::ZERO, exchange: ExchangeId(1), waste });
        }
        let mut sum = Ledger::default();
        lines.iter().for_each(|line| sum.add(line));
        prop_assert_eq!(ledger.view(), sum.view());
        let view = ledger.view();
        for book in [&view.endpoints, &view.others] {
            let by_class = book.totals.waste_by_class.values();
            let exchanges: u64 = by_class.clone().map(|class| class.exchanges).sum();
            prop_assert_eq!(exchanges, book.totals.waste.exchanges);
            let tokens: f64 = by_class.map(|class| class.tokens.0[1]).sum();
            prop_assert_eq!(tokens, book.totals.waste.tokens.0[1]);
            let of_tenants: u64 = book.tenants.iter().map(|row| row.tally.waste.exchanges).sum();
            prop_assert_eq!(of_tenants, book.totals.waste.exchanges);
        }
    }
}
