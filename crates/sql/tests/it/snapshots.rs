//! Text snapshots: what a test prints, held against a reviewed file.

use std::path::PathBuf;

/// Compares `text` with `tests/snapshots/NAME.txt`; with `KEYHAWK_BLESS=1` writes it there instead.
pub fn assert_snapshot(name: &str, text: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/snapshots")
        .join(format!("{name}.txt"));
    if std::env::var_os("KEYHAWK_BLESS").is_some_and(|value| value == "1") {
        std::fs::write(&path, text).unwrap();
        return;
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_else(|error| {
        panic!("{}: {error}; write it with KEYHAWK_BLESS=1", path.display())
    });
    if expected != text {
        let line = expected.lines().zip(text.lines()).position(|(a, b)| a != b);
        let line = line.unwrap_or_else(|| expected.lines().count().min(text.lines().count()));
        let around = |text: &str| {
            text.lines()
                .skip(line.saturating_sub(6))
                .take(14)
                .collect::<Vec<_>>()
                .join("\n")
        };
        panic!(
            "{name} differs from its snapshot at line {}; review, then write it with KEYHAWK_BLESS=1\n--- expected\n{}\n--- found\n{}",
            line + 1,
            around(&expected),
            around(text)
        );
    }
}
