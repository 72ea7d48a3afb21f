//! LiteLLM's budget durations as windows: by the calendar where it resets by the calendar, else from its next reset on.

use jiff::{Timestamp, civil::Weekday, tz::TimeZone};
use tollgate_proto::v1::{BudgetWindow, CalendarUnit, CalendarWindow, EveryWindow, budget_window};

const SECOND_US: i64 = 1_000_000;
const LEAST_SECONDS: i64 = 1;
const MOST_SECONDS: i64 = 315_360_000;

/// When the import runs, and whose midnight counts.
pub(super) struct Clock {
    pub(super) now: Timestamp,
    pub(super) zone: TimeZone,
}

/// A budget's window, and whether the one that LiteLLM counted in is over.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Turn {
    pub(super) window: Option<BudgetWindow>,
    pub(super) over: bool,
}

/// A moment as PostgreSQL writes it in JSON: without a time zone it is UTC.
pub(super) fn moment(text: &str) -> Option<Timestamp> {
    let civil = || text.parse::<jiff::civil::DateTime>().ok()?.to_zoned(TimeZone::UTC).ok().map(|z| z.timestamp());
    text.parse().ok().or_else(civil)
}

/// The window of `budget_duration`, which LiteLLM will begin anew at `reset_at`.
pub(super) fn turn(duration: Option<&str>, reset_at: Option<&str>, clock: &Clock, notes: &mut Vec<String>) -> Turn {
    let Some(duration) = duration.filter(|d| !d.is_empty()) else { return Turn::default() };
    let Some((seconds, unit)) = read(duration) else {
        notes.push(format!("budget_duration {duration:?} is none: the budget never begins anew"));
        return Turn::default();
    };
    let reset_at = reset_at.and_then(moment);
    let over = reset_at.is_some_and(|reset_at| reset_at <= clock.now);
    let by_calendar = unit.filter(|unit| reset_at.is_none_or(|at| begins(*unit, at, &clock.zone)));
    let window = match by_calendar {
        Some(unit) => {
            let time_zone = clock.zone.iana_name().filter(|name| *name != "UTC").unwrap_or_default().to_owned();
            budget_window::Window::Calendar(CalendarWindow { unit: unit as i32, time_zone })
        }
        None => {
            let fits = seconds.clamp(LEAST_SECONDS, MOST_SECONDS);
            if fits != seconds {
                notes.push(format!("budget_duration {duration:?} becomes {fits} s, the nearest there is"));
            }
            let anchor = reset_at.map(|at| tollgate_domain::timestamp(at.as_microsecond()));
            budget_window::Window::Every(EveryWindow { seconds: fits, anchor })
        }
    };
    Turn { window: Some(BudgetWindow { window: Some(window) }), over }
}

/// The length in seconds, and the unit of the calendar where there is one of that length.
fn read(duration: &str) -> Option<(i64, Option<CalendarUnit>)> {
    let at = duration.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = duration.split_at(at);
    let number: i64 = number.parse().ok().filter(|n| *n > 0)?;
    let length = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        "w" => 604_800,
        "mo" => 2_592_000,
        _ => return None,
    };
    let seconds = number.checked_mul(length)?;
    let unit = match seconds {
        3_600 => Some(CalendarUnit::Hour),
        86_400 => Some(CalendarUnit::Day),
        604_800 => Some(CalendarUnit::Week),
        2_592_000 => Some(CalendarUnit::Month),
        _ => None,
    };
    Some((seconds, unit))
}

/// Whether a unit of the calendar begins at that moment.
fn begins(unit: CalendarUnit, at: Timestamp, zone: &TimeZone) -> bool {
    let at = at.to_zoned(zone.clone());
    let hour = at.timestamp().as_microsecond().rem_euclid(SECOND_US) == 0 && at.minute() == 0 && at.second() == 0;
    let day = hour && at.hour() == 0;
    match unit {
        CalendarUnit::Hour => hour,
        CalendarUnit::Day => day,
        CalendarUnit::Week => day && at.weekday() == Weekday::Monday,
        CalendarUnit::Month => day && at.day() == 1,
        CalendarUnit::Unspecified => false,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn told(duration: &str, reset_at: Option<&str>, zone: &str) -> (String, bool) {
        let clock = Clock { now: "2026-11-20T10:00:00Z".parse().unwrap(), zone: TimeZone::get(zone).unwrap() };
        let mut notes = Vec::new();
        let turn = turn(Some(duration), reset_at, &clock, &mut notes);
        let text = match turn.window.and_then(|w| w.window) {
            None => "total".to_owned(),
            Some(budget_window::Window::Calendar(c)) => format!("{} {}", c.unit().as_str_name(), c.time_zone),
            Some(budget_window::Window::Every(e)) => {
                format!("{} from {}", e.seconds, e.anchor.map(|a| a.to_string()).unwrap_or_default())
            }
            Some(other) => panic!("{other:?}"),
        };
        (text + &notes.concat(), turn.over)
    }

    #[test]
    fn what_resets_by_the_calendar_goes_on_so() {
        for (duration, reset_at, zone, window) in [
            ("30d", Some("2026-12-01T00:00:00"), "UTC", "CALENDAR_UNIT_MONTH "),
            ("1mo", Some("2026-11-30T23:00:00"), "Europe/Berlin", "CALENDAR_UNIT_MONTH Europe/Berlin"),
            ("7d", Some("2026-11-23T00:00:00.000"), "UTC", "CALENDAR_UNIT_WEEK "),
            ("1d", Some("2026-11-21T00:00:00+00:00"), "UTC", "CALENDAR_UNIT_DAY "),
            ("24h", None, "UTC", "CALENDAR_UNIT_DAY "),
            ("30d", Some("2026-12-05T09:30:00"), "UTC", "2592000 from 2026-12-05T09:30:00Z"),
            ("7d", Some("2026-11-24T00:00:00"), "UTC", "604800 from 2026-11-24T00:00:00Z"),
            ("30m", Some("2026-11-20T10:12:00"), "UTC", "1800 from 2026-11-20T10:12:00Z"),
            ("30s", Some("2026-11-20T10:12:00"), "UTC", "30 from 2026-11-20T10:12:00Z"),
        ] {
            assert_eq!(told(duration, reset_at, zone), (window.to_owned(), false), "{duration} {reset_at:?}");
        }
        assert!(told("30d", Some("2026-11-01T00:00:00"), "UTC").1, "its window is over");
    }

    #[test]
    fn what_is_no_window_here_is_told() {
        let longest = "315360000 from budget_duration \"4000d\" becomes 315360000 s";
        assert!(told("4000d", None, "UTC").0.starts_with(longest));
        for none in ["month", "0d", "d", "-1d", "1y", "99999999999999999999d"] {
            assert!(told(none, None, "UTC").0.starts_with("totalbudget_duration"), "{none}");
        }
    }
}
