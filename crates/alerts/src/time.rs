//! A time as messages carry it: RFC 3339 in UTC with milliseconds, always 24 characters.
//!
//! Days are turned into dates by counting from 1 March of year 0, so that the leap day ends a year
//! and a 400-year era has 146,097 days.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::error::{Error, Result};

const DAY_MS: i64 = 86_400_000;
const ERA_DAYS: i64 = 146_097;
/// Days from 1 March of year 0 to 1 January 1970.
const EPOCH_DAYS: i64 = 719_468;
/// `0000-01-01T00:00:00.000Z` and `9999-12-31T23:59:59.999Z`, the times that RFC 3339 can write.
const WRITABLE_MS: std::ops::RangeInclusive<i64> = -62_167_219_200_000..=253_402_300_799_999;

/// Milliseconds since 1970 UTC, written in JSON as `2026-01-31T12:00:00.000Z`.
///
/// A time outside the years 0 to 9999 is written as the nearest that RFC 3339 can write; this is
/// how the end of time at the end of a finite input looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimeMs(pub i64);

impl fmt::Display for TimeMs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.0.clamp(*WRITABLE_MS.start(), *WRITABLE_MS.end());
        let (year, month, day) = date_of(ms.div_euclid(DAY_MS));
        let of_day = ms.rem_euclid(DAY_MS);
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:03}Z",
            of_day / 3_600_000,
            of_day / 60_000 % 60,
            of_day / 1000 % 60,
            of_day % 1000,
        )
    }
}

impl FromStr for TimeMs {
    type Err = Error;

    /// Reads RFC 3339 in UTC (`Z`), with or without a fraction; digits past the milliseconds are cut.
    fn from_str(text: &str) -> Result<Self> {
        parse(text).ok_or_else(|| Error::Time {
            found: text.chars().take(40).collect(),
        })
    }
}

impl Serialize for TimeMs {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TimeMs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl de::Visitor<'_> for Text {
            type Value = TimeMs;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a time in RFC 3339, UTC")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<TimeMs, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Text)
    }
}

fn parse(text: &str) -> Option<TimeMs> {
    let text = text.strip_suffix('Z')?;
    let (date, time) = text.split_once('T')?;
    let mut date = date.split('-');
    let (year, month, day) = (
        digits(date.next()?, 4)?,
        digits(date.next()?, 2)?,
        digits(date.next()?, 2)?,
    );
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let mut time = time.split(':');
    let (hour, minute, second) = (
        digits(time.next()?, 2)?,
        digits(time.next()?, 2)?,
        digits(time.next()?, 2)?,
    );
    if date.next().is_some() || time.next().is_some() || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    if fraction.is_empty() || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let ms = fraction
        .bytes()
        .chain(std::iter::repeat(b'0'))
        .take(3)
        .fold(0, |ms, b| ms * 10 + i64::from(b - b'0'));
    let days = days_of(year, month, day);
    if date_of(days) != (year, month, day) {
        return None; // 30 February and the like
    }
    Some(TimeMs(
        days * DAY_MS + hour * 3_600_000 + minute * 60_000 + second * 1000 + ms,
    ))
}

fn digits(text: &str, len: usize) -> Option<i64> {
    let all = text.len() == len && text.bytes().all(|b| b.is_ascii_digit());
    all.then(|| text.parse().ok()).flatten()
}

/// (year, month, day) of a day counted from 1970-01-01.
fn date_of(days: i64) -> (i64, i64, i64) {
    let shifted = days + EPOCH_DAYS;
    let (era, day_of_era) = (shifted.div_euclid(ERA_DAYS), shifted.rem_euclid(ERA_DAYS));
    // Leap days before this day of the era are taken out, and years have 365 days each.
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // Months from March on have 153 days in every five.
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

/// The day, counted from 1970-01-01, of a date.
fn days_of(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    era * ERA_DAYS + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year
        - EPOCH_DAYS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_times_are_written_and_read() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_767_225_600_123, "2026-01-01T00:00:00.123Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(TimeMs(ms).to_string(), text);
            assert_eq!(text.parse::<TimeMs>().unwrap(), TimeMs(ms));
        }
    }

    #[test]
    fn every_day_of_four_centuries_is_read_as_it_was_written() {
        for day in -40_000..110_000 {
            let time = TimeMs(day * DAY_MS + 12_345_678);
            assert_eq!(time.to_string().parse::<TimeMs>().unwrap(), time);
        }
    }

    #[test]
    fn the_end_of_time_is_written_as_the_last_writable_millisecond() {
        assert_eq!(TimeMs(i64::MAX).to_string(), "9999-12-31T23:59:59.999Z");
        assert_eq!(TimeMs(i64::MIN).to_string(), "0000-01-01T00:00:00.000Z");
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "Z",
            "2026-02-30T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-01-01T00:00:00",
            "2026-01-01T00:00:00+01:00",
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:00:00.Z",
            "2026-01-01 00:00:00Z",
            "+026-01-01T00:00:00Z",
            "2026-01-01T00:00:00.1xZ",
        ] {
            assert!(text.parse::<TimeMs>().is_err(), "{text}");
        }
        assert_eq!(
            "2026-01-01T00:00:00.1239Z".parse::<TimeMs>().unwrap().0 % 1000,
            123
        );
    }
}
