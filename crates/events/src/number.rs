//! Numbers as written to integers and decimals, without a float in between.

/// Digits behind the point of a decimal column.
pub(crate) const SCALE: i64 = 18;
/// Digits of a decimal column in all.
pub(crate) const PRECISION: i64 = 38;

/// Why a number is not usable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NumberFault {
    /// It is no number of the wanted type.
    Unreadable,
    /// It is one, and does not fit.
    OutOfRange,
}

/// An integer; `1e3` and `200.0` are integers too, `1.5` is not.
#[inline]
pub(crate) fn integer(text: &str) -> Result<i64, NumberFault> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    // Eighteen digits always fit.
    if !digits.is_empty() && digits.len() <= 18 && digits.bytes().all(|byte| byte.is_ascii_digit())
    {
        let value = digits
            .bytes()
            .fold(0i64, |value, digit| value * 10 + i64::from(digit - b'0'));
        return Ok(if digits.len() == text.len() {
            value
        } else {
            -value
        });
    }
    let scaled = decimal(text)?;
    let one = 10i128.pow(SCALE as u32);
    if scaled % one != 0 {
        return Err(NumberFault::Unreadable);
    }
    i64::try_from(scaled / one).map_err(|_| NumberFault::OutOfRange)
}

/// A decimal(38, 18), as an integer of 10⁻¹⁸. Digits past the 18th behind the point are rounded half
/// to even; 10²⁰ and more is out of range.
pub(crate) fn decimal(text: &str) -> Result<i128, NumberFault> {
    let (negative, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (mantissa, exponent) = match unsigned.find(['e', 'E']) {
        Some(at) => (&unsigned[..at], exponent(&unsigned[at + 1..])?),
        None => (unsigned, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
    let all_digits =
        |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !all_digits(whole) || !all_digits(fraction) {
        return Err(NumberFault::Unreadable);
    }
    let fraction = if mantissa.len() == whole.len() {
        ""
    } else {
        fraction
    };
    let mut digits = whole
        .bytes()
        .chain(fraction.bytes())
        .skip_while(|digit| *digit == b'0')
        .map(|d| d - b'0');
    let zeros = whole
        .bytes()
        .chain(fraction.bytes())
        .take_while(|digit| *digit == b'0')
        .count();
    let significant = (whole.len() + fraction.len() - zeros) as i64;
    if significant == 0 {
        return Ok(0);
    }
    // How many of the significant digits, or of zeros appended to them, stand before the 18th place.
    let kept = significant
        .saturating_add(SCALE)
        .saturating_add(exponent)
        .saturating_sub(fraction.len() as i64);
    if kept > PRECISION {
        return Err(NumberFault::OutOfRange);
    }
    if kept < 0 {
        return Ok(0);
    }
    let mut value = 0i128;
    for _ in 0..kept {
        value = value * 10 + i128::from(digits.next().unwrap_or(0));
    }
    let half = digits.next().unwrap_or(0);
    if half > 5 || half == 5 && (value % 2 == 1 || digits.any(|digit| digit != 0)) {
        value += 1;
    }
    if value >= 10i128.pow(PRECISION as u32) {
        return Err(NumberFault::OutOfRange);
    }
    Ok(if negative { -value } else { value })
}

fn exponent(text: &str) -> Result<i64, NumberFault> {
    let (negative, digits) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(NumberFault::Unreadable);
    }
    let value = digits.bytes().fold(0i64, |value, digit| {
        value
            .saturating_mul(10)
            .saturating_add(i64::from(digit - b'0'))
    });
    Ok(if negative { -value } else { value })
}

/// The shortest text of a decimal(38, 18).
pub(crate) fn decimal_text(value: i128) -> String {
    let one = 10u128.pow(SCALE as u32);
    let magnitude = value.unsigned_abs();
    let sign = if value < 0 { "-" } else { "" };
    let fraction = format!("{:018}", magnitude % one);
    match fraction.trim_end_matches('0') {
        "" => format!("{sign}{}", magnitude / one),
        digits => format!("{sign}{}.{digits}", magnitude / one),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_exact() {
        for (text, expected) in [
            ("0.1", "0.1"),
            ("-12.500", "-12.5"),
            ("1e-18", "0.000000000000000001"),
            (
                "99999999999999999999.999999999999999999",
                "99999999999999999999.999999999999999999",
            ),
            ("1.5e3", "1500"),
            ("0.0000000000000000005", "0"),
            ("0.0000000000000000015", "0.000000000000000002"),
            (
                "0.00000000000000000050000000000000001",
                "0.000000000000000001",
            ),
            ("1e-999999999999999999999", "0"),
            ("0e999999999999", "0"),
            ("0.30000000000000004", "0.30000000000000004"),
        ] {
            assert_eq!(
                decimal(text).map(decimal_text),
                Ok(expected.to_string()),
                "{text}"
            );
        }
        for text in [
            "1e20",
            "100000000000000000000",
            "1e99999999999999999999",
            "99999999999999999999.9999999999999999995",
        ] {
            assert_eq!(decimal(text), Err(NumberFault::OutOfRange), "{text}");
        }
        for text in ["", "-", "1.", ".5", "1e", "x", "1,5", "--1", "0x10", "NaN"] {
            assert_eq!(decimal(text), Err(NumberFault::Unreadable), "{text}");
        }
    }

    #[test]
    fn integers_stay_integers() {
        assert_eq!(integer("-12"), Ok(-12));
        assert_eq!(integer("9223372036854775807"), Ok(i64::MAX));
        assert_eq!(integer("-9223372036854775808"), Ok(i64::MIN));
        assert_eq!(integer("9223372036854775808"), Err(NumberFault::OutOfRange));
        assert_eq!(integer("2e2"), Ok(200));
        assert_eq!(integer("200.0"), Ok(200));
        assert_eq!(integer("200.5"), Err(NumberFault::Unreadable));
    }
}
