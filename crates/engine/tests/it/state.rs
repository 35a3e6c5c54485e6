//! Snapshots and restores: complete, harmless, incremental, and damaged.

use keyhawk_engine::{Error, Machine, StateRow};
use keyhawk_testkit::random::generator;
use rand::RngExt;

use crate::programs::{MINUTE, Row, Saved, batch, every_operator, lines, machine};

const KEYS: [&str; 5] = ["a", "b", "key-with-a-longer-name", "", "é"];
const COUNTRIES: [&str; 3] = ["DE", "FR", "a country longer than twelve bytes"];
const BOUND: i64 = 15_000;

/// Batches of random rows: the first offset, the rows, their watermarks.
pub fn log(seed: u64) -> Vec<(i64, Vec<Row>, Vec<i64>)> {
    let mut random = generator(seed);
    let mut now = 1_000 * MINUTE;
    let mut greatest = now;
    let mut offset = 0;
    (0..30)
        .map(|_| {
            let first = offset;
            let rows: Vec<Row> = (0..random.random_range(1..12))
                .map(|_| {
                    now += random.random_range(0..15_000);
                    let time = (now - random.random_range(0..BOUND)).max(greatest - BOUND);
                    greatest = greatest.max(time);
                    offset += 1;
                    (
                        (random.random_range(0..6) > 0)
                            .then(|| KEYS[random.random_range(0..KEYS.len())]),
                        Some(time),
                        (random.random_range(0..4) > 0)
                            .then(|| COUNTRIES[random.random_range(0..3)]),
                        (random.random_range(0..4) > 0).then(|| random.random_range(-9..100)),
                    )
                })
                .collect();
            let watermarks = rows
                .iter()
                .scan(i64::MIN, |high, row| {
                    *high = (*high).max(row.1.unwrap());
                    Some(*high)
                })
                .collect::<Vec<_>>();
            (first, rows, watermarks)
        })
        .scan(
            i64::MIN,
            |high, (first, rows, watermarks): (i64, Vec<Row>, Vec<i64>)| {
                let before = *high;
                let watermarks: Vec<i64> = watermarks
                    .into_iter()
                    .map(|mark| mark.max(before) - BOUND)
                    .collect();
                *high = watermarks.last().unwrap() + BOUND;
                Some((first, rows, watermarks))
            },
        )
        .collect()
}

fn run(machine: &mut Machine, log: &[(i64, Vec<Row>, Vec<i64>)]) -> Vec<String> {
    let program = std::sync::Arc::clone(machine.program());
    let mut all = Vec::new();
    for (offset, rows, watermarks) in log {
        let step = machine.process(&batch(*offset, rows), watermarks).unwrap();
        all.extend(lines(&program, &step));
    }
    all
}

#[test]
fn a_restored_machine_goes_on_as_the_one_whose_state_it_took() {
    let program = every_operator();
    for seed in 0..20 {
        let log = log(seed);
        let mut random = generator(seed + 1000);
        let cut = random.random_range(0..=log.len());
        let mut first = machine(&program);
        run(&mut first, &log[..cut]);
        let mut saved = Saved::default();
        saved.take(first.snapshot().unwrap());
        // In another order the keys get other numbers.
        let mut rows = saved.rows();
        for node in &mut rows {
            for at in (1..node.len()).rev() {
                node.swap(at, random.random_range(0..=at));
            }
        }
        let mut second = machine(&program);
        second.restore(&rows, first.watermark()).unwrap();
        assert_eq!(
            second.next_deadline(),
            first.next_deadline(),
            "seed {seed}, cut at {cut}"
        );
        assert_eq!(
            run(&mut second, &log[cut..]),
            run(&mut first, &log[cut..]),
            "seed {seed}, cut at {cut}"
        );
        let ends = (second.finish().unwrap(), first.finish().unwrap());
        assert_eq!(
            lines(&program, &ends.0),
            lines(&program, &ends.1),
            "seed {seed}, cut at {cut}"
        );
    }
}

#[test]
fn a_snapshot_changes_nothing() {
    let program = every_operator();
    for seed in 0..10 {
        let log = log(seed);
        let mut plain = machine(&program);
        let mut watched = machine(&program);
        for piece in log.chunks(1) {
            assert_eq!(
                run(&mut watched, piece),
                run(&mut plain, piece),
                "seed {seed}"
            );
            watched.snapshot().unwrap();
        }
        let ends = (watched.finish().unwrap(), plain.finish().unwrap());
        assert_eq!(
            lines(&program, &ends.0),
            lines(&program, &ends.1),
            "seed {seed}"
        );
    }
}

#[test]
fn snapshots_add_up_to_one_that_was_never_taken_before() {
    let program = every_operator();
    let mut deleted = 0;
    for seed in 0..10 {
        let log = log(seed);
        let mut random = generator(seed);
        let mut machine_of_many = machine(&program);
        let mut sum = Saved::default();
        for (done, piece) in log.chunks(1).enumerate() {
            run(&mut machine_of_many, piece);
            if random.random_bool(0.4) {
                let changes = machine_of_many.snapshot().unwrap();
                deleted += changes
                    .iter()
                    .flatten()
                    .filter(|row| row.state.is_none())
                    .count();
                sum.take(changes);
                assert!(
                    machine_of_many
                        .snapshot()
                        .unwrap()
                        .iter()
                        .all(Vec::is_empty),
                    "nothing changed since"
                );
                let mut machine_of_one = machine(&program);
                run(&mut machine_of_one, &log[..=done]);
                let mut one = Saved::default();
                one.take(machine_of_one.snapshot().unwrap());
                assert_eq!(sum, one, "seed {seed} after {done} batches");
            }
        }
        machine_of_many.finish().unwrap();
        sum.take(machine_of_many.snapshot().unwrap());
        // Once no row can come any more, nothing is kept for one.
        let left = sum.nodes.iter().filter(|node| !node.is_empty()).count();
        assert_eq!(left, 0, "seed {seed}: {sum:?}");
    }
    assert!(deleted > 100, "{deleted}");
}

#[test]
fn a_state_restored_twice_is_there_once() {
    let program = every_operator();
    let log = log(3);
    let mut first = machine(&program);
    run(&mut first, &log[..15]);
    let rows = first.snapshot().unwrap();
    // Rows that wait for their order are the log's own, and no key of theirs can come twice.
    let without_order: Vec<Vec<StateRow>> = rows
        .iter()
        .enumerate()
        .map(|(node, rows)| match program.nodes()[node].kind {
            keyhawk_engine::program::NodeKind::Order { .. } => Vec::new(),
            _ => rows.clone(),
        })
        .collect();
    let mut second = machine(&program);
    second.restore(&without_order, first.watermark()).unwrap();
    second.restore(&rows, first.watermark()).unwrap();
    assert_eq!(run(&mut second, &log[15..]), run(&mut first, &log[15..]));
}

#[test]
fn damaged_state_is_an_error_and_never_a_panic() {
    let program = every_operator();
    let log = log(7);
    let mut whole = machine(&program);
    run(&mut whole, &log[..20]);
    let rows = whole.snapshot().unwrap();
    let mut random = generator(7);
    let mut tried = 0;
    for node in 0..rows.len() {
        for row in 0..rows[node].len() {
            for kind in 0..6 {
                let mut damaged = rows.clone();
                let victim = &mut damaged[node][row];
                let state = victim.state.as_mut().unwrap();
                match kind {
                    0 => {
                        let at = random.random_range(0..state.len());
                        state[at] ^= 1 << random.random_range(0..8);
                    }
                    1 => state.truncate(random.random_range(0..state.len())),
                    2 => state.push(0),
                    3 => state.clear(),
                    4 => victim.key.push(7),
                    _ if victim.key.is_empty() => continue,
                    _ => {
                        let at = random.random_range(0..victim.key.len());
                        victim.key[at] ^= 1 << random.random_range(0..8);
                    }
                }
                let error = machine(&program).restore(&damaged, 0).unwrap_err();
                assert!(matches!(error, Error::State { .. }), "{error}");
                assert!(
                    error.to_string().contains("saved state cannot be read"),
                    "{error}"
                );
                tried += 1;
            }
        }
    }
    assert!(tried > 50, "{tried}");
}

#[test]
fn the_state_of_another_program_is_an_error() {
    let program = every_operator();
    let error = machine(&program).restore(&[Vec::new()], 0).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("state of 1 nodes for a program of"),
        "{error}"
    );
}
