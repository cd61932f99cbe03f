//! Writes a moment in the way Go's time layouts describe it (`2006-01-02T15:04:05Z07:00`), or `strftime`'s (`%Y-%m-%d`),
//! always in UTC.

use chrono::{DateTime, Datelike, Timelike, Utc};

use super::calendar;

/// RFC 3339, what is written without a layout.
pub const RFC3339: &str = "2006-01-02T15:04:05Z07:00";

/// The pieces of a layout that stand for something, longer ones before those they begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Piece {
    LongMonth,
    Month,
    NumberMonth,
    ZeroMonth,
    LongWeekday,
    Weekday,
    Day,
    SpaceDay,
    ZeroDay,
    SpaceYearDay,
    ZeroYearDay,
    Hour,
    Hour12,
    ZeroHour12,
    Minute,
    ZeroMinute,
    Second,
    ZeroSecond,
    LongYear,
    Year,
    UpperHalf,
    LowerHalf,
    ZoneName,
    ZoneLetter,
    Offset(&'static str),
    /// The separator, the number of digits, and whether trailing zeros are kept.
    Fraction(char, usize, bool),
}

/// `moment` in this layout.
pub fn format(moment: &DateTime<Utc>, layout: &str) -> String {
    let mut text = String::with_capacity(layout.len() + 8);
    let mut rest = layout;
    while let Some(first) = rest.chars().next() {
        match next_piece(rest) {
            Some((piece, length)) => {
                write(&mut text, moment, piece);
                rest = rest.get(length..).unwrap_or_default();
            }
            // `_2006` is an underscore and a year, not a padded day and `006`.
            None => {
                text.push(first);
                rest = rest.get(first.len_utf8()..).unwrap_or_default();
            }
        }
    }
    text
}

/// `moment` with `%Y` and its like replaced. What Packer does not know stays as it stands.
pub fn strftime(moment: &DateTime<Utc>, template: &str) -> String {
    let mut text = String::with_capacity(template.len() + 8);
    let mut rest = template;
    while let Some(at) = rest.find('%') {
        text.push_str(&rest[..at]);
        let mut after = rest[at + 1..].chars();
        let Some(verb) = after.next() else {
            text.push('%');
            return text;
        };
        let layout = match verb {
            'A' => "Monday",
            'a' => "Mon",
            'B' => "January",
            'b' | 'h' => "Jan",
            'd' => "02",
            'e' => "_2",
            'F' => "2006-01-02",
            'H' => "15",
            'I' => "03",
            'j' => "002",
            'L' => ".000",
            'M' => "04",
            'm' => "01",
            'p' => "PM",
            'R' => "15:04",
            'S' => "05",
            'T' => "15:04:05",
            'Y' => "2006",
            'y' => "06",
            'Z' => "MST",
            'z' => "-0700",
            _ => "",
        };
        match (verb, layout) {
            ('%', _) => text.push('%'),
            ('s', _) => text.push_str(&moment.timestamp().to_string()),
            (other, "") => text.extend(['%', other]),
            (_, layout) => text.push_str(&format(moment, layout)),
        }
        rest = after.as_str();
    }
    text + rest
}

/// The piece that the text begins with, and its length.
fn next_piece(rest: &str) -> Option<(Piece, usize)> {
    const FIXED: [(&str, Piece); 33] = [
        ("January", Piece::LongMonth),
        ("Monday", Piece::LongWeekday),
        ("MST", Piece::ZoneName),
        ("002", Piece::ZeroYearDay),
        ("01", Piece::ZeroMonth),
        ("02", Piece::ZeroDay),
        ("03", Piece::ZeroHour12),
        ("04", Piece::ZeroMinute),
        ("05", Piece::ZeroSecond),
        ("06", Piece::Year),
        ("15", Piece::Hour),
        ("1", Piece::NumberMonth),
        ("2006", Piece::LongYear),
        ("2", Piece::Day),
        ("__2", Piece::SpaceYearDay),
        ("_2", Piece::SpaceDay),
        ("3", Piece::Hour12),
        ("4", Piece::Minute),
        ("5", Piece::Second),
        ("PM", Piece::UpperHalf),
        ("pm", Piece::LowerHalf),
        ("-070000", Piece::Offset("+000000")),
        ("-07:00:00", Piece::Offset("+00:00:00")),
        ("-0700", Piece::Offset("+0000")),
        ("-07:00", Piece::Offset("+00:00")),
        ("-07", Piece::Offset("+00")),
        ("Z070000", Piece::ZoneLetter),
        ("Z07:00:00", Piece::ZoneLetter),
        ("Z0700", Piece::ZoneLetter),
        ("Z07:00", Piece::ZoneLetter),
        ("Z07", Piece::ZoneLetter),
        ("Jan", Piece::Month),
        ("Mon", Piece::Weekday),
    ];
    if rest.starts_with("_2006") {
        return None;
    }
    for (word, piece) in FIXED {
        if let Some(after) = rest.strip_prefix(word) {
            // `Jan` and `Mon` inside a longer word (`Janitor`) are plain text.
            let is_word_part = matches!(piece, Piece::Month | Piece::Weekday)
                && after.chars().next().is_some_and(|c| c.is_ascii_lowercase());
            if !is_word_part {
                return Some((piece, word.len()));
            }
        }
    }
    fraction(rest)
}

fn fraction(rest: &str) -> Option<(Piece, usize)> {
    let separator = rest.chars().next().filter(|c| matches!(c, '.' | ','))?;
    let behind = rest.strip_prefix(separator)?;
    let digit = behind.chars().next().filter(|c| matches!(c, '0' | '9'))?;
    let after = behind.trim_start_matches(digit);
    if after.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let digits = behind.len() - after.len();
    Some((Piece::Fraction(separator, digits, digit == '0'), 1 + digits))
}

fn write(text: &mut String, moment: &DateTime<Utc>, piece: Piece) {
    let month = calendar::month_name(moment.month());
    let day = calendar::weekday_name(moment.weekday());
    let (is_afternoon, hour12) = moment.hour12();
    let piece_text = match piece {
        Piece::LongMonth => month.to_owned(),
        Piece::Month => calendar::short(month).to_owned(),
        Piece::NumberMonth => moment.month().to_string(),
        Piece::ZeroMonth => format!("{:02}", moment.month()),
        Piece::LongWeekday => day.to_owned(),
        Piece::Weekday => calendar::short(day).to_owned(),
        Piece::Day => moment.day().to_string(),
        Piece::SpaceDay => format!("{:2}", moment.day()),
        Piece::ZeroDay => format!("{:02}", moment.day()),
        Piece::SpaceYearDay => format!("{:3}", moment.ordinal()),
        Piece::ZeroYearDay => format!("{:03}", moment.ordinal()),
        Piece::Hour => format!("{:02}", moment.hour()),
        Piece::Hour12 => hour12.to_string(),
        Piece::ZeroHour12 => format!("{hour12:02}"),
        Piece::Minute => moment.minute().to_string(),
        Piece::ZeroMinute => format!("{:02}", moment.minute()),
        Piece::Second => moment.second().to_string(),
        Piece::ZeroSecond => format!("{:02}", moment.second()),
        Piece::LongYear => format!("{:04}", moment.year()),
        Piece::Year => format!("{:02}", moment.year().rem_euclid(100)),
        Piece::UpperHalf => if is_afternoon { "PM" } else { "AM" }.to_owned(),
        Piece::LowerHalf => if is_afternoon { "pm" } else { "am" }.to_owned(),
        Piece::ZoneName => "UTC".to_owned(),
        Piece::ZoneLetter => "Z".to_owned(),
        Piece::Offset(offset) => offset.to_owned(),
        Piece::Fraction(separator, digits, keeps_zeros) => {
            let nanos = format!("{:09}", moment.nanosecond() % 1_000_000_000);
            let mut shown: String = nanos.chars().chain(std::iter::repeat('0')).take(digits).collect();
            if !keeps_zeros {
                shown.truncate(shown.trim_end_matches('0').len());
            }
            if shown.is_empty() { String::new() } else { format!("{separator}{shown}") }
        }
    };
    text.push_str(&piece_text);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn moment() -> DateTime<Utc> {
        DateTime::parse_from_rfc3339("2026-02-03T16:05:09.120340+00:00").unwrap().to_utc()
    }

    #[test]
    fn layouts_are_written_as_go_writes_them() {
        for (layout, expected) in [
            (RFC3339, "2026-02-03T16:05:09Z"),
            ("20060102-150405", "20260203-160509"),
            ("Mon Jan _2 15:04:05 2006", "Tue Feb  3 16:05:09 2026"),
            ("Monday, 02-Jan-06 15:04:05 MST", "Tuesday, 03-Feb-26 16:05:09 UTC"),
            ("Mon, 02 Jan 2006 15:04:05 -0700", "Tue, 03 Feb 2026 16:05:09 +0000"),
            ("2006-01-02T15:04:05.999999999Z07:00", "2026-02-03T16:05:09.12034Z"),
            ("05.000", "09.120"),
            ("05,00", "09,12"),
            ("3:04PM", "4:05PM"),
            ("03h4m5s pm", "04h5m9s pm"),
            ("January 2, 2006 (day 002, __2)", "February 3, 2026 (day 034,  34)"),
            ("image_2006", "image_2026"),
            ("Janitor", "Janitor"),
            ("Mond", "Mond"),
            ("v1.2", "v2.3"),
            ("-07:00 -07 -070000 -07:00:00 Z0700", "+00:00 +00 +000000 +00:00:00 Z"),
            ("é06", "é26"),
            ("", ""),
        ] {
            assert_eq!(format(&moment(), layout), expected, "{layout}");
        }
    }

    #[test]
    fn strftime_is_written_as_packer_writes_it() {
        for (template, expected) in [
            ("%Y-%m-%d", "2026-02-03"),
            ("%Y%m%d%H%M%S", "20260203160509"),
            ("%a %A %b %B %y %p %I", "Tue Tuesday Feb February 26 PM 04"),
            ("%F %T %R %j %e %s %Z %z %L", "2026-02-03 16:05:09 16:05 034  3 1770134709 UTC +0000 .120"),
            ("2006-01-02 é%d", "2006-01-02 é03"),
            ("100%% %Q %é %", "100% %Q %é %"),
            ("", ""),
        ] {
            assert_eq!(strftime(&moment(), template), expected, "{template}");
        }
    }

    proptest! {
        #[test]
        fn no_layout_panics(layout in ".*", seconds in -60_000_000_000_i64..60_000_000_000) {
            if let Some(moment) = DateTime::from_timestamp(seconds, 0) {
                let _ = format(&moment, &layout);
                let _ = strftime(&moment, &format!("%{layout}"));
            }
        }
    }
}
