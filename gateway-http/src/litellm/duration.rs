//! LiteLLM's durations, `30s`, `5m`, `2h`, `30d`, `2w`, `1mo`, and the windows of budgets that they mean.

use tollgate_proto::v1::{BudgetWindow, CalendarUnit, CalendarWindow, EveryWindow, budget_window::Window};

const FORM: &str = "must be a number and a unit: s, m, h, d, w or mo, as in 30d";
const DAY: i64 = 86_400;
/// Unit, seconds; the longest that divides a length is the one it is written in.
const UNITS: [(&str, i64); 6] = [("mo", 30 * DAY), ("w", 7 * DAY), ("d", DAY), ("h", 3_600), ("m", 60), ("s", 1)];

/// Seconds of a duration.
pub(crate) fn seconds(text: &str) -> Result<i64, &'static str> {
    let text = text.trim();
    let split = text.find(|c: char| !c.is_ascii_digit()).ok_or(FORM)?;
    let (count, unit) = text.split_at(split);
    let count: i64 = count.parse().map_err(|_| FORM)?;
    let (_, length) = UNITS.iter().find(|(name, _)| *name == unit).ok_or(FORM)?;
    count.checked_mul(*length).filter(|seconds| (1..=3_650 * DAY).contains(seconds)).ok_or("must be 1 s to 3650 d")
}

/// The window of a budget. Hours, days, weeks and months begin with the clock and the calendar (UTC), as LiteLLM resets them; other lengths
/// follow one another from the moment that the budget is made.
pub(crate) fn window(text: &str) -> Result<BudgetWindow, &'static str> {
    let seconds = seconds(text)?;
    let unit = match seconds {
        3_600 => Some(CalendarUnit::Hour),
        DAY => Some(CalendarUnit::Day),
        _ if seconds == 7 * DAY => Some(CalendarUnit::Week),
        _ if seconds == 30 * DAY => Some(CalendarUnit::Month),
        _ => None,
    };
    let window = match unit {
        Some(unit) => Window::Calendar(CalendarWindow { unit: unit as i32, time_zone: String::new() }),
        None => Window::Every(EveryWindow { seconds, anchor: None }),
    };
    Ok(BudgetWindow { window: Some(window) })
}

/// The same as text; `None` for a budget that never begins anew.
pub(crate) fn told(window: Option<&BudgetWindow>) -> Option<String> {
    let seconds = match window?.window.as_ref()? {
        Window::Calendar(calendar) => match calendar.unit() {
            CalendarUnit::Hour => 3_600,
            CalendarUnit::Day => DAY,
            CalendarUnit::Week => 7 * DAY,
            CalendarUnit::Month => 30 * DAY,
            CalendarUnit::Unspecified => return None,
        },
        Window::Every(every) => every.seconds,
        Window::Rolling(rolling) => rolling.seconds,
    };
    // Weeks and months are told in days, as most configurations write them.
    let (unit, length) = UNITS[2..].iter().find(|(_, length)| seconds % length == 0)?;
    Some(format!("{}{unit}", seconds / length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_told() {
        for (text, length) in
            [("2s", 2), ("5m", 300), ("1h", 3_600), ("30d", 30 * DAY), ("1w", 7 * DAY), ("1mo", 30 * DAY)]
        {
            assert_eq!(seconds(text), Ok(length), "{text}");
        }
        for text in ["", "d", "30", "1y", "-1d", "0s", "99999999999999999999d", "4000d", "1.5h"] {
            assert!(seconds(text).is_err(), "{text}");
        }
        for text in ["2s", "5m", "1h", "12h", "1d", "7d", "30d", "90d"] {
            assert_eq!(told(Some(&window(text).unwrap())).as_deref(), Some(text));
        }
        assert_eq!(told(Some(&window("1mo").unwrap())).as_deref(), Some("30d"));
    }
}
