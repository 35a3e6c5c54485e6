//! Every record that the sink takes has exactly one receipt, and the receipt says why.

use std::collections::BTreeMap;
use std::time::Duration;

use keyhawk_connectors::kafka::{Properties, Refusal, Sink, SinkConfig};
use keyhawk_testkit::kafka::Broker;
use keyhawk_testkit::random;

use crate::Harness;

const LONG: Duration = Duration::from_secs(60);

pub fn a_record_too_large_is_refused_for_good_and_the_others_pass(
    harness: &'static Harness,
    broker: &Broker,
) {
    let topic = harness.fresh("outputs");
    broker
        .create_topic(&topic, 1, &[("max.message.bytes", "20000")])
        .unwrap();
    let (sink, receipts) = Sink::new(SinkConfig::new(broker.brokers())).unwrap();
    // Random, so that compression does not make it fit.
    let mut random = random::generator(5);
    let too_large_for_the_topic = random::base64url(&mut random, 60_000);
    let too_large_for_the_client = random::base64url(&mut random, 2_000_000);
    sink.send(&topic, Some(b"a"), b"first", 1).unwrap();
    assert!(sink.flush(LONG));
    sink.send(&topic, Some(b"b"), too_large_for_the_topic.as_bytes(), 2)
        .unwrap();
    assert!(sink.flush(LONG));
    sink.send(&topic, Some(b"c"), too_large_for_the_client.as_bytes(), 3)
        .unwrap();
    sink.send(&topic, None, b"last", 4).unwrap();
    let results: BTreeMap<u64, Result<(), Refusal>> = (0..4)
        .map(|_| receipts.recv_timeout(LONG).unwrap())
        .map(|receipt| (receipt.token, receipt.result))
        .collect();
    assert_eq!(results[&1], Ok(()));
    assert_eq!(results[&4], Ok(()));
    for token in [2, 3] {
        let refusal = results[&token].clone().unwrap_err();
        assert!(refusal.for_good, "{refusal:?}");
        assert!(refusal.reason.contains("size"), "{refusal:?}");
    }
    let texts: Vec<String> = broker
        .consume_all(&topic)
        .unwrap()
        .iter()
        .map(|record| record.text())
        .collect();
    assert_eq!(texts, ["first", "last"]);
    assert!(receipts.try_recv().is_err());
}

pub fn a_missing_topic_is_not_the_records_fault(harness: &'static Harness, broker: &Broker) {
    let topic = harness.fresh("missing");
    let mut config = SinkConfig::new(broker.brokers());
    config.properties = Properties::new([("topic.metadata.propagation.max.ms", "1000")]).unwrap();
    let (sink, receipts) = Sink::new(config).unwrap();
    sink.send(&topic, None, b"to nowhere", 1).unwrap();
    let refusal = receipts.recv_timeout(LONG).unwrap().result.unwrap_err();
    assert!(!refusal.for_good, "{refusal:?}");
    broker.create_topic(&topic, 1, &[]).unwrap();
    // Sent again, as a pipeline would, until the client has heard of the topic.
    for token in 2.. {
        sink.send(&topic, None, b"to somewhere", token).unwrap();
        let receipt = receipts.recv_timeout(LONG).unwrap();
        assert_eq!(receipt.token, token);
        if receipt.result.is_ok() {
            break;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    assert_eq!(broker.consume_all(&topic).unwrap().len(), 1);
}

pub fn a_full_queue_is_said_and_empties(harness: &'static Harness, broker: &Broker) {
    const RECORDS: u64 = 5_000;
    let topic = harness.fresh("outputs");
    broker.create_topic(&topic, 2, &[]).unwrap();
    let mut config = SinkConfig::new(broker.brokers());
    config.properties = Properties::new([("queue.buffering.max.messages", "100")]).unwrap();
    let (sink, receipts) = Sink::new(config).unwrap();
    let mut full = 0;
    for token in 0..RECORDS {
        let payload = token.to_string();
        while sink.send(&topic, None, payload.as_bytes(), token).is_err() {
            full += 1;
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    assert!(full > 0);
    assert!(sink.flush(LONG));
    assert_eq!(sink.in_flight(), 0);
    let mut tokens: Vec<u64> = (0..RECORDS)
        .map(|_| receipts.recv_timeout(LONG).unwrap())
        .inspect(|receipt| assert_eq!(receipt.result, Ok(())))
        .map(|receipt| receipt.token)
        .collect();
    tokens.sort_unstable();
    assert!(tokens.into_iter().eq(0..RECORDS));
    assert_eq!(
        broker.consume_all(&topic).unwrap().len(),
        usize::try_from(RECORDS).unwrap()
    );
}
