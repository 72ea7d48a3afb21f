/// The month of a time (microseconds since the epoch, UTC), counted from year 0: `year * 12 + month - 1`.
pub fn month_of(us: i64) -> i64 {
    // Days are counted from 1 March of year 0, so that the leap day ends a year.
    let days = us.div_euclid(86_400_000_000) + 719_468;
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    (era * 400 + year) * 12 + from_march + 2
}

/// A month as people write it: `2026-11`.
pub fn month_name(month: i64) -> String {
    format!("{:04}-{:02}", month.div_euclid(12), month.rem_euclid(12) + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_begins_and_ends_where_the_calendar_says() {
        let name = |seconds: i64| month_name(month_of(seconds * 1_000_000));
        assert_eq!(name(0), "1970-01");
        assert_eq!(name(-1), "1969-12");
        assert_eq!(name(951_782_399), "2000-02"); // the leap day of a century that has one
        assert_eq!(name(951_868_799), "2000-02");
        assert_eq!(name(951_868_800), "2000-03");
        assert_eq!(name(1_795_132_799), "2026-11");
        assert_eq!(name(1_798_761_599), "2026-12");
        assert_eq!(name(1_798_761_600), "2027-01");
    }
}
