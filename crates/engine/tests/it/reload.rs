//! A machine that goes on with an equal program. Other programs come from SQL, where that is tested.

use std::sync::Arc;

use keyhawk_engine::Machine;
use keyhawk_testkit::random::generator;
use rand::RngExt;

use crate::programs::{Row, batch, every_operator, lines, machine};
use crate::state::log;

type Log = [(i64, Vec<Row>, Vec<i64>)];

fn run(machine: &mut Machine, log: &Log) -> Vec<String> {
    let program = Arc::clone(machine.program());
    let steps = log.iter().map(|(offset, rows, watermarks)| {
        let step = machine.process(&batch(*offset, rows), watermarks).unwrap();
        lines(&program, &step)
    });
    steps.flatten().collect()
}

fn end(machine: &mut Machine) -> Vec<String> {
    let step = machine.finish().unwrap();
    lines(machine.program(), &step)
}

#[test]
fn a_reload_of_an_equal_program_is_not_seen() {
    for seed in 0..20 {
        let log = log(seed);
        let mut random = generator(seed + 500);
        let mut plain = machine(&every_operator());
        let mut reloaded = machine(&every_operator());
        for piece in log.chunks(1) {
            if random.random_bool(0.3) {
                reloaded.adopt(every_operator()).unwrap();
                assert_eq!(reloaded.warming().count(), 0);
            }
            assert_eq!(
                run(&mut reloaded, piece),
                run(&mut plain, piece),
                "seed {seed}"
            );
        }
        assert_eq!(end(&mut reloaded), end(&mut plain), "seed {seed}");
    }
}
