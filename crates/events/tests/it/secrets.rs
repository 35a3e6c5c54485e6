//! No raw credential in any output.

use keyhawk_events::{DEVELOPMENT_SECRET, Fingerprinter};

use crate::{Random, Setup, cell, event, fingerprinter};

const BASE64URL: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

fn token(random: &mut Random, length: usize) -> String {
    (0..length)
        .map(|_| char::from(BASE64URL[random.below(64)]))
        .collect()
}

/// The secret parts: 8 characters at every place.
fn assert_no_piece(output: &str, secret: &str) {
    for piece in secret.as_bytes().windows(8) {
        let piece = std::str::from_utf8(piece).unwrap();
        assert!(!output.contains(piece), "{piece} of {secret} in {output}");
    }
}

#[test]
fn no_piece_of_a_key_is_in_any_output() {
    let seed = 11;
    let mut random = Random(seed);
    for round in 0..150 {
        let jwt = round % 3 == 0;
        let secret = token(&mut random, 40);
        let key = if jwt {
            format!(
                "eyJ{}.{}.{}",
                token(&mut random, 20),
                token(&mut random, 60),
                secret
            )
        } else {
            format!("{}{secret}", ["kh_live_", ""][round % 2])
        };
        let secret = if jwt { &key[3..] } else { &secret };
        // Some other key, known by its prefix alone.
        let other_secret = token(&mut random, 24);
        let encoded: String = key.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let escaped: String = key.bytes().map(|byte| format!("\\u{byte:04x}")).collect();
        let members = format!(
            r#""api_key":"{key}","key_id":"{key}","tenant":"x{key}","path":"/v1/{key}/a?api_key={encoded}",
            "query_names":["{key}","k"],"user_agent":"bot {key} {escaped}","referer":"https://x/?k=kh_live_{other_secret}&x",
            "scopes":"a {key}","object_id":["{key}"],"note":{{"x":"{key}"}},"destination":"{key}""#
        );
        let mut setup = Setup::default()
            .extra("[[column]]\nname=\"note\"\npointer=\"/note/x\"\ntype=\"text\"\n");
        setup.settings.dead_letter_payload = true;
        let good = event(&members);
        let later = event("\"x\":1").replace("1700000000000", "1700000100000");
        let bad = event(&format!("{members},\"status\":\"x\""));
        let cut = &good[..good.len() - 1 - random.below(good.len() / 2)];
        let payloads = [good.clone(), later, good.clone(), bad, cut.to_string()];
        let mut damaged = good.clone().into_bytes();
        let place = random.below(damaged.len());
        damaged[place] = 0xff;
        let mut decoder = setup.decoder();
        for (offset, payload) in payloads.iter().enumerate() {
            decoder.push(crate::record(payload.as_bytes(), offset as i64));
        }
        decoder.push(crate::record(&damaged, 9));
        let mut output = format!("{decoder:?}");
        let decoded = decoder.finish();
        assert_eq!(
            decoded.late.len() + decoded.dead.len() + decoded.events.num_rows(),
            6
        );
        output += &format!("{decoded:?}");
        output.extend(decoded.dead.iter().map(|letter| letter.to_json()));
        assert_no_piece(&output, secret);
        assert_no_piece(&output, &other_secret);
        let print = fingerprinter().fingerprint(&key);
        assert_eq!(
            cell(&decoded, "key_id", 0),
            Some(print.clone()),
            "seed {seed}"
        );
        assert_eq!(cell(&decoded, "note", 0), Some(print.clone()));
        assert_eq!(cell(&decoded, "path", 0), Some(format!("/v1/{print}/a")));
        assert_eq!(cell(&decoded, "route", 0).as_deref(), Some("/v1/{id}/a"));
        assert_eq!(cell(&decoded, "secret_in_url", 0).as_deref(), Some("path"));
    }
}

#[test]
fn secret_in_url_says_where() {
    let key = r#""api_key":"0123456789abcdef""#;
    for (members, expected) in [
        (r#""path":"/a?k=0123456789abcdef""#, Some("path")),
        (
            r#""path":"/a","referer":"http://x/0123456789abcdef""#,
            Some("referer"),
        ),
        (
            r#""query_names":["a","0123456789abcdef"]"#,
            Some("query_names"),
        ),
        (r#""path":"/a?k=kh_live_12345678""#, Some("path")),
        (
            r#""user_agent":"0123456789abcdef","path":"/a?k=kh_live_1""#,
            None,
        ),
    ] {
        let decoded = Setup::default().decode(&[event(&format!("{key},{members}"))]);
        assert_eq!(
            cell(&decoded, "secret_in_url", 0).as_deref(),
            expected,
            "{members}"
        );
        let alone = Setup::default().columns(&["secret_in_url"]);
        let decoded = alone.decode(&[event(&format!("{key},{members}"))]);
        assert_eq!(
            cell(&decoded, "secret_in_url", 0).as_deref(),
            expected,
            "{members}"
        );
    }
}

#[test]
fn short_credential_is_masked_only_as_a_whole_value() {
    let decoded =
        Setup::default().decode(&[event(r#""api_key":"abc","key_id":"abc","path":"/abc/d""#)]);
    assert_eq!(
        cell(&decoded, "key_id", 0),
        Some(fingerprinter().fingerprint("abc"))
    );
    assert_eq!(cell(&decoded, "path", 0).as_deref(), Some("/abc/d"));
}

#[test]
fn fingerprints_are_hmac_sha_256_with_the_longest_prefix() {
    let prefixes = vec!["kh_".to_string(), "kh_live_".to_string()];
    let fingerprinter = Fingerprinter::new(DEVELOPMENT_SECRET, prefixes).unwrap();
    let print = fingerprinter.fingerprint("kh_live_abcdefgh");
    assert!(print.starts_with("kh_live_…"), "{print}");
    assert_eq!(print.len(), "kh_live_…".len() + 20);
    assert_eq!(
        print,
        fingerprinter.fingerprint("kh_live_abcdefgh"),
        "cached"
    );
    assert!(fingerprinter.fingerprint("kh_test_x").starts_with("kh_…"));
    assert!(fingerprinter.fingerprint("other").starts_with('…'));
    let jwt = Fingerprinter::new(DEVELOPMENT_SECRET, vec!["eyJ".into()]).unwrap();
    assert!(
        jwt.fingerprint("eyJhbGciOiJIUzI1NiJ9.e30.abc")
            .starts_with('…')
    );
    let other = Fingerprinter::new(b"another secret of this test", Vec::new()).unwrap();
    assert_ne!(
        other.fingerprint("other"),
        fingerprinter.fingerprint("other")
    );
    assert!(!format!("{other:?}").contains("another"));
    // RFC 4231, test case 1: HMAC-SHA-256 begins with these 80 bits.
    let rfc = Fingerprinter::new(&[0x0b; 20], Vec::new()).unwrap();
    assert_eq!(rfc.fingerprint("Hi There"), "…b0344c61d8db38535ca8");
    assert!(
        Fingerprinter::new(b"short", Vec::new())
            .unwrap_err()
            .to_string()
            .contains("5 bytes")
    );
    assert!(Fingerprinter::new(DEVELOPMENT_SECRET, vec!["a b".into()]).is_err());
}

#[test]
fn public_prefixes_are_as_many_and_as_long_as_is_said() {
    let number = |number: usize| format!("k{number}_");
    let most: Vec<String> = (0..1000).map(number).collect();
    let fingerprinter = Fingerprinter::new(DEVELOPMENT_SECRET, most.clone()).unwrap();
    let print = fingerprinter.fingerprint("k999_abcdefgh");
    assert!(print.starts_with("k999_…"), "{print}");
    let refused = |prefixes: Vec<String>, named: &str, why: &str| {
        let error = Fingerprinter::new(DEVELOPMENT_SECRET, prefixes).unwrap_err();
        let error = error.to_string();
        assert!(error.contains(named) && error.contains(why), "{error}");
    };
    let more = most.into_iter().chain([number(1000)]).collect();
    refused(more, "k1000_", "1,000");
    refused(vec!["k_".into(), String::new()], "", "empty");
    refused(vec!["k".repeat(33)], "kkk", "longer than 32 bytes");
    refused(vec!["k y".into()], "k y", "no credential has");
    assert!(Fingerprinter::new(DEVELOPMENT_SECRET, vec!["k".repeat(32)]).is_ok());
}

#[test]
fn cache_stays_right_past_its_bounds() {
    let fingerprinter = Fingerprinter::new(DEVELOPMENT_SECRET, Vec::new()).unwrap();
    let fresh = Fingerprinter::new(DEVELOPMENT_SECRET, Vec::new()).unwrap();
    let long = "x".repeat(5000);
    for place in 0..120_000 {
        let print = fingerprinter.fingerprint(&format!("key-{place}"));
        if place % 10_000 == 0 {
            assert_eq!(print, fresh.fingerprint(&format!("key-{place}")));
            assert_eq!(
                fingerprinter.fingerprint("key-0"),
                fresh.fingerprint("key-0")
            );
            assert_eq!(fingerprinter.fingerprint(&long), fresh.fingerprint(&long));
        }
    }
}
