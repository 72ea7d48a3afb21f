use std::{fmt, str::FromStr};

/// An amount in nano-dollars (1e-9 USD). Integers only: money never passes through a float.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct NanoUsd(pub i64);

/// Why a decimal is not an amount.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// Not `digits[.digits]`.
    #[error("{0:?} is not a decimal amount such as 12.50")]
    NotDecimal(String),
    /// More digits after the point than the unit has.
    #[error("{0:?} is finer than the smallest unit, {1} digits after the point")]
    TooFine(String, u32),
    /// Beyond 64 bits.
    #[error("{0:?} is too large")]
    TooLarge(String),
}

/// Reads a non-negative decimal as an integer count of 10^-`digits`.
pub(crate) fn decimal(text: &str, digits: u32) -> Result<i64, MoneyError> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let all_digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !all_digits(whole) || !all_digits(fraction) || text.ends_with('.') {
        return Err(MoneyError::NotDecimal(text.into()));
    }
    let fraction = fraction.trim_end_matches('0');
    if fraction.len() > digits as usize {
        return Err(MoneyError::TooFine(text.into(), digits));
    }
    let too_large = || MoneyError::TooLarge(text.into());
    let mut value: i64 = whole.parse().map_err(|_| too_large())?;
    value = value.checked_mul(10i64.pow(digits)).ok_or_else(too_large)?;
    if !fraction.is_empty() {
        let parsed: i64 = fraction.parse().map_err(|_| too_large())?;
        let scaled = parsed * 10i64.pow(digits - fraction.len() as u32);
        value = value.checked_add(scaled).ok_or_else(too_large)?;
    }
    Ok(value)
}

impl FromStr for NanoUsd {
    type Err = MoneyError;

    /// Reads dollars: `"0.01"` is 10,000,000 nano-dollars.
    fn from_str(dollars: &str) -> Result<Self, MoneyError> {
        decimal(dollars, 9).map(Self)
    }
}

impl fmt::Display for NanoUsd {
    /// Dollars, exact: `0.000000125`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let n = self.0.unsigned_abs();
        let text = format!("{sign}{}.{:09}", n / 1_000_000_000, n % 1_000_000_000);
        f.write_str(text.trim_end_matches('0').trim_end_matches('.'))
    }
}

impl fmt::Debug for NanoUsd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "${self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dollars_are_read_and_written_exactly() {
        for (text, nano) in [("0.01", 10_000_000), ("12", 12_000_000_000), ("0.000000001", 1), ("5.50", 5_500_000_000)]
        {
            assert_eq!(text.parse::<NanoUsd>().unwrap(), NanoUsd(nano));
        }
        assert_eq!(NanoUsd(5_500_000_000).to_string(), "5.5");
        assert_eq!(NanoUsd(-1).to_string(), "-0.000000001");
        assert_eq!(NanoUsd(0).to_string(), "0");
    }

    #[test]
    fn what_is_no_amount_is_refused_with_the_reason() {
        assert!(matches!("1e3".parse::<NanoUsd>(), Err(MoneyError::NotDecimal(_))));
        assert!(matches!("-1".parse::<NanoUsd>(), Err(MoneyError::NotDecimal(_))));
        assert!(matches!("1.".parse::<NanoUsd>(), Err(MoneyError::NotDecimal(_))));
        assert!(matches!("0.0000000001".parse::<NanoUsd>(), Err(MoneyError::TooFine(..))));
        assert!(matches!("99999999999".parse::<NanoUsd>(), Err(MoneyError::TooLarge(_))));
    }
}
