//! Money in LiteLLM's JSON: a number of dollars there, integer nano-dollars here, and nothing but digits in between.

use serde::{Serialize, Serializer, ser::Error};
use serde_json::value::RawValue;

/// Decimal places of a nano-dollar.
const PLACES: i64 = 9;
/// More digits or a larger exponent than this no budget has.
const MOST: i64 = 400;

/// Nano-dollars that are written as a number of dollars.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Dollars(pub(crate) i64);

impl Serialize for Dollars {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        RawValue::from_string(decimal(i128::from(self.0), PLACES as u32))
            .map_err(S::Error::custom)?
            .serialize(serializer)
    }
}

/// Pico-dollars, the unit of prices per token, written as a number of dollars.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PicoDollars(pub(crate) i64);

impl Serialize for PicoDollars {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        RawValue::from_string(decimal(i128::from(self.0), 12)).map_err(S::Error::custom)?.serialize(serializer)
    }
}

/// `units` of 10^-`places` as a decimal fraction with at least one place.
fn decimal(units: i128, places: u32) -> String {
    let (sign, size) = (if units < 0 { "-" } else { "" }, units.unsigned_abs());
    let one = 10_u128.pow(places);
    let part = format!("{:0width$}", size % one, width = places as usize);
    let part = part.trim_end_matches('0');
    format!("{sign}{}.{}", size / one, if part.is_empty() { "0" } else { part })
}

/// Reads a JSON number of dollars exactly; what is finer than a nano-dollar is rounded down, so that a budget is never larger than asked.
pub(crate) fn nano_usd(text: &str) -> Result<i64, &'static str> {
    units(text, PLACES)
}

/// The same to the pico-dollar, for prices.
pub(crate) fn pico_usd(text: &str) -> Result<i64, &'static str> {
    units(text, 12)
}

fn units(text: &str, places: i64) -> Result<i64, &'static str> {
    let form = "must be a number of dollars";
    let text = text.trim();
    if text.starts_with('-') {
        return Err("must not be negative");
    }
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().map_err(|_| form)?),
        None => (text, 0),
    };
    let (whole, part) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{part}");
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(form);
    }
    let digits = digits.trim_start_matches('0');
    if digits.is_empty() {
        return Ok(0);
    }
    let large = "is more than any budget can hold";
    let length = i64::try_from(digits.len()).map_err(|_| large)?;
    let scale = places.saturating_add(exponent).saturating_sub(i64::try_from(part.len()).map_err(|_| large)?);
    if length.saturating_add(scale) > MOST {
        return Err(large);
    }
    let kept = length.saturating_add(scale.min(0));
    let kept = usize::try_from(kept.max(0)).unwrap_or(0);
    let zeros = usize::try_from(scale.max(0)).unwrap_or(0);
    let units = format!("{}{}", &digits[..kept], "0".repeat(zeros));
    if units.is_empty() { Ok(0) } else { units.parse().map_err(|_| large) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dollars_are_read_to_the_nano_dollar_and_never_rounded_up() {
        for (text, nano) in [
            ("10", 10_000_000_000),
            ("0.1", 100_000_000),
            ("0.30000000000000004", 300_000_000),
            ("1e-9", 1),
            ("1.5E-9", 1),
            ("9e-10", 0),
            ("3e-06", 3_000),
            ("12.5e2", 1_250_000_000_000),
            ("0.0", 0),
            ("0e99999999", 0),
        ] {
            assert_eq!(nano_usd(text), Ok(nano), "{text}");
        }
        for text in ["-1", "1e400", "1e99999999999999999999", "9223372036.854775808", "\"1\"", "true", ""] {
            assert!(nano_usd(text).is_err(), "{text}");
        }
        assert_eq!(nano_usd("1e-999999999"), Ok(0));
        assert_eq!(pico_usd("1.5e-07"), Ok(150_000));
    }

    #[test]
    fn dollars_are_written_from_integers() {
        for (nano, text) in [(0, "0.0"), (1, "0.000000001"), (1_500_000_000, "1.5"), (-10, "-0.00000001")] {
            assert_eq!(serde_json::to_string(&Dollars(nano)).unwrap(), text);
        }
        assert_eq!(serde_json::to_string(&PicoDollars(150_000)).unwrap(), "0.00000015");
    }
}
