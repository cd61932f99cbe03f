//! Moments: now, the beginning, what is some time later, and what a moment's parts are. How moments are written is for
//! [`formatdate`](super::formatdate) and [`layout`].

use std::collections::BTreeMap;

use chrono::{DateTime, Datelike, FixedOffset, TimeDelta, Timelike, Utc};

use super::{Answer, Arguments, Failure, Function, Parameter, calendar, layout};
use crate::hcl::Value;

pub const FUNCTIONS: &[Function] = &[
    Function {
        name: "legacy_isotime",
        parameters: &[],
        rest: Some(Parameter::Text),
        moves_only: false,
        body: |args| legacy(args, layout::format),
    },
    Function {
        name: "legacy_strftime",
        parameters: &[],
        rest: Some(Parameter::Text),
        moves_only: false,
        body: |args| legacy(args, layout::strftime),
    },
    Function {
        name: "rfc3339_parse",
        parameters: &[Parameter::Text],
        rest: None,
        moves_only: false,
        body: |args| {
            let moment = calendar::moment(args, 0)?;
            let mut parts = parts(&moment);
            parts.insert("unix".to_owned(), moment.timestamp().into());
            Ok(Value::object(parts))
        },
    },
    Function {
        name: "timeadd",
        parameters: &[Parameter::Text, Parameter::Text],
        rest: None,
        moves_only: false,
        body: time_add,
    },
    Function {
        name: "timestamp",
        parameters: &[],
        rest: None,
        moves_only: false,
        body: |args| Ok(layout::format(&args.host.now(), layout::RFC3339).into()),
    },
    Function {
        name: "unix_timestamp_parse",
        parameters: &[Parameter::Number],
        rest: None,
        moves_only: false,
        body: |args| {
            let moment = DateTime::from_timestamp(args.whole(0)?, 0).map(|moment| moment.fixed_offset());
            let written = moment.as_ref().and_then(|moment| Some((moment, calendar::rfc3339(moment)?)));
            let Some((moment, text)) = written else {
                return Err(Failure::at(0, "is outside of the years 0 to 9999"));
            };
            let mut parts = parts(moment);
            parts.insert("rfc3339".to_owned(), text.into());
            Ok(Value::object(parts))
        },
    },
];

fn parts(moment: &DateTime<FixedOffset>) -> BTreeMap<String, Value> {
    let week = moment.iso_week();
    let parts: [(&str, Value); 12] = [
        ("year", i64::from(moment.year()).into()),
        ("year_day", i64::from(moment.ordinal()).into()),
        ("month", i64::from(moment.month()).into()),
        ("month_name", calendar::month_name(moment.month()).into()),
        ("day", i64::from(moment.day()).into()),
        ("weekday", i64::from(moment.weekday().num_days_from_sunday()).into()),
        ("weekday_name", calendar::weekday_name(moment.weekday()).into()),
        ("hour", i64::from(moment.hour()).into()),
        ("minute", i64::from(moment.minute()).into()),
        ("second", i64::from(moment.second()).into()),
        ("iso_year", i64::from(week.year()).into()),
        ("iso_week", i64::from(week.week()).into()),
    ];
    parts.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// The moment at which everything began, in the form that the only argument describes.
fn legacy(args: &Arguments<'_>, format: fn(&DateTime<Utc>, &str) -> String) -> Answer {
    let moment = args.host.started();
    match args.len() {
        0 => Ok(layout::format(&moment, layout::RFC3339).into()),
        1 => {
            // `%A` becomes `Wednesday`, the longest there is for its length.
            args.room(args.text(0).len().saturating_mul(5))?;
            Ok(format(&moment, args.text(0)).into())
        }
        many => Err(format!("takes no argument or one, not {many}").into()),
    }
}

fn time_add(args: &Arguments<'_>) -> Answer {
    let moment = calendar::moment(args, 0)?;
    let wrong = || Failure::at(1, "must be a duration such as \"1h30m\" or \"-10s\", of at most 292 years");
    let nanoseconds = duration(args.text(1)).ok_or_else(wrong)?;
    let later = moment.checked_add_signed(TimeDelta::nanoseconds(nanoseconds));
    let written = later.as_ref().and_then(calendar::rfc3339);
    written.map(Into::into).ok_or_else(|| "the answer is outside of the years 0 to 9999".into())
}

/// The nanoseconds of a duration as Go writes it: numbers with units, and perhaps a sign before them.
fn duration(text: &str) -> Option<i64> {
    const UNITS: [(&str, i128); 8] = [
        ("ns", 1),
        ("us", 1_000),
        ("\u{b5}s", 1_000),
        ("\u{3bc}s", 1_000),
        ("ms", 1_000_000),
        ("s", 1_000_000_000),
        ("m", 60_000_000_000),
        ("h", 3_600_000_000_000),
    ];
    let (is_negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut sum: i128 = 0;
    while !rest.is_empty() {
        let after_whole = rest.trim_start_matches(|c: char| c.is_ascii_digit());
        let whole = rest.strip_suffix(after_whole)?;
        let after_point = after_whole.strip_prefix('.').unwrap_or(after_whole);
        let after_number = match after_whole.starts_with('.') {
            true => after_point.trim_start_matches(|c: char| c.is_ascii_digit()),
            false => after_whole,
        };
        let decimals = after_point.strip_suffix(after_number)?;
        if whole.is_empty() && decimals.is_empty() {
            return None;
        }
        let unit = after_number.split(|c: char| c.is_ascii_digit() || c == '.').next()?;
        let (_, size) = UNITS.into_iter().find(|(name, _)| *name == unit)?;
        rest = after_number.strip_prefix(unit)?;

        let whole: i128 = if whole.is_empty() { 0 } else { i128::from(whole.parse::<i64>().ok()?) };
        // What is behind the 18th decimal is less than a nanosecond.
        let decimals = decimals.get(..18).unwrap_or(decimals);
        let part: i128 = if decimals.is_empty() { 0 } else { decimals.parse().ok()? };
        let scale = 10_i128.checked_pow(u32::try_from(decimals.len()).ok()?)?;
        sum += whole * size + part * size / scale;
        // A sum of so much cannot overflow.
        i64::try_from(sum).ok()?;
    }
    i64::try_from(if is_negative { -sum } else { sum }).ok()
}

#[cfg(test)]
mod tests {
    use crate::hcl::testing::shown;

    #[test]
    fn times_are_added() {
        for (moment, duration, expected) in [
            ("2017-11-22T00:00:00Z", "10m", "2017-11-22T00:10:00Z"),
            ("2017-11-22T00:00:00Z", "-10m", "2017-11-21T23:50:00Z"),
            ("2017-11-22T00:00:00Z", "+1h30m5s", "2017-11-22T01:30:05Z"),
            ("2017-11-22T00:00:00+02:00", "24h", "2017-11-23T00:00:00+02:00"),
            ("2017-11-22T00:00:00-08:30", "0", "2017-11-22T00:00:00-08:30"),
            ("2017-11-22 00:00:00Z", "1.5h", "2017-11-22T01:30:00Z"),
            ("2017-11-22T00:00:00Z", ".5m", "2017-11-22T00:00:30Z"),
            ("2017-11-22T00:00:00Z", "1.m", "2017-11-22T00:01:00Z"),
            ("2017-11-22T00:00:00Z", "1500ms", "2017-11-22T00:00:01Z"),
            ("2017-11-22T00:00:00.9Z", "100000us", "2017-11-22T00:00:01Z"),
            ("2017-11-22T00:00:00.9Z", "100000µs", "2017-11-22T00:00:01Z"),
            ("2017-11-22T00:00:00Z", "-1ns", "2017-11-21T23:59:59Z"),
            ("2017-11-22T00:00:00Z", "0.9999999999999999999999999s", "2017-11-22T00:00:00Z"),
            ("2016-12-31T23:59:59Z", "1s", "2017-01-01T00:00:00Z"),
            ("2017-11-22T00:00:00Z", "-2562047h", "1725-08-13T01:00:00Z"),
        ] {
            assert_eq!(
                shown(&format!("timeadd(\"{moment}\", \"{duration}\")")),
                format!("\"{expected}\""),
                "{moment} {duration}"
            );
        }
    }

    #[test]
    fn durations_that_are_none_are_refused() {
        for duration in [
            "",
            "-",
            "10",
            "h",
            ".",
            ".h",
            "1x",
            "1 h",
            "1h 2m",
            "1h-2m",
            "--1h",
            "1d",
            "9999999999h",
            "99999999999999999999s",
            "1.2.3s",
            "é",
        ] {
            assert_eq!(
                shown(&format!("timeadd(\"2017-11-22T00:00:00Z\", \"{duration}\")")),
                "error: argument 2 of `timeadd` must be a duration such as \"1h30m\" or \"-10s\", of at most 292 years",
                "{duration}"
            );
        }
        assert_eq!(
            shown(r#"timeadd("now", "1h")"#),
            "error: argument 1 of `timeadd` must be a time such as \"2026-03-02T12:00:00Z\""
        );
        for (moment, duration) in [
            ("9999-12-31T23:59:59Z", "1s"),
            ("0000-01-01T00:00:00Z", "-1s"),
            ("9999-12-31T23:59:59Z", "2562047h"),
        ] {
            assert_eq!(
                shown(&format!("timeadd(\"{moment}\", \"{duration}\")")),
                "error: `timeadd`: the answer is outside of the years 0 to 9999"
            );
        }
    }

    #[test]
    fn the_time_is_the_hosts() {
        assert_eq!(shown("timestamp()"), r#""2026-03-02T12:00:00Z""#);
        assert_eq!(shown("legacy_isotime()"), r#""2026-03-02T12:00:00Z""#);
        assert_eq!(shown("legacy_strftime()"), r#""2026-03-02T12:00:00Z""#);
        assert_eq!(shown(r#"legacy_isotime("Jan-_2-2006 150405")"#), r#""Mar- 2-2026 120000""#);
        assert_eq!(
            shown(r#"legacy_isotime("2006", "01")"#),
            "error: `legacy_isotime`: takes no argument or one, not 2"
        );
    }

    #[test]
    fn forms_of_c_are_written() {
        for (form, expected) in [
            ("%Y-%m-%d %H:%M:%S", "2026-03-02 12:00:00"),
            ("%a %A %b %B %d %j", "Mon Monday Mar March 02 061"),
            ("%I %p %y %Z %z%L", "12 PM 26 UTC +0000.000"),
            ("2006 %% %Q %é %", "2006 % %Q %é %"),
            ("", ""),
        ] {
            assert_eq!(shown(&format!("legacy_strftime(\"{}\")", form)), format!("\"{expected}\""));
        }
    }

    #[test]
    fn moments_have_parts() {
        let parts =
            r#""day":25,"hour":23,"iso_week":30,"iso_year":2023,"minute":43,"month":7,"month_name":"July""#;
        let more = r#""weekday":2,"weekday_name":"Tuesday","year":2023,"year_day":206"#;
        let parsed = format!(r#"{{{parts},"second":16,"unix":1690328596,{more}}}"#);
        assert_eq!(shown(r#"rfc3339_parse("2023-07-25T23:43:16Z")"#), parsed);
        assert_eq!(shown(r#"rfc3339_parse("2023-07-25 23:43:16.5Z")"#), parsed);
        assert_eq!(
            shown("unix_timestamp_parse(1690328596)"),
            format!(r#"{{{parts},"rfc3339":"2023-07-25T23:43:16Z","second":16,{more}}}"#)
        );
        for (expression, expected) in [
            // The parts are those of the moment's own zone.
            (r#"rfc3339_parse("2023-07-25T23:43:16-05:00").hour"#, "23"),
            (r#"rfc3339_parse("2023-07-25T23:43:16-05:00").unix"#, "1690346596"),
            (r#"rfc3339_parse("2027-01-01T00:00:00Z").iso_year"#, "2026"),
            (r#"rfc3339_parse("2027-01-01T00:00:00Z").iso_week"#, "53"),
            (r#"rfc3339_parse("2026-03-01T00:00:00Z").weekday"#, "0"),
            ("unix_timestamp_parse(0).rfc3339", r#""1970-01-01T00:00:00Z""#),
            ("unix_timestamp_parse(-1).rfc3339", r#""1969-12-31T23:59:59Z""#),
            ("unix_timestamp_parse(\"60\").minute", "1"),
            (
                "unix_timestamp_parse(253402300800)",
                "error: argument 1 of `unix_timestamp_parse` is outside of the years 0 to 9999",
            ),
            (
                "unix_timestamp_parse(9223372036854775807)",
                "error: argument 1 of `unix_timestamp_parse` is outside of the years 0 to 9999",
            ),
            (
                "unix_timestamp_parse(1.5)",
                "error: argument 1 of `unix_timestamp_parse` must be a whole number",
            ),
            (
                r#"rfc3339_parse("yesterday")"#,
                "error: argument 1 of `rfc3339_parse` must be a time such as \"2026-03-02T12:00:00Z\"",
            ),
        ] {
            assert_eq!(shown(expression), expected, "{expression}");
        }
    }
}
