//! LiteLLM's amounts, which are floats, as integers: from the decimal text that PostgreSQL writes of them, so that no float is computed with.

use serde::{Deserialize, Deserializer, de::Error as _};
use serde_json::value::RawValue;

/// Dollars of a `double precision` column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Amount {
    /// Nano-dollars, rounded half to even.
    Nano(i64),
    /// Infinite, or beyond 64 bits: no limit.
    Unlimited,
    /// No number.
    Nothing,
}

/// Nano-dollars have nine digits behind the point of dollars.
const DIGITS: i32 = 9;
/// A billion dollars: what the contract takes.
const MOST_SPENT: i64 = 1_000_000_000_000_000_000;
/// A double has at most 17 significant digits; PostgreSQL may pad with zeros.
const MOST_DIGITS: usize = 36;

impl Amount {
    /// Reads `0.1`, `1e-06`, `Infinity`, `NaN`.
    pub(super) fn read(text: &str) -> Option<Self> {
        match text {
            "Infinity" | "-Infinity" => return Some(Self::Unlimited),
            "NaN" => return Some(Self::Nothing),
            _ => {}
        }
        let (negative, unsigned) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
        let exponent: i32 = exponent.parse().ok()?;
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits = format!("{whole}{fraction}");
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let significant = digits.trim_start_matches('0');
        let kept = significant.trim_end_matches('0');
        let dropped = i32::try_from(significant.len() - kept.len()).ok()?;
        if kept.len() > MOST_DIGITS {
            return None;
        }
        let number: i128 = if kept.is_empty() { 0 } else { kept.parse().ok()? };
        let behind = i32::try_from(fraction.len()).ok()?;
        let shift = exponent.checked_sub(behind)?.checked_add(dropped)?.checked_add(DIGITS)?;
        let Some(nano) = scaled(number, shift) else { return Some(Self::Unlimited) };
        i64::try_from(nano).map_or(Some(Self::Unlimited), |nano| Some(Self::Nano(if negative { -nano } else { nano })))
    }

    /// What was spent, as far as a budget can say it; nothing where it is no number, or less than nothing.
    pub(super) fn spent(self) -> i64 {
        match self {
            Self::Nano(nano) => nano.clamp(0, MOST_SPENT),
            Self::Unlimited => MOST_SPENT,
            Self::Nothing => 0,
        }
    }
}

/// `number` times ten to the power of `shift`, rounded half to even; `None` beyond 128 bits.
fn scaled(number: i128, shift: i32) -> Option<i128> {
    let power = 10i128.checked_pow(shift.unsigned_abs());
    if shift >= 0 {
        return if number == 0 { Some(0) } else { number.checked_mul(power?) };
    }
    // Beyond any number of so many digits.
    let Some(power) = power else { return Some(0) };
    let (quotient, rest) = (number / power, number % power);
    let up = match (rest * 2).cmp(&power) {
        std::cmp::Ordering::Less => false,
        std::cmp::Ordering::Equal => quotient % 2 == 1,
        std::cmp::Ordering::Greater => true,
    };
    Some(quotient + i128::from(up))
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        Self::read(raw.get().trim_matches('"')).ok_or_else(|| D::Error::custom("an amount is no number"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dollars_become_nano_dollars_by_their_digits() {
        for (text, nano) in [
            ("0", 0),
            ("0.0", 0),
            ("12.5", 12_500_000_000),
            ("100", 100_000_000_000),
            ("1e-06", 1_000),
            ("1.5E+2", 150_000_000_000),
            ("0.1", 100_000_000),
            ("-0.25", -250_000_000),
            ("3.0000000000000004", 3_000_000_000),
            ("0.30000000000000004", 300_000_000),
            ("1e-300", 0),
            // A half goes to the even neighbour.
            ("0.0000000005", 0),
            ("0.0000000015", 2),
            ("0.0000000025", 2),
            ("0.00000000250000001", 3),
        ] {
            assert_eq!(Amount::read(text), Some(Amount::Nano(nano)), "{text}");
        }
    }

    #[test]
    fn what_no_budget_can_be_is_told_apart() {
        for text in ["Infinity", "1e30", "9223372037", "1e300"] {
            assert_eq!(Amount::read(text), Some(Amount::Unlimited), "{text}");
        }
        assert_eq!(Amount::read("NaN"), Some(Amount::Nothing));
        let spent = ["-1", "NaN", "2", "Infinity", "5e9"].map(|text| Amount::read(text).map(Amount::spent));
        assert_eq!(spent, [Some(0), Some(0), Some(2_000_000_000), Some(MOST_SPENT), Some(MOST_SPENT)]);
        for none in ["", "a", "1.2.3", "--1", "1e", "1e99999999999", "0x10"] {
            assert_eq!(Amount::read(none), None, "{none}");
        }
    }
}
