//! The fuzz corpus and seeded mutations of it: no panic, and JSON is JSON as `serde_json` says.

use std::fs;
use std::path::PathBuf;

use keyhawk_events::DeadReason;

use crate::{Random, Setup, record};

fn corpus() -> Vec<Vec<u8>> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../testdata/decode-corpus");
    let mut paths: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

fn setup() -> Setup {
    let mut setup = Setup::default().extra(
        "[[column]]\nname=\"plan\"\npointer=\"/account/plan\"\ntype=\"text\"\n\
         [[column]]\nname=\"score\"\npointer=\"/scores/1\"\ntype=\"decimal\"\n",
    );
    setup.settings.dead_letter_payload = true;
    setup
}

/// One change somewhere: a bit, a byte, a piece cut out, doubled, or taken from another file.
fn mutate(random: &mut Random, corpus: &[Vec<u8>], bytes: &mut Vec<u8>) {
    const SIGNS: &[u8] = b"{}[]\",:\\0-9.eE+tfnu \xc3\xff\x00%?/@";
    let place = random.below(bytes.len() + 1);
    let end = (place + random.below(20)).min(bytes.len());
    match random.below(6) {
        0 if place < bytes.len() => bytes[place] ^= 1 << random.below(8),
        1 if place < bytes.len() => bytes[place] = SIGNS[random.below(SIGNS.len())],
        2 => bytes.insert(place, SIGNS[random.below(SIGNS.len())]),
        3 => drop(bytes.drain(place..end)),
        4 => {
            let piece = bytes[place..end].to_vec();
            bytes.splice(place..place, piece);
        }
        _ => {
            let other = &corpus[random.below(corpus.len())];
            let from = random.below(other.len() + 1);
            let piece = other[from..(from + 30).min(other.len())].to_vec();
            bytes.splice(place..end, piece);
        }
    }
}

#[test]
fn corpus_and_its_mutations_are_decoded_without_panic() {
    let corpus = corpus();
    assert!(corpus.len() >= 15);
    let seed = 20_000;
    let mut random = Random(seed);
    let mut decoder = setup().decoder();
    let (mut events, mut dead) = (0, 0);
    let mutations = 20_000;
    for round in 0..corpus.len() + mutations {
        let mut bytes = corpus[round % corpus.len()].clone();
        if round >= corpus.len() {
            for _ in 0..=random.below(4) {
                mutate(&mut random, &corpus, &mut bytes);
            }
        }
        decoder.push(record(&bytes, round as i64));
        if round % 50 == 0 || round + 1 == corpus.len() + mutations {
            let decoded = decoder.finish();
            events += decoded.counts.events + decoded.counts.late;
            dead += decoded.counts.dead;
        }
    }
    assert_eq!(events + dead, (corpus.len() + mutations) as u64);
    assert!(
        events > 1000 && dead > 1000,
        "{events} events, {dead} dead letters"
    );
    eprintln!("{events} events, {dead} dead letters");
}

#[test]
fn json_is_what_serde_json_takes_for_json() {
    let corpus = corpus();
    let seed = 4;
    let mut random = Random(seed);
    let setup = setup();
    for round in 0..5_000 {
        let mut bytes = corpus[round % corpus.len()].clone();
        for _ in 0..random.below(4) {
            mutate(&mut random, &corpus, &mut bytes);
        }
        let decoded = setup.decode(&[&bytes]);
        let reason = decoded.dead.first().map(|letter| letter.reason);
        let ours = !matches!(reason, Some(DeadReason::NotJson | DeadReason::NotUtf8));
        let theirs = std::str::from_utf8(&bytes)
            .is_ok_and(|text| serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok());
        if reason != Some(DeadReason::TooDeep) {
            assert_eq!(
                ours,
                theirs,
                "seed {seed}: {}",
                String::from_utf8_lossy(&bytes)
            );
        }
    }
}
