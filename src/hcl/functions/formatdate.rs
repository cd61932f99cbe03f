//! `formatdate`: a moment in a form that its sequences of letters describe, such as `DD MMM YYYY hh:mm ZZZ`.

use chrono::{DateTime, Datelike, FixedOffset, Timelike};

use super::{Answer, Arguments, Failure, Function, Parameter, calendar};

pub const FUNCTIONS: &[Function] = &[Function {
    name: "formatdate",
    parameters: &[Parameter::Text, Parameter::Text],
    rest: None,
    moves_only: false,
    body: format_date,
}];

fn format_date(args: &Arguments<'_>) -> Answer {
    let moment = calendar::moment(args, 1)?;
    let form = args.text(0);
    // `Z` becomes `+05:30`; nothing else grows so much.
    args.room(form.len().saturating_mul(6))?;
    let mut text = String::new();
    let mut rest = form;
    while let Some(first) = rest.chars().next() {
        let after = rest.trim_start_matches(first);
        if first == '\'' {
            rest = literal(&mut text, rest).ok_or_else(|| Failure::at(0, "has a `'` that is not closed"))?;
        } else if first.is_ascii_alphabetic() {
            let length = rest.len() - after.len();
            let written = sequence(&moment, first, length).ok_or_else(|| {
                let at = form.len() - rest.len() + 1;
                let message = "has letters that stand for nothing; put plain text between `'`";
                Failure::at(0, format!("{message} (byte {at})"))
            })?;
            text.push_str(&written);
            rest = after;
        } else {
            text.push_str(rest.get(..rest.len() - after.len()).unwrap_or_default());
            rest = after;
        }
    }
    Ok(text.into())
}

/// Writes what stands between single quotes; two of them within are one. Answers with what follows.
fn literal<'a>(text: &mut String, quoted: &'a str) -> Option<&'a str> {
    let mut rest = quoted.strip_prefix('\'')?;
    loop {
        let (content, after) = rest.split_once('\'')?;
        text.push_str(content);
        match after.strip_prefix('\'') {
            Some(after) => {
                text.push('\'');
                rest = after;
            }
            None => return Some(after),
        }
    }
}

/// What so many of a letter stand for.
fn sequence(moment: &DateTime<FixedOffset>, letter: char, length: usize) -> Option<String> {
    let month = calendar::month_name(moment.month());
    let day = calendar::weekday_name(moment.weekday());
    let (is_afternoon, hour12) = moment.hour12();
    let zone = moment.offset().local_minus_utc();
    let written = match (letter, length) {
        ('Y', 4) => format!("{:04}", moment.year()),
        ('Y', 2) => format!("{:02}", moment.year().rem_euclid(100)),
        ('M', 4) => month.to_owned(),
        ('M', 3) => calendar::short(month).to_owned(),
        ('E', 4) => day.to_owned(),
        ('E', 3) => calendar::short(day).to_owned(),
        ('A', 2) => if is_afternoon { "PM" } else { "AM" }.to_owned(),
        ('a', 2) => if is_afternoon { "pm" } else { "am" }.to_owned(),
        ('Z', 1) if zone == 0 => "Z".to_owned(),
        ('Z', 3) if zone == 0 => "UTC".to_owned(),
        ('Z', 3 | 4) => calendar::offset(zone, ""),
        ('Z', 1 | 5) => calendar::offset(zone, ":"),
        (_, 1 | 2) => {
            let number = match letter {
                'M' => moment.month(),
                'D' => moment.day(),
                'h' => moment.hour(),
                'H' => hour12,
                'm' => moment.minute(),
                's' => moment.second(),
                _ => return None,
            };
            format!("{number:0length$}")
        }
        _ => return None,
    };
    Some(written)
}

#[cfg(test)]
mod tests {
    use crate::hcl::testing::shown;

    #[test]
    fn moments_are_written_as_their_form_says() {
        for (form, moment, expected) in [
            ("DD MMM YYYY hh:mm ZZZ", "2018-01-02T23:12:01Z", "02 Jan 2018 23:12 UTC"),
            ("EEEE, DD-MMM-YY hh:mm:ss ZZZ", "2018-01-02T23:12:01Z", "Tuesday, 02-Jan-18 23:12:01 UTC"),
            ("EEE, DD MMM YYYY hh:mm:ss ZZZ", "2018-01-02T23:12:01-08:00", "Tue, 02 Jan 2018 23:12:01 -0800"),
            ("MMM DD, YYYY", "2018-01-02T23:12:01Z", "Jan 02, 2018"),
            ("HH:mmaa", "2018-01-02T23:12:01Z", "11:12pm"),
            ("H AA", "2018-01-02T00:12:01Z", "12 AM"),
            ("H AA", "2018-01-02T12:12:01Z", "12 PM"),
            ("M/D h:m:s", "2018-01-02T03:04:05Z", "1/2 3:4:5"),
            ("MMMM MM", "2018-09-02T03:04:05Z", "September 09"),
            ("YYYY YY", "0007-09-02T03:04:05Z", "0007 07"),
            ("Z ZZZ ZZZZ ZZZZZ", "2018-01-02T03:04:05Z", "Z UTC +0000 +00:00"),
            ("Z ZZZ ZZZZ ZZZZZ", "2018-01-02T03:04:05+05:30", "+05:30 +0530 +0530 +05:30"),
            ("h 'o''clock' '' ''''", "2018-01-02T03:04:05Z", "3 o'clock  '"),
            ("YYYYMMDD'T'hhmmss", "2018-01-02T03:04:05.999Z", "20180102T030405"),
            ("-- é ::", "2018-01-02T03:04:05Z", "-- é ::"),
            ("", "2018-01-02T03:04:05Z", ""),
        ] {
            assert_eq!(
                shown(&format!("formatdate(\"{form}\", \"{moment}\")")),
                format!("\"{expected}\""),
                "{form}"
            );
        }
        assert_eq!(shown(r#"formatdate("YYYY", timestamp())"#), r#""2026""#);
    }

    #[test]
    fn what_stands_for_nothing_is_refused() {
        for (form, at) in [
            ("YYY", 1),
            ("DDD", 1),
            ("hh:q", 4),
            ("X", 1),
            ("A", 1),
            ("ZZ", 1),
            ("ZZZZZZ", 1),
            ("MMMMM", 1),
            ("EE", 1),
        ] {
            assert_eq!(
                shown(&format!("formatdate(\"{form}\", \"2018-01-02T23:12:01Z\")")),
                format!(
                    "error: argument 1 of `formatdate` has letters that stand for nothing; put plain text between `'` (byte {at})"
                )
            );
        }
        assert_eq!(
            shown(r#"formatdate("'x", "2018-01-02T23:12:01Z")"#),
            "error: argument 1 of `formatdate` has a `'` that is not closed"
        );
    }

    #[test]
    fn what_is_no_moment_is_refused() {
        for moment in [
            "",
            "2018-01-02",
            "2018-01-02T23:12:01",
            "2018-02-30T00:00:00Z",
            "2018-01-02T24:00:00Z",
            "2018-01-02T23:59:60Z",
            "2018-01-02t23:12:01z",
            "2018-01-02T23:12:01\u{2212}08:00",
            "+12018-01-02T23:12:01Z",
            "12018-01-02T23:12:01Z",
        ] {
            assert_eq!(
                shown(&format!("formatdate(\"YYYY\", \"{moment}\")")),
                "error: argument 2 of `formatdate` must be a time such as \"2026-03-02T12:00:00Z\"",
                "{moment}"
            );
        }
    }
}
