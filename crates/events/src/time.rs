//! Event times: RFC 3339 text or integer milliseconds to milliseconds since 1970 UTC, and back.

use crate::number::{self, NumberFault};

/// First millisecond past the range of event times: 2200-01-01T00:00:00Z.
pub(crate) const TIME_MS_END: i64 = 7_258_118_400_000;

/// A text of RFC 3339. Digits past the millisecond are cut off; the second 60 is the last
/// millisecond of the minute.
pub(crate) fn parse(text: &str) -> Result<i64, NumberFault> {
    parse_civil(text.as_bytes())
        .ok_or(NumberFault::Unreadable)
        .and_then(in_range)
}

/// Integer milliseconds since 1970, as written.
pub(crate) fn parse_ms(text: &str) -> Result<i64, NumberFault> {
    number::integer(text).and_then(in_range)
}

/// The time, if it lies in 1970..2200.
pub(crate) fn in_range(time_ms: i64) -> Result<i64, NumberFault> {
    if (0..TIME_MS_END).contains(&time_ms) {
        Ok(time_ms)
    } else {
        Err(NumberFault::OutOfRange)
    }
}

fn parse_civil(text: &[u8]) -> Option<i64> {
    let (head, tail) = text.split_first_chunk::<19>()?;
    if head[4] != b'-' || head[7] != b'-' || head[13] != b':' || head[16] != b':' {
        return None;
    }
    if !matches!(head[10], b'T' | b't' | b' ') {
        return None;
    }
    let year = i64::from(pair(head, 0)?) * 100 + i64::from(pair(head, 2)?);
    let (month, day) = (pair(head, 5)?, pair(head, 8)?);
    let (hour, minute, second) = (pair(head, 11)?, pair(head, 14)?, pair(head, 17)?);
    if !(1..=12).contains(&month) || day == 0 || day > days_in(year, month) {
        return None;
    }
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let mut at = 0;
    let mut ms = 0;
    if tail.first() == Some(&b'.') {
        let digits = tail[1..]
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        if digits == 0 {
            return None;
        }
        let kept = tail[1..=digits].iter().map(|digit| i64::from(digit - b'0'));
        ms = kept
            .chain([0, 0])
            .take(3)
            .fold(0, |ms, digit| ms * 10 + digit);
        at = 1 + digits;
    }
    let offset_minutes = match &tail[at..] {
        [b'Z' | b'z'] => 0,
        [sign @ (b'+' | b'-'), rest @ ..] if rest.len() == 5 && rest[2] == b':' => {
            let (hours, minutes) = (pair(rest, 0)?, pair(rest, 3)?);
            if hours > 23 || minutes > 59 {
                return None;
            }
            let minutes = i64::from(hours) * 60 + i64::from(minutes);
            if *sign == b'+' { minutes } else { -minutes }
        }
        _ => return None,
    };
    let (second, ms) = if second == 60 {
        (59, 999)
    } else {
        (i64::from(second), ms)
    };
    let minutes = (days_from_civil(year, month, day) * 24 + i64::from(hour)) * 60
        + i64::from(minute)
        - offset_minutes;
    Some((minutes * 60 + second) * 1000 + ms)
}

#[inline]
fn pair(text: &[u8], at: usize) -> Option<u32> {
    let tens = text[at].wrapping_sub(b'0');
    let ones = text[at + 1].wrapping_sub(b'0');
    if tens > 9 || ones > 9 {
        None
    } else {
        Some(u32::from(tens) * 10 + u32::from(ones))
    }
}

fn days_in(year: i64, month: u32) -> u32 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Days since 1970-01-01 of a date of the Gregorian calendar, counted from March, so that the leap
/// day is a year's last.
fn days_from_civil(year: i64, month: u32, day: u32) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let month_from_march = i64::from((month + 9) % 12);
    let day_of_year = (153 * month_from_march + 2) / 5 + i64::from(day) - 1;
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    // 719,468 days lie between 0000-03-01 and 1970-01-01.
    year * 365 + leap_days + day_of_year - 719_468
}

/// A time as RFC 3339 text in UTC, to the millisecond.
pub(crate) fn format(time_ms: i64) -> String {
    let days = time_ms.div_euclid(86_400_000);
    let ms = time_ms.rem_euclid(86_400_000);
    // The inverse of `days_from_civil`, by eras of 400 years.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:03}Z",
        ms / 3_600_000,
        ms / 60_000 % 60,
        ms / 1000 % 60,
        ms % 1000
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_read_to_the_millisecond() {
        for (text, expected) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2001-09-09T01:46:40.123456Z", 1_000_000_000_123),
            ("2001-09-09t03:46:40.1+02:00", 1_000_000_000_100),
            ("2001-09-08 20:16:40-05:30", 1_000_000_000_000),
            ("2016-12-31T23:59:60.5Z", 1_483_228_799_999),
            ("2000-02-29T00:00:00Z", 951_782_400_000),
            ("2199-12-31T23:59:59.999Z", TIME_MS_END - 1),
        ] {
            assert_eq!(parse(text), Ok(expected), "{text}");
        }
        for text in [
            "",
            "2001-09-09",
            "2001-09-09T01:46:40",
            "2001-13-09T01:46:40Z",
            "2001-02-29T01:46:40Z",
            "2001-09-09T24:46:40Z",
            "2001-09-09T01:46:61Z",
            "2001-09-09T01:46:40.Z",
            "2001-09-09T01:46:40+2:00",
            "2001-09-09T01:46:40Zx",
            "1000000000000",
        ] {
            assert_eq!(parse(text), Err(NumberFault::Unreadable), "{text}");
        }
        assert_eq!(parse("1969-12-31T23:59:59Z"), Err(NumberFault::OutOfRange));
        assert_eq!(parse("2200-01-01T00:00:00Z"), Err(NumberFault::OutOfRange));
        assert_eq!(parse_ms("-1"), Err(NumberFault::OutOfRange));
    }

    #[test]
    fn every_day_survives_the_round_trip() {
        for day in 0..TIME_MS_END / 86_400_000 {
            let time_ms = day * 86_400_000 + day % 86_400_000;
            assert_eq!(parse(&format(time_ms)), Ok(time_ms));
        }
    }
}
