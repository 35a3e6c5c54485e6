//! A test for each rule of the protocol, named by it; and the formats of commit metadata and stubs.

use super::super::*;

const E1: Epoch = Epoch(1);
const E2: Epoch = Epoch(2);

fn p(partition: i32) -> TopicPartition {
    TopicPartition {
        topic: "access".into(),
        partition,
    }
}

fn output(id: u8) -> Output {
    Output {
        id: [id; 16],
        topic: OutputTopic::Alerts,
        key: Some(vec![b'k', id]),
        payload: vec![id; 3],
    }
}

/// A machine, and everything that it asked for.
struct Bench {
    delivery: Delivery,
}

impl Bench {
    fn new() -> Self {
        Self::with(Config::default())
    }

    fn with(config: Config) -> Self {
        let mut bench = Self {
            delivery: Delivery::new(config),
        };
        assert_eq!(bench.tick(0), []);
        bench
    }

    /// With partition 0 assigned under epoch 1.
    fn assigned() -> Self {
        let mut bench = Self::new();
        assert_eq!(bench.assign(0, E1), []);
        bench
    }

    fn handle(&mut self, event: Event) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.delivery.handle(event, &mut effects);
        effects
    }

    fn assign(&mut self, partition: i32, epoch: Epoch) -> Vec<Effect> {
        self.handle(Event::Assigned {
            partition: p(partition),
            epoch,
            resume: None,
        })
    }

    fn revoke(&mut self, partition: i32, epoch: Epoch) -> Vec<Effect> {
        self.handle(Event::Revoked {
            partition: p(partition),
            epoch,
        })
    }

    fn lose(&mut self, partition: i32, epoch: Epoch) -> Vec<Effect> {
        self.handle(Event::Lost {
            partition: p(partition),
            epoch,
        })
    }

    fn batch(&mut self, partition: i32, epoch: Epoch, next_offset: i64, ids: &[u8]) -> Vec<Effect> {
        let outputs = ids.iter().map(|id| output(*id)).collect();
        self.handle(Event::Batch {
            partition: p(partition),
            epoch,
            next_offset,
            outputs,
        })
    }

    /// A batch of partition 0, epoch 1; the tokens of its outputs.
    fn emit(&mut self, next_offset: i64, ids: &[u8]) -> Vec<Token> {
        tokens(&self.batch(0, E1, next_offset, ids))
    }

    fn ack(&mut self, token: Token) -> Vec<Effect> {
        self.handle(Event::Acknowledged { token })
    }

    fn refuse(&mut self, token: Token) -> Vec<Effect> {
        self.handle(Event::Refused {
            token,
            reason: "message too large".into(),
            stub: None,
        })
    }

    fn tick(&mut self, now_ms: i64) -> Vec<Effect> {
        self.handle(Event::Tick { now_ms })
    }

    fn answer(
        &mut self,
        partition: i32,
        epoch: Epoch,
        next_offset: i64,
        result: CommitResult,
    ) -> Vec<Effect> {
        self.handle(Event::Committed {
            partition: p(partition),
            epoch,
            next_offset,
            result,
        })
    }

    fn done(&mut self, next_offset: i64) -> Vec<Effect> {
        self.answer(0, E1, next_offset, CommitResult::Done)
    }

    fn fail(&mut self, next_offset: i64) -> Vec<Effect> {
        self.answer(0, E1, next_offset, CommitResult::Failed)
    }

    fn stop(&mut self) -> Vec<Effect> {
        self.handle(Event::Stop)
    }
}

fn tokens(effects: &[Effect]) -> Vec<Token> {
    let token = |effect: &Effect| match effect {
        Effect::Produce { token, .. } => Some(*token),
        _ => None,
    };
    effects.iter().filter_map(token).collect()
}

fn commits(effects: &[Effect]) -> Vec<i64> {
    let offset = |effect: &Effect| match effect {
        Effect::Commit { next_offset, .. } => Some(*next_offset),
        _ => None,
    };
    effects.iter().filter_map(offset).collect()
}

fn metadata(effects: &[Effect]) -> CommitMetadata {
    let text = |effect: &Effect| match effect {
        Effect::Commit { metadata, .. } => Some(CommitMetadata::parse(metadata).unwrap()),
        _ => None,
    };
    effects.iter().find_map(text).unwrap()
}

fn release(partition: i32, epoch: Epoch) -> Effect {
    Effect::ReleaseRevoked {
        partition: p(partition),
        epoch,
    }
}

fn digest(ids: &[u8]) -> IdDigest {
    let mut digest = IdDigest::default();
    ids.iter().for_each(|id| digest.add(&[*id; 16]));
    digest
}

#[test]
fn r1_outputs_are_produced_in_order_under_tokens_of_their_own() {
    let mut bench = Bench::assigned();
    bench.assign(1, E1);
    let mut all = bench.batch(0, E1, 10, &[1, 2]);
    all.extend(bench.batch(1, E1, 7, &[3]));
    all.extend(bench.batch(0, E1, 20, &[4]));
    let ids: Vec<u8> = all
        .iter()
        .map(|effect| match effect {
            Effect::Produce {
                id,
                topic: OutputTopic::Alerts,
                key: Some(key),
                payload,
                ..
            } => {
                assert_eq!(
                    (&key[..], &payload[..]),
                    (&[b'k', id[0]][..], &[id[0]; 3][..])
                );
                id[0]
            }
            other => unreachable!("{other:?}"),
        })
        .collect();
    assert_eq!(ids, [1, 2, 3, 4]);
    let mut tokens = tokens(&all);
    tokens.dedup();
    assert_eq!(tokens.len(), 4);
    assert_eq!(bench.delivery.status(&p(0)).unwrap().seq, 3);
}

#[test]
fn r1_numbering_goes_on_from_the_number_of_the_last_commit() {
    let mut bench = Bench::new();
    let resume = Some(CommitMetadata {
        base_seq: 5,
        seq: 40,
        digest: digest(&[9]),
    });
    bench.handle(Event::Assigned {
        partition: p(0),
        epoch: E1,
        resume,
    });
    let tokens = bench.emit(10, &[1, 2]);
    tokens
        .iter()
        .for_each(|token| assert_eq!(bench.ack(*token), []));
    let expected = CommitMetadata {
        base_seq: 40,
        seq: 42,
        digest: digest(&[1, 2]),
    };
    assert_eq!(metadata(&bench.tick(100)), expected);
}

#[test]
fn r2_commit_waits_for_every_output_below_it() {
    let mut bench = Bench::assigned();
    let first = bench.emit(10, &[1, 2]);
    let second = bench.emit(20, &[3]);
    bench.ack(second[0]);
    bench.ack(first[1]);
    assert_eq!(
        bench.tick(100),
        [],
        "output 1, of the rows before 10, is open"
    );
    bench.ack(first[0]);
    assert_eq!(commits(&bench.tick(200)), [20]);
}

#[test]
fn r2_commit_stops_below_the_first_open_output() {
    let mut bench = Bench::assigned();
    let first = bench.emit(10, &[1]);
    bench.emit(20, &[2]);
    let third = bench.emit(30, &[3]);
    bench.ack(first[0]);
    bench.ack(third[0]);
    assert_eq!(commits(&bench.tick(100)), [10]);
}

#[test]
fn r3_commits_leave_on_ticks_one_at_a_time_and_an_interval_apart() {
    let mut bench = Bench::assigned();
    let token = bench.emit(10, &[1])[0];
    assert_eq!(
        bench.ack(token),
        [],
        "an acknowledgement alone commits nothing"
    );
    assert_eq!(commits(&bench.tick(1_000)), [10]);
    bench.emit(20, &[]);
    assert_eq!(bench.tick(2_000), [], "the first commit is not answered");
    assert_eq!(bench.done(10), []);
    assert_eq!(
        commits(&bench.tick(2_001)),
        [20],
        "long enough since the first"
    );
    bench.done(20);
    bench.emit(30, &[]);
    assert_eq!(bench.tick(2_100), [], "99 ms since the second");
    assert_eq!(commits(&bench.tick(2_101)), [30]);
}

#[test]
fn r4_newest_position_is_committed_and_only_once() {
    let mut bench = Bench::assigned();
    bench.emit(10, &[]);
    bench.emit(20, &[]);
    assert_eq!(commits(&bench.tick(100)), [20]);
    bench.done(20);
    assert_eq!(bench.tick(10_000), []);
    assert_eq!(
        bench.delivery.status(&p(0)).unwrap().committed_offset,
        Some(20)
    );
}

#[test]
fn r4_outputs_of_time_alone_are_committed_at_the_same_offset() {
    let mut bench = Bench::assigned();
    bench.emit(10, &[]);
    bench.tick(100);
    bench.done(10);
    let token = bench.emit(10, &[1])[0];
    bench.ack(token);
    let effects = bench.tick(200);
    assert_eq!((commits(&effects), metadata(&effects).seq), (vec![10], 1));
}

#[test]
fn r5_batch_without_outputs_moves_the_position() {
    let mut bench = Bench::assigned();
    let token = bench.emit(10, &[1])[0];
    bench.emit(20, &[]);
    assert_eq!(bench.tick(100), [], "but not past an open output");
    bench.ack(token);
    assert_eq!(commits(&bench.tick(200)), [20]);
}

#[test]
fn r6_metadata_carries_number_and_digest_of_the_outputs_below_the_offset() {
    let mut bench = Bench::assigned();
    let tokens = bench.emit(10, &[1, 2]);
    bench.emit(20, &[3]);
    tokens
        .iter()
        .for_each(|token| assert_eq!(bench.ack(*token), []));
    let expected = CommitMetadata {
        base_seq: 0,
        seq: 2,
        digest: digest(&[2, 1]),
    };
    assert_eq!(metadata(&bench.tick(100)), expected);
}

#[test]
fn r6_longest_metadata_is_short_and_parses_again() {
    let metadata = CommitMetadata {
        base_seq: u64::MAX,
        seq: u64::MAX,
        digest: digest(&[1]),
    };
    let text = metadata.to_string();
    assert!(text.len() < 128, "{text}");
    assert_eq!(CommitMetadata::parse(&text), Ok(metadata));
}

#[test]
fn r6_metadata_text_is_golden() {
    let metadata = CommitMetadata {
        base_seq: 1200,
        seq: 1234,
        digest: digest(&[0]),
    };
    let expected = "keyhawk/1 base=1200 seq=1234 digest=374708fff7719dd5979ec875d56cd228";
    assert_eq!(
        metadata.to_string(),
        expected,
        "sha256 of sixteen zero bytes"
    );
    assert_eq!(CommitMetadata::parse(expected), Ok(metadata));
}

#[test]
fn r6_digest_counts_every_id_and_forgets_their_order() {
    assert_eq!(digest(&[1, 2, 3]), digest(&[3, 1, 2]));
    assert_ne!(digest(&[1, 1]), digest(&[]), "a repeat does not cancel out");
    assert_ne!(digest(&[1, 2]), digest(&[1, 3]));
}

#[test]
fn r6_text_that_is_not_ours_is_refused_by_cause() {
    let digits = "0".repeat(32);
    let long = format!(
        "keyhawk/1 base=0 seq=0 digest={digits}{}",
        " ".repeat(METADATA_BYTES_MAX)
    );
    let cases = [
        (String::new(), MetadataError::Foreign),
        ("{\"lag\":3}".into(), MetadataError::Foreign),
        ("keyhawk/ base=0".into(), MetadataError::Foreign),
        ("keyhawk/+1 base=0".into(), MetadataError::Foreign),
        (
            "keyhawk/2 anything".into(),
            MetadataError::Version { found: 2 },
        ),
        ("keyhawk/1".into(), MetadataError::Field { name: "base" }),
        (
            "keyhawk/1 base=x seq=1".into(),
            MetadataError::Field { name: "base" },
        ),
        (
            "keyhawk/1 seq=1 base=0".into(),
            MetadataError::Field { name: "base" },
        ),
        (
            "keyhawk/1 base=0 seq=-1".into(),
            MetadataError::Field { name: "seq" },
        ),
        (
            "keyhawk/1 base=0 seq=+1".into(),
            MetadataError::Field { name: "seq" },
        ),
        (
            "keyhawk/1 base=0 seq=99999999999999999999".into(),
            MetadataError::Field { name: "seq" },
        ),
        (
            "keyhawk/1 base=0 seq=1 digest=00".into(),
            MetadataError::Field { name: "digest" },
        ),
        (
            format!("keyhawk/1 base=0 seq=1 digest=+{}", &digits[1..]),
            MetadataError::Field { name: "digest" },
        ),
        (
            format!("keyhawk/1 base=0 seq=1 digest={}é", &digits[2..]),
            MetadataError::Field { name: "digest" },
        ),
        (
            format!("keyhawk/1 base=0 seq=1 digest={digits} ticks=3"),
            MetadataError::Trailing,
        ),
        (
            format!("keyhawk/1 base=2 seq=1 digest={digits}"),
            MetadataError::Order {
                base_seq: 2,
                seq: 1,
            },
        ),
        (long.clone(), MetadataError::TooLong { bytes: long.len() }),
    ];
    for (text, expected) in cases {
        assert_eq!(CommitMetadata::parse(&text), Err(expected), "{text:?}");
        assert!(
            expected
                .to_string()
                .starts_with("metadata of a committed offset: "),
            "{expected}"
        );
    }
}

#[test]
fn r7_refused_output_is_replaced_by_a_stub_for_which_the_commit_waits() {
    let mut bench = Bench::assigned();
    let token = bench.emit(10, &[0xab])[0];
    let effects = bench.refuse(token);
    let (stub, alarm) = match &effects[..] {
        [
            Effect::Produce {
                token,
                id,
                topic,
                key,
                payload,
            },
            Effect::Alarm(alarm),
        ] => {
            assert_eq!((*id, *topic), ([0xab; 16], OutputTopic::Alerts));
            assert_eq!(key.as_deref(), Some(&[b'k', 0xab][..]));
            let expected = format!(
                r#"{{"schema":"keyhawk.stub/1","id":"{}","topic":"alerts","reason":"message too large","payload_bytes":3}}"#,
                "ab".repeat(16)
            );
            assert_eq!(std::str::from_utf8(payload).unwrap(), expected);
            (*token, alarm)
        }
        other => unreachable!("{other:?}"),
    };
    assert_ne!(stub, token);
    let (reason, topic) = ("message too large".into(), OutputTopic::Alerts);
    assert_eq!(
        *alarm,
        Alarm::OutputRefused {
            partition: p(0),
            id: [0xab; 16],
            topic,
            reason
        }
    );
    assert_eq!(bench.tick(100), [], "the stub is open");
    bench.ack(token);
    assert_eq!(
        bench.tick(200),
        [],
        "the answer to the output is no answer to its stub"
    );
    bench.ack(stub);
    let effects = bench.tick(300);
    assert_eq!(
        (commits(&effects), metadata(&effects).digest),
        (vec![10], digest(&[0xab]))
    );
    assert_eq!(bench.delivery.counters().refused, 1);
}

#[test]
fn r7_stub_of_the_output_s_own_kind_is_taken_from_the_caller() {
    let mut bench = Bench::assigned();
    let token = bench.emit(10, &[0xab])[0];
    let effects = bench.handle(Event::Refused {
        token,
        reason: "message too large".into(),
        stub: Some(b"an alert without its row".to_vec()),
    });
    let payload = effects.iter().find_map(|effect| match effect {
        Effect::Produce { payload, .. } => Some(payload.as_slice()),
        _ => None,
    });
    assert_eq!(payload, Some(b"an alert without its row".as_slice()));
}

#[test]
fn r7_stub_of_a_command_goes_to_the_shadow_topic() {
    let mut bench = Bench::assigned();
    let mut output = output(0xab);
    output.topic = OutputTopic::Commands;
    let effects = bench.handle(Event::Batch {
        partition: p(0),
        epoch: E1,
        next_offset: 10,
        outputs: vec![output],
    });
    let topics = |effects: &[Effect]| -> Vec<OutputTopic> {
        let topic = |effect: &Effect| match effect {
            Effect::Produce { topic, .. } => Some(*topic),
            _ => None,
        };
        effects.iter().filter_map(topic).collect()
    };
    assert_eq!(topics(&effects), [OutputTopic::Commands]);
    let token = tokens(&effects)[0];
    assert_eq!(topics(&bench.refuse(token)), [OutputTopic::Shadow]);
}

#[test]
fn r7_stub_is_small_json_whatever_the_reason() {
    let reason = format!("say \"no\"\\\n\u{7f}\u{1}ü{}", "é".repeat(9_000));
    let text = String::from_utf8(stub::payload(&[1; 16], OutputTopic::Dead, &reason, 7)).unwrap();
    assert!(
        text.contains(r#""reason":"say \"no\"\\\u000a\u007f\u0001üéé"#),
        "{text}"
    );
    assert!(text.ends_with(r#"é","payload_bytes":7}"#), "{text}");
    let worst = stub::payload(
        &[1; 16],
        OutputTopic::Commands,
        &"\u{1}".repeat(9_000),
        usize::MAX,
    );
    assert!(worst.len() < 4_096, "{}", worst.len());
}

#[test]
fn r8_refused_stub_is_dropped_with_an_alarm_and_holds_nothing_up() {
    let mut bench = Bench::assigned();
    let token = bench.emit(10, &[1])[0];
    let stub = tokens(&bench.refuse(token))[0];
    let (reason, topic) = ("message too large".into(), OutputTopic::Alerts);
    let alarm = Alarm::StubRefused {
        partition: p(0),
        id: [1; 16],
        topic,
        reason,
    };
    assert_eq!(
        bench.refuse(stub),
        [Effect::Alarm(alarm)],
        "nothing is produced a third time"
    );
    assert_eq!(bench.refuse(stub), []);
    assert_eq!(commits(&bench.tick(100)), [10]);
    assert_eq!(bench.delivery.counters().dropped, 1);
}

#[test]
fn r9_what_belongs_to_another_assignment_is_dropped_and_counted() {
    let mut bench = Bench::assigned();
    let old = bench.emit(10, &[1])[0];
    bench.emit(20, &[]);
    bench.lose(0, E1);
    bench.assign(0, E2);
    assert_eq!(bench.batch(0, E1, 30, &[2]), []);
    assert_eq!(bench.batch(7, E1, 30, &[2]), [], "never assigned");
    assert_eq!(bench.ack(old), []);
    assert_eq!(bench.refuse(old), []);
    assert_eq!(
        bench.done(10),
        [],
        "an answer to the old assignment's commit"
    );
    assert_eq!(
        bench.answer(0, E2, 10, CommitResult::Done),
        [],
        "nothing was committed"
    );
    assert_eq!(bench.lose(0, E1), []);
    assert_eq!(bench.assign(0, E2), [], "the same again");
    assert_eq!(bench.tick(100), []);
    let expected = Counters {
        stale_batches: 2,
        stale_answers: 2,
        stale_commits: 2,
        stale_assignments: 2,
        ..Counters::default()
    };
    assert_eq!(bench.delivery.counters(), expected);
    assert_eq!(bench.delivery.status(&p(0)).unwrap().epoch, E2);
}

#[test]
fn r9_answer_of_an_earlier_assignment_is_no_answer_to_a_commit_of_the_same_offset() {
    let mut bench = Bench::assigned();
    bench.emit(10, &[]);
    assert_eq!(commits(&bench.tick(100)), [10]);
    bench.lose(0, E1);
    bench.assign(0, E2);
    bench.batch(0, E2, 10, &[]);
    assert_eq!(commits(&bench.tick(200)), [10]);
    assert_eq!(bench.answer(0, E1, 10, CommitResult::Done), []);
    assert_eq!(bench.delivery.status(&p(0)).unwrap().committed_offset, None);
    bench.answer(0, E2, 10, CommitResult::Done);
    assert_eq!(
        bench.delivery.status(&p(0)).unwrap().committed_offset,
        Some(10)
    );
}

#[test]
fn r10_revoke_waits_for_outputs_commits_at_once_and_is_released() {
    let mut bench = Bench::assigned();
    let tokens = bench.emit(10, &[1, 2]);
    assert_eq!(bench.revoke(0, E1), []);
    assert_eq!(
        bench.batch(0, E1, 20, &[3]),
        [],
        "no batch is taken any more"
    );
    assert_eq!(bench.ack(tokens[1]), []);
    assert_eq!(commits(&bench.ack(tokens[0])), [10], "without a tick");
    assert_eq!(bench.revoke(0, E1), [], "told twice, released once");
    assert_eq!(bench.done(10), [release(0, E1)]);
    assert_eq!(bench.delivery.status(&p(0)), None);
    assert_eq!(bench.delivery.counters().stale_batches, 1);
}

#[test]
fn r10_revoke_with_nothing_to_do_is_released_at_once() {
    let mut bench = Bench::assigned();
    assert_eq!(bench.revoke(0, E1), [release(0, E1)]);
}

#[test]
fn r10_revoke_commits_what_an_earlier_commit_left_out() {
    let mut bench = Bench::assigned();
    bench.emit(10, &[]);
    assert_eq!(commits(&bench.tick(100)), [10]);
    bench.emit(20, &[]);
    assert_eq!(bench.revoke(0, E1), [], "one commit at a time");
    assert_eq!(commits(&bench.done(10)), [20]);
    assert_eq!(bench.done(20), [release(0, E1)]);
}

#[test]
fn r10_output_refused_during_a_revoke_still_becomes_a_stub() {
    let mut bench = Bench::assigned();
    let token = bench.emit(10, &[1])[0];
    bench.revoke(0, E1);
    let stub = tokens(&bench.refuse(token))[0];
    assert_eq!(commits(&bench.ack(stub)), [10]);
}

#[test]
fn r10_revoke_tries_at_once_even_in_a_backoff() {
    let mut bench = Bench::assigned();
    bench.emit(10, &[]);
    bench.tick(100);
    bench.fail(10);
    assert_eq!(commits(&bench.revoke(0, E1)), [10]);
    assert_eq!(bench.fail(10), [], "but after that waits for a tick");
    assert_eq!(bench.tick(199), []);
    assert_eq!(commits(&bench.tick(200)), [10]);
    assert_eq!(bench.done(10), [release(0, E1)]);
}

#[test]
fn r11_lost_partition_is_dropped_without_a_commit() {
    let mut bench = Bench::assigned();
    bench.emit(10, &[]);
    assert_eq!(bench.lose(0, E1), []);
    assert_eq!(bench.tick(100), []);
    assert_eq!(bench.stop(), [Effect::Stopped]);
}

#[test]
fn r11_revoke_that_waits_for_a_lost_partition_is_released() {
    let mut bench = Bench::assigned();
    bench.emit(10, &[1]);
    bench.revoke(0, E1);
    assert_eq!(bench.lose(0, E1), [release(0, E1)]);
}

#[test]
fn r12_revoke_of_what_is_not_held_is_released_at_once() {
    let mut bench = Bench::assigned();
    assert_eq!(bench.revoke(3, E1), [release(3, E1)]);
    bench.lose(0, E1);
    assert_eq!(bench.revoke(0, E1), [release(0, E1)]);
    bench.assign(0, E2);
    assert_eq!(bench.revoke(0, E1), [release(0, E1)]);
    assert_eq!(
        bench.delivery.status(&p(0)).unwrap().epoch,
        E2,
        "the present assignment stays"
    );
}

#[test]
fn r13_new_assignment_replaces_the_one_that_is_held() {
    let mut bench = Bench::assigned();
    let old = bench.emit(10, &[1])[0];
    bench.revoke(0, E1);
    assert_eq!(bench.assign(0, E2), [release(0, E1)]);
    bench.ack(old);
    assert_eq!(bench.tick(100), [], "the old position is forgotten");
    assert_eq!(bench.batch(0, E2, 5, &[]), []);
    assert_eq!(commits(&bench.tick(200)), [5]);
}

#[test]
fn r14_failed_commit_is_tried_again_with_the_newest_position_after_a_doubling_backoff() {
    let mut bench = Bench::assigned();
    bench.emit(10, &[]);
    assert_eq!(commits(&bench.tick(0)), [10]);
    let mut now_ms = 0;
    for backoff_ms in [100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000] {
        bench.fail(10);
        assert_eq!(bench.tick(now_ms + backoff_ms - 1), []);
        now_ms += backoff_ms;
        assert_eq!(commits(&bench.tick(now_ms)), [10], "after {backoff_ms} ms");
    }
    bench.fail(10);
    bench.emit(20, &[]);
    now_ms += 5_000;
    assert_eq!(commits(&bench.tick(now_ms)), [20]);
    bench.done(20);
    bench.emit(30, &[]);
    assert_eq!(commits(&bench.tick(now_ms + 100)), [30]);
    bench.fail(30);
    assert_eq!(
        commits(&bench.tick(now_ms + 200)),
        [30],
        "a success ends the backoff"
    );
    assert_eq!(bench.delivery.counters().failed_commits, 10);
}

#[test]
fn r15_partition_that_stays_commits_again_after_a_stale_commit() {
    let mut bench = Bench::assigned();
    bench.emit(10, &[]);
    bench.tick(0);
    assert_eq!(bench.answer(0, E1, 10, CommitResult::Stale), []);
    assert_eq!(bench.tick(99), []);
    assert_eq!(commits(&bench.tick(100)), [10]);
}

#[test]
fn r15_partition_on_its_way_out_gives_up_a_stale_commit() {
    let mut bench = Bench::assigned();
    bench.emit(10, &[]);
    assert_eq!(commits(&bench.revoke(0, E1)), [10]);
    let abandoned = Effect::Alarm(Alarm::CommitAbandoned {
        partition: p(0),
        epoch: E1,
    });
    assert_eq!(
        bench.answer(0, E1, 10, CommitResult::Stale),
        [abandoned, release(0, E1)]
    );
}

#[test]
fn r15_stop_still_waits_for_outputs_after_a_stale_commit() {
    let mut bench = Bench::assigned();
    bench.emit(10, &[]);
    bench.tick(0);
    let token = bench.emit(20, &[1])[0];
    assert_eq!(bench.stop(), []);
    let abandoned = Effect::Alarm(Alarm::CommitAbandoned {
        partition: p(0),
        epoch: E1,
    });
    assert_eq!(bench.answer(0, E1, 10, CommitResult::Stale), [abandoned]);
    assert_eq!(bench.ack(token), [Effect::Stopped]);
}

#[test]
fn r16_commits_that_keep_failing_raise_one_alarm() {
    let mut bench = Bench::assigned();
    bench.emit(10, &[]);
    let mut alarms = Vec::new();
    for round in 1..=20_i64 {
        bench.tick(round * 10_000);
        alarms.extend(bench.fail(10));
    }
    assert_eq!(
        alarms,
        [Effect::Alarm(Alarm::CommitFailing {
            partition: p(0),
            failures: 5
        })]
    );
}

#[test]
fn r17_partition_is_paused_at_the_bound_and_resumed_at_half_of_it() {
    let mut bench = Bench::with(Config {
        in_flight_max: 4,
        ..Config::default()
    });
    bench.assign(0, E1);
    let mut open = bench.emit(10, &[1, 2, 3]);
    let effects = bench.batch(0, E1, 20, &[4, 5]);
    assert_eq!(
        effects.last(),
        Some(&Effect::Pause {
            partition: p(0),
            epoch: E1
        })
    );
    open.extend(tokens(&effects));
    open.extend(bench.emit(30, &[6]));
    assert_eq!(open.len(), 6, "the batch that was already read is taken");
    for token in &open[..3] {
        assert_eq!(bench.ack(*token), []);
    }
    assert!(bench.delivery.status(&p(0)).unwrap().paused);
    assert_eq!(
        bench.ack(open[3]),
        [Effect::Resume {
            partition: p(0),
            epoch: E1
        }]
    );
    assert_eq!(bench.ack(open[4]), []);
}

#[test]
fn r17_bound_of_zero_does_not_pause_for_ever() {
    let mut bench = Bench::with(Config {
        in_flight_max: 0,
        ..Config::default()
    });
    bench.assign(0, E1);
    assert_eq!(bench.batch(0, E1, 10, &[]), []);
    let token = bench.emit(20, &[1])[0];
    assert_eq!(
        bench.ack(token),
        [Effect::Resume {
            partition: p(0),
            epoch: E1
        }]
    );
}

#[test]
fn r18_earlier_tick_counts_as_one_at_the_latest_time_seen() {
    let mut bench = Bench::assigned();
    bench.emit(10, &[]);
    assert_eq!(commits(&bench.tick(1_000)), [10]);
    bench.done(10);
    bench.emit(20, &[]);
    assert_eq!(bench.tick(-5_000), []);
    assert_eq!(
        commits(&bench.tick(1_100)),
        [20],
        "the interval runs from the latest time"
    );
}

#[test]
fn r19_batch_that_goes_back_is_dropped_with_an_alarm() {
    let mut bench = Bench::assigned();
    bench.emit(10, &[]);
    let alarm = Alarm::OffsetWentBack {
        partition: p(0),
        expected_from: 10,
        next_offset: 4,
    };
    assert_eq!(bench.batch(0, E1, 4, &[1]), [Effect::Alarm(alarm)]);
    assert_eq!(commits(&bench.tick(100)), [10]);
}

#[test]
fn r20_stop_waits_for_outputs_and_commits_of_every_partition() {
    let mut bench = Bench::assigned();
    bench.assign(1, E1);
    bench.assign(2, E1);
    bench.assign(3, E1);
    let token = bench.emit(10, &[1])[0];
    bench.batch(1, E1, 5, &[]);
    let leaving = tokens(&bench.batch(3, E1, 8, &[2]))[0];
    bench.revoke(3, E1);
    assert_eq!(
        commits(&bench.stop()),
        [5],
        "partition 1 needs to wait for nothing"
    );
    assert_eq!(bench.stop(), [], "told twice");
    assert_eq!(bench.batch(0, E1, 20, &[3]), []);
    assert_eq!(bench.assign(4, E1), []);
    assert_eq!(bench.answer(1, E1, 5, CommitResult::Done), []);
    assert_eq!(commits(&bench.ack(token)), [10]);
    assert_eq!(bench.done(10), [], "partition 3 is still on its way out");
    assert_eq!(commits(&bench.ack(leaving)), [8]);
    assert_eq!(
        bench.answer(3, E1, 8, CommitResult::Done),
        [release(3, E1), Effect::Stopped]
    );
    assert_eq!(
        bench.revoke(0, E1),
        [release(0, E1)],
        "leaving the group waits for nothing more"
    );
    assert_eq!(bench.tick(10_000), []);
}

#[test]
fn r20_stop_tries_a_failed_commit_again() {
    let mut bench = Bench::assigned();
    bench.emit(10, &[]);
    assert_eq!(commits(&bench.stop()), [10]);
    assert_eq!(bench.fail(10), []);
    assert_eq!(commits(&bench.tick(100)), [10]);
    assert_eq!(bench.done(10), [Effect::Stopped]);
}

#[test]
fn r20_stop_without_partitions_is_over_at_once() {
    assert_eq!(Bench::new().stop(), [Effect::Stopped]);
}

#[test]
fn alarms_say_what_happened_and_what_to_do() {
    let (partition, reason) = (p(3), "too large".to_owned());
    let alarm = Alarm::StubRefused {
        partition,
        id: [0x0f; 16],
        topic: OutputTopic::Commands,
        reason,
    };
    let expected = "the broker refused output 0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f of access/3 for the commands \
                    topic, and its stub as well (too large); the output is dropped: mend the topic, then \
                    replay the partition to have it again";
    assert_eq!(alarm.to_string(), expected);
}

#[test]
fn every_rule_of_the_protocol_has_a_test_that_names_it() {
    let protocol = include_str!("../../delivery.rs");
    let tests = include_str!("rules.rs");
    let mut rules = 0;
    while protocol.contains(&format!("//! - **R{}** ", rules + 1)) {
        rules += 1;
        assert!(
            tests.contains(&format!("\nfn r{rules}_")),
            "no test names rule {rules}"
        );
    }
    assert_eq!(
        rules,
        protocol.matches("//! - **R").count(),
        "rules are numbered without gaps"
    );
    assert!(
        !tests.contains(&format!("\nfn r{}_", rules + 1)),
        "a test names a rule that is not there"
    );
}
