//! Money as people write it: dollars with up to nine decimals, kept in nano-dollars.

/// Reads `12.50`, `$12.50` or `0.000000001`.
pub(crate) fn parse(text: &str) -> Result<i64, String> {
    let wrong = || format!("{text:?} is no amount in dollars, as in 12.50");
    let number = text.trim().trim_start_matches('$');
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) || fraction.len() > 9 {
        return Err(wrong());
    }
    let whole: i64 = whole.parse().map_err(|_| wrong())?;
    let fraction: i64 = format!("{fraction:0<9}").parse().map_err(|_| wrong())?;
    whole.checked_mul(1_000_000_000).and_then(|nano| nano.checked_add(fraction)).ok_or_else(wrong)
}

/// Reads an amount that may be below zero: `-0.25`.
pub(crate) fn signed(text: &str) -> Result<i64, String> {
    match text.trim().strip_prefix('-') {
        Some(amount) => parse(amount).map(|nano| -nano),
        None => parse(text),
    }
}

/// Writes nano-dollars: at least two decimals, as many as there are.
pub(crate) fn dollars(nano: i64) -> String {
    let sign = if nano < 0 { "-" } else { "" };
    let nano = nano.unsigned_abs();
    let fraction = format!("{:09}", nano % 1_000_000_000);
    let kept = fraction.trim_end_matches('0').len().max(2);
    format!("{sign}${}.{}", nano / 1_000_000_000, &fraction[..kept])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dollars_are_read_and_written_without_floats() {
        for (text, nano, written) in [
            ("12.50", 12_500_000_000, "$12.50"),
            ("$3", 3_000_000_000, "$3.00"),
            ("0.000000001", 1, "$0.000000001"),
            ("9223372036.854775807", i64::MAX, "$9223372036.854775807"),
        ] {
            assert_eq!(parse(text), Ok(nano));
            assert_eq!(signed(&format!("-{text}")), Ok(-nano));
            assert_eq!(dollars(nano), written);
        }
        assert_eq!(dollars(-1_500_000_000), "-$1.50");
        for wrong in ["", "-1", "1e3", "1.0000000001", "9223372036.854775808", "1,5", "."] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
