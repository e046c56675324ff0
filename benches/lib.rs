//! Traffic for the benches: TLS connections made in memory, the same for every run.
