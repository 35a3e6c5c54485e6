//! Distance and speed between two places that are known to within a radius.
//!
//! | function | unit | meaning |
//! |---|---|---|
//! | `distance_km(lat1, lon1, lat2, lon2)` | km | along the great circle between two points |
//! | `travel_km(lat1, lon1, radius1_km, lat2, lon2, radius2_km)` | km | the least that was travelled: the distance less both radii, at least 0 |
//! | `speed_kmh(km, from_ts, to_ts)` | km/h | `km` over the time between; `Infinity` where there is none |
//!
//! ```text
//!      ╭───────╮                       ╭───────╮
//!      │   ×···│··· travel_km ·········│···×   │     × as GeoIP places the address,
//!      ╰───────╯                       ╰───────╯     the circle is its accuracy radius
//! ```
//!
//! The sphere is the usual stand-in for the Earth; against the ellipsoid it errs by at most about 0.5 %,
//! far less than any accuracy radius. A null, NaN or infinite argument gives null: a comparison with
//! NaN would hold in SQL, since NaN sorts above every number.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, Float64Array},
    datatypes::{DataType, Float64Type},
};
use datafusion_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use crate::{
    Error, Result,
    arguments::{coerce_timestamp, column, over_arrays, timestamps},
};

/// The Earth's mean radius R1 = (2a + b) / 3 in km, as the International Union of Geodesy and
/// Geophysics defines it on GRS 80.
pub const EARTH_RADIUS_KM: f64 = 6371.0088;

pub(crate) fn scalar_functions() -> Vec<Arc<ScalarUDF>> {
    [Kind::Distance, Kind::Travel, Kind::Speed]
        .into_iter()
        .map(|kind| {
            let signature = Signature::user_defined(Volatility::Immutable);
            Arc::new(ScalarUDF::from(Travel { kind, signature }))
        })
        .collect()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Distance,
    Travel,
    Speed,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Travel {
    kind: Kind,
    signature: Signature,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Distance => "distance_km",
            Self::Travel => "travel_km",
            Self::Speed => "speed_kmh",
        }
    }

    fn usage(self) -> &'static str {
        match self {
            Self::Distance => "distance_km(lat1, lon1, lat2, lon2)",
            Self::Travel => "travel_km(lat1, lon1, radius1_km, lat2, lon2, radius2_km)",
            Self::Speed => "speed_kmh(km, from_ts, to_ts)",
        }
    }

    fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Distance => &["lat1", "lon1", "lat2", "lon2"],
            Self::Travel => &["lat1", "lon1", "radius1_km", "lat2", "lon2", "radius2_km"],
            Self::Speed => &["km", "from_ts", "to_ts"],
        }
    }

    fn coerce(self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        let (function, names) = (self.name(), self.arguments());
        if arg_types.len() != names.len() {
            let (usage, found) = (self.usage(), arg_types.len());
            return Err(Error::ArgumentCount {
                function,
                usage,
                found,
            });
        }
        let coerce = |(&argument, found): (&&'static str, &DataType)| {
            if argument.ends_with("_ts") {
                coerce_timestamp(function, argument, found)
            } else if found.is_numeric() || found.is_null() {
                Ok(DataType::Float64)
            } else {
                let found = format!("of type {found}");
                Err(Error::Argument {
                    function,
                    argument,
                    expected: "a number",
                    found,
                })
            }
        };
        names.iter().zip(arg_types).map(coerce).collect()
    }
}

impl ScalarUDFImpl for Travel {
    fn name(&self) -> &str {
        self.kind.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> datafusion_common::Result<Vec<DataType>> {
        Ok(self.kind.coerce(arg_types)?)
    }

    fn return_type(&self, _arg_types: &[DataType]) -> datafusion_common::Result<DataType> {
        Ok(DataType::Float64)
    }

    fn invoke_with_args(
        &self,
        args: ScalarFunctionArgs,
    ) -> datafusion_common::Result<ColumnarValue> {
        over_arrays(&args.args, |arrays| match self.kind {
            Kind::Distance => {
                let [lat1, lon1, lat2, lon2] = numbers(arrays, [0, 1, 2, 3])?;
                Ok(by_row(lat1.len(), |row| {
                    distance_km(
                        (finite(&lat1, row)?, finite(&lon1, row)?),
                        (finite(&lat2, row)?, finite(&lon2, row)?),
                    )
                    .into()
                }))
            }
            Kind::Travel => {
                let [lat1, lon1, radius1, lat2, lon2, radius2] =
                    numbers(arrays, [0, 1, 2, 3, 4, 5])?;
                Ok(by_row(lat1.len(), |row| {
                    let km = distance_km(
                        (finite(&lat1, row)?, finite(&lon1, row)?),
                        (finite(&lat2, row)?, finite(&lon2, row)?),
                    );
                    Some((km - finite(&radius1, row)? - finite(&radius2, row)?).max(0.0))
                }))
            }
            Kind::Speed => {
                let [km] = numbers(arrays, [0])?;
                let (from, to) = (timestamps(arrays, 1)?, timestamps(arrays, 2)?);
                Ok(by_row(km.len(), |row| {
                    if from.is_null(row) || to.is_null(row) {
                        return None;
                    }
                    Some(speed_kmh(
                        finite(&km, row)?,
                        from.value(row).abs_diff(to.value(row)),
                    ))
                }))
            }
        })
    }
}

/// The haversine formula, which keeps its precision at short distances. `a` leaves [0, 1] by rounding
/// only, near antipodes.
fn distance_km((lat1, lon1): (f64, f64), (lat2, lon2): (f64, f64)) -> f64 {
    // Most calls of a key come from where its last one came from: no trigonometry for them.
    if lat1 == lat2 && lon1 == lon2 {
        return 0.0;
    }
    let half_chord = |degrees: f64| {
        let sine = libm::sin(degrees.to_radians() / 2.0);
        sine * sine
    };
    let cosines = libm::cos(lat1.to_radians()) * libm::cos(lat2.to_radians());
    let a = half_chord(lat2 - lat1) + cosines * half_chord(lon2 - lon1);
    2.0 * EARTH_RADIUS_KM * libm::asin(a.clamp(0.0, 1.0).sqrt())
}

/// No distance is no speed, even in no time; some distance in no time is the worst case and not a null.
fn speed_kmh(km: f64, between_ms: u64) -> f64 {
    const HOUR_MS: f64 = 3_600_000.0;
    if km <= 0.0 {
        0.0
    } else {
        km / (between_ms as f64 / HOUR_MS)
    }
}

fn numbers<const N: usize>(arrays: &[ArrayRef], indices: [usize; N]) -> Result<[Float64Array; N]> {
    let mut columns = Vec::with_capacity(N);
    for index in indices {
        let array = column(arrays, index, &DataType::Float64)?;
        columns.push(array.as_primitive::<Float64Type>().clone());
    }
    Ok(columns
        .try_into()
        .expect("one column was pushed for each index"))
}

fn finite(array: &Float64Array, row: usize) -> Option<f64> {
    (array.is_valid(row) && array.value(row).is_finite()).then(|| array.value(row))
}

fn by_row(rows: usize, value: impl Fn(usize) -> Option<f64>) -> ArrayRef {
    Arc::new((0..rows).map(value).collect::<Float64Array>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(found: f64, expected: f64, tolerance: f64) {
        assert!(
            (found - expected).abs() <= tolerance,
            "{found} is not {expected}"
        );
    }

    #[test]
    fn quarter_and_half_of_a_great_circle() {
        let quarter = EARTH_RADIUS_KM * std::f64::consts::FRAC_PI_2;
        near(distance_km((0.0, 0.0), (90.0, 0.0)), quarter, 1e-9);
        near(distance_km((0.0, 0.0), (0.0, 90.0)), quarter, 1e-9);
        near(distance_km((0.0, -90.0), (0.0, 90.0)), 2.0 * quarter, 1e-9);
        near(
            distance_km((90.0, 0.0), (-90.0, 123.0)),
            2.0 * quarter,
            1e-9,
        );
    }

    #[test]
    fn one_degree_of_the_equator_and_across_the_date_line() {
        near(distance_km((0.0, 10.0), (0.0, 11.0)), 111.195_08, 1e-4);
        near(distance_km((0.0, 179.5), (0.0, -179.5)), 111.195_08, 1e-4);
        // At 60° a degree of longitude is half as long: R · 2 asin(sin(0.5°) / 2).
        near(distance_km((60.0, 0.0), (60.0, 1.0)), 55.597_01, 2e-3);
    }

    #[test]
    fn berlin_to_sydney() {
        // 52.52 N 13.405 E to 33.8688 S 151.2093 E by the spherical law of cosines.
        let (p1, p2, dl) = (
            52.52f64.to_radians(),
            (-33.8688f64).to_radians(),
            137.8043f64,
        );
        let cosine = p1.sin() * p2.sin() + p1.cos() * p2.cos() * dl.to_radians().cos();
        let expected = EARTH_RADIUS_KM * cosine.acos();
        near(
            distance_km((52.52, 13.405), (-33.8688, 151.2093)),
            expected,
            1e-6,
        );
        near(expected, 16_094.0, 20.0);
    }

    #[test]
    fn the_same_place_is_zero_away_and_antipodes_are_no_nan() {
        for step in 0..2000 {
            let (lat, lon) = (
                f64::from(step) * 0.09 - 90.0,
                f64::from(step) * 0.18 - 180.0,
            );
            assert_eq!(distance_km((lat, lon), (lat, lon)), 0.0);
            let opposite = distance_km((lat, lon), (-lat, lon + 180.0));
            near(opposite, EARTH_RADIUS_KM * std::f64::consts::PI, 1e-3);
        }
    }

    #[test]
    fn speed_is_distance_over_absolute_time() {
        near(speed_kmh(900.0, 3_600_000), 900.0, 1e-9);
        near(speed_kmh(10.0, 60_000), 600.0, 1e-9);
        assert_eq!(speed_kmh(1.0, 0), f64::INFINITY);
        assert_eq!(speed_kmh(0.0, 0), 0.0);
        assert_eq!(speed_kmh(0.0, 1000), 0.0);
    }
}
