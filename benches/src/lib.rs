//! Benches: events a second on one core, and their ratio to a bare decode
