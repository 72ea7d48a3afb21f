//! Decimals as people and programs write them, exactly: `0.0000025`, `3e-06`, `1.5E2`.

/// A non-negative decimal: `digits` times ten to the power of `exponent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Decimal {
    digits: u128,
    exponent: i32,
}

impl Decimal {
    /// `None`: it is no number, negative, or of more digits than anything is priced with.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let text = text.trim().trim_start_matches('+').replace('_', "");
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
            None => (text.as_str(), 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let fraction = fraction.trim_end_matches('0');
        let figures = format!("{whole}{fraction}");
        let is_number = !(whole.is_empty() && fraction.is_empty()) && figures.bytes().all(|b| b.is_ascii_digit());
        // 30 digits and a hundred places are more than any price or limit has.
        if !is_number || figures.trim_start_matches('0').len() > 30 || exponent.abs() > 100 || fraction.len() > 100 {
            return None;
        }
        let digits = if figures.is_empty() { 0 } else { figures.parse().ok()? };
        let exponent = exponent.checked_sub(i32::try_from(fraction.len()).ok()?)?;
        Some(Self { digits, exponent })
    }

    /// Times ten to the power of `places`.
    pub(super) fn shifted(self, places: i32) -> Self {
        Self { exponent: self.exponent.saturating_add(places), ..self }
    }

    /// The sum; `None`: it has more digits than anything is priced with.
    pub(super) fn plus(self, other: Self) -> Option<Self> {
        let exponent = self.exponent.min(other.exponent);
        let digits = |one: Self| {
            let places = u32::try_from(one.exponent.checked_sub(exponent)?).ok()?;
            one.digits.checked_mul(10_u128.checked_pow(places)?)
        };
        Some(Self { digits: digits(self)?.checked_add(digits(other)?)?, exponent })
    }

    /// How many places it has after the point.
    pub(super) fn places(self) -> u32 {
        let mut one = self;
        while one.digits != 0 && one.digits.is_multiple_of(10) && one.exponent < 0 {
            one = Self { digits: one.digits / 10, exponent: one.exponent + 1 };
        }
        if one.digits == 0 { 0 } else { one.exponent.min(0).unsigned_abs() }
    }

    /// As an integer, rounded up; `None`: it is too large.
    pub(super) fn ceiling(self) -> Option<u64> {
        let power = |places: u32| 10_u128.checked_pow(places);
        let value = match u32::try_from(self.exponent) {
            Ok(_) if self.digits == 0 => 0,
            Ok(places) => self.digits.checked_mul(power(places)?)?,
            // Where the power is beyond counting, next to nothing is left.
            Err(_) => match power(self.exponent.unsigned_abs()) {
                Some(power) => self.digits.div_ceil(power),
                None => u128::from(self.digits > 0),
            },
        };
        u64::try_from(value).ok()
    }

    /// As an integer, where it is one.
    pub(super) fn whole(self) -> Option<u64> {
        if self.places() > 0 { None } else { self.ceiling() }
    }

    /// Written without exponent, rounded up to so many places; `None`: it is too large.
    pub(super) fn plain(self, places: u32) -> Option<String> {
        let units = self.shifted(i32::try_from(places).ok()?).ceiling()?;
        let scale = 10_u64.checked_pow(places)?;
        let (whole, fraction) = (units / scale, units % scale);
        let text = format!("{whole}.{fraction:0width$}", width = places as usize);
        Some(text.trim_end_matches('0').trim_end_matches('.').to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_of_writing_a_figure_is_the_same_figure() {
        // Dollars a token as dollars a million.
        for (text, million) in [
            ("3e-06", "3"),
            ("0.000003", "3"),
            ("2.5E-6", "2.5"),
            ("1.25e-7", "0.125"),
            ("0.00000015", "0.15"),
            ("0", "0"),
            ("0.0", "0"),
            ("7.5e-08", "0.075"),
            (".000001", "1"),
            ("1e-12", "0.000001"),
        ] {
            assert_eq!(Decimal::parse(text).unwrap().shifted(6).plain(6).as_deref(), Some(million), "{text}");
        }
        // What is finer than the gateway counts is not given away.
        assert_eq!(Decimal::parse("1.00000011e-6").unwrap().shifted(6).plain(6).as_deref(), Some("1.000001"));
        assert_eq!(Decimal::parse("1e-40").unwrap().shifted(6).plain(6).as_deref(), Some("0.000001"));
    }

    #[test]
    fn integers_are_told_from_the_rest() {
        let whole = |text: &str| Decimal::parse(text).and_then(Decimal::whole);
        assert_eq!(
            (whole("10000"), whole("1e4"), whole("10000.0"), whole("1_000")),
            (Some(10_000), Some(10_000), Some(10_000), Some(1_000))
        );
        assert_eq!((whole("1.5"), whole("1e30"), whole("1e-2")), (None, None, None));
        for bad in ["", ".", "-1", "abc", "1e", "0x10", "1.2.3", "1e999", ".inf", "nan"] {
            assert_eq!(Decimal::parse(bad), None, "{bad}");
        }
        assert_eq!(Decimal::parse("0.5").unwrap().places(), 1);
        assert_eq!(Decimal::parse("500e-3").unwrap().places(), 1);
    }
}
