//! Words of a command line, as the benches read them.

use crate::Result;

/// The word behind `option`.
///
/// # Errors
/// There is none.
pub fn value(option: &str, words: &mut impl Iterator<Item = String>) -> Result<String> {
    let value = words.next();
    Ok(value.ok_or_else(|| format!("{option} needs a value behind it"))?)
}

/// The number behind `option`, 1 at least.
///
/// # Errors
/// There is none.
pub fn number(option: &str, words: &mut impl Iterator<Item = String>) -> Result<usize> {
    let number = words.next().and_then(|text| text.parse().ok());
    let number = number.filter(|number| *number > 0);
    Ok(number.ok_or_else(|| format!("{option} needs a number, at least 1"))?)
}
