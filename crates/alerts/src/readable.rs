//! Values of a row as a person reads them, in summaries and in chat.
//!
//! | value | shown |
//! |---|---|
//! | `1234567` | `1,234,567` |
//! | `1234567` in `asn`, `status`, `key_id`, `_offset`: a name, not an amount | `1234567` |
//! | `80.26` | `80.3` |
//! | `17.0` | `17` |
//! | `0.00312` | `0.0031` |
//! | null | `unknown` |
//! | a list | its members, with commas |

use serde_json::{Number, Value};

/// No single value fills a summary: paths and user agents are chosen by whoever calls.
const VALUE_CHARS_MAX: usize = 200;

/// `value` of the column `column`, at most 200 characters.
pub(crate) fn value(column: &str, value: &Value) -> String {
    let text = match value {
        Value::Null => "unknown".to_owned(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(n) if is_name(column) => n.to_string(),
        Value::Number(n) => number(n),
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(|item| self::value(column, item)).collect();
            items.join(", ")
        }
        Value::Object(_) => value.to_string(),
    };
    shorten(&text, VALUE_CHARS_MAX)
}

/// `text`, cut to `chars_max` characters, the last of which is then `…`.
pub(crate) fn shorten(text: &str, chars_max: usize) -> String {
    if text.chars().nth(chars_max).is_none() {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(chars_max.saturating_sub(1)).collect();
    short.push('…');
    short
}

/// Whether numbers of this column name something, so that separators would only obscure them.
fn is_name(column: &str) -> bool {
    column.starts_with('_')
        || column == "id"
        || column.ends_with("_id")
        || column == "asn"
        || column.ends_with("_asn")
        || column == "status"
}

fn number(n: &Number) -> String {
    match (n.as_i64(), n.as_u64(), n.as_f64()) {
        (Some(i), _, _) => grouped(i.unsigned_abs(), i < 0, ""),
        (None, Some(u), _) => grouped(u, false, ""),
        (None, None, Some(f)) => float(f),
        (None, None, None) => n.to_string(),
    }
}

fn float(f: f64) -> String {
    let size = f.abs();
    if size == 0.0 {
        "0".to_owned()
    } else if size < 0.1 {
        // Two significant digits: how many places the first of them is behind the point, and one.
        let places = (-size.log10()).ceil().clamp(1.0, 300.0) as usize + 1;
        if places > 8 {
            format!("{f:.1e}")
        } else {
            format!("{f:.places$}")
        }
    } else if size < 1e15 {
        let text = format!("{size:.1}");
        let (whole, tenth) = text.split_once('.').unwrap_or((&text, "0"));
        let fraction = if tenth == "0" {
            String::new()
        } else {
            format!(".{tenth}")
        };
        grouped(whole.parse().unwrap_or(0), f < 0.0, &fraction)
    } else {
        format!("{f:.2e}")
    }
}

/// A whole number with a comma every three digits.
fn grouped(whole: u64, negative: bool, fraction: &str) -> String {
    let digits = whole.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3 + fraction.len() + 1);
    if negative {
        text.push('-');
    }
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text + fraction
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn numbers_are_shown_as_people_write_them() {
        for (number, shown) in [
            (json!(0), "0"),
            (json!(999), "999"),
            (json!(1000), "1,000"),
            (json!(-1234567), "-1,234,567"),
            (json!(i64::MIN), "-9,223,372,036,854,775,808"),
            (json!(u64::MAX), "18,446,744,073,709,551,615"),
            (json!(80.25), "80.2"),
            (json!(80.26), "80.3"),
            (json!(17.0), "17"),
            (json!(-1234.56), "-1,234.6"),
            (json!(0.1), "0.1"),
            (json!(0.0312), "0.031"),
            (json!(-0.00312), "-0.0031"),
            (json!(1.5e-12), "1.5e-12"),
            (json!(999_999.97), "1,000,000"),
            (json!(1.5e300), "1.50e300"),
            (json!(-0.0), "0"),
        ] {
            assert_eq!(value("requests", &number), shown);
        }
    }

    #[test]
    fn numbers_that_are_names_have_no_separators() {
        for column in ["asn", "status", "key_id", "_offset"] {
            assert_eq!(value(column, &json!(64500)), "64500");
        }
    }

    #[test]
    fn null_lists_and_long_texts() {
        assert_eq!(value("country", &Value::Null), "unknown");
        assert_eq!(value("countries", &json!(["NL", "DE"])), "NL, DE");
        let long = value("path", &json!("é".repeat(500)));
        assert_eq!(
            (long.chars().count(), long.chars().last()),
            (200, Some('…'))
        );
    }
}
