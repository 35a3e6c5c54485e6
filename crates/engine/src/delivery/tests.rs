//! Tests of delivery: each rule of the protocol by itself, then all of them under random faults.

mod rules;
mod simulation;
