//! Tests.
use super::*;
#[test]
fn tmp() {
    let hex = std::fs::read_to_string("/tmp/t-quic/t051.hex").unwrap();
    for line in hex.lines() {
        let bytes: Vec<u8> = (0..line.len() / 2)
            .map(|i| u8::from_str_radix(&line[2 * i..2 * i + 2], 16).unwrap())
            .collect();
        let p = Packet::first(&bytes).unwrap();
        let Kind::Initial(v) = p.kind else { panic!() };
        let k = Keys::client(v, p.destination).unwrap();
        let mut s = Vec::with_capacity(65536);
        let o = k.open(&p, &mut s);
        println!(
            "{:02x?}",
            o.map(|o| {
                let i = o.iter().position(|&b| b != 0).unwrap_or(0);
                (i, o.len(), o[i..].iter().take(600).copied().collect::<Vec<u8>>())
            })
        );
    }
}
