//! What the functions about time share: the names of months and days, and moments in the form of RFC 3339.

use chrono::{DateTime, Datelike, FixedOffset, Timelike, Weekday};

use super::{Arguments, Failure};

/// A month's name, from its number.
pub(super) const fn month_name(month: u32) -> &'static str {
    match month {
        1 => "January",
        2 => "February",
        3 => "March",
        4 => "April",
        5 => "May",
        6 => "June",
        7 => "July",
        8 => "August",
        9 => "September",
        10 => "October",
        11 => "November",
        _ => "December",
    }
}

/// A day's name.
pub(super) const fn weekday_name(day: Weekday) -> &'static str {
    match day {
        Weekday::Mon => "Monday",
        Weekday::Tue => "Tuesday",
        Weekday::Wed => "Wednesday",
        Weekday::Thu => "Thursday",
        Weekday::Fri => "Friday",
        Weekday::Sat => "Saturday",
        Weekday::Sun => "Sunday",
    }
}

/// The first three letters of a name.
pub(super) fn short(name: &str) -> &str {
    name.get(..3).unwrap_or(name)
}

/// The moment that an argument is, in the form of RFC 3339 that Go reads.
pub(super) fn moment(args: &Arguments<'_>, index: usize) -> Result<DateTime<FixedOffset>, Failure> {
    let text = args.text(index);
    let moment = DateTime::parse_from_rfc3339(text).ok().filter(|moment| {
        // chrono reads more than that: small letters, other signs, leap seconds.
        text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'T' | b'Z' | b' ' | b':' | b'.' | b'+' | b'-'))
            && moment.nanosecond() < 1_000_000_000
    });
    moment.ok_or_else(|| Failure::at(index, "must be a time such as \"2026-03-02T12:00:00Z\""))
}

/// A moment in the form of RFC 3339, to the second; none if its year has more than four digits.
pub(super) fn rfc3339(moment: &DateTime<FixedOffset>) -> Option<String> {
    let local = moment.naive_local();
    let seconds = moment.offset().local_minus_utc();
    let zone = if seconds == 0 { "Z".to_owned() } else { offset(seconds, ":") };
    (0..=9999).contains(&local.year()).then(|| format!("{}{zone}", local.format("%Y-%m-%dT%H:%M:%S")))
}

/// `+02:00`, with this between hours and minutes.
pub(super) fn offset(seconds: i32, between: &str) -> String {
    let sign = if seconds < 0 { '-' } else { '+' };
    let minutes = seconds.unsigned_abs() / 60;
    format!("{sign}{:02}{between}{:02}", minutes / 60, minutes % 60)
}
