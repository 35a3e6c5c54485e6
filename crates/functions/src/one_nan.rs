//! One NaN for all.

/// The value, or the one NaN.
///
/// Which of its many bit patterns a NaN has depends on the order in which the processor gets the operands,
/// and so on the order of rows and on the compiler: what is computed of floats returns and stores the same
/// one everywhere.
#[inline]
pub fn one_nan(value: f64) -> f64 {
    if value.is_nan() { f64::NAN } else { value }
}
