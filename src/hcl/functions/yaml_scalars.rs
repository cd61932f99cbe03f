//! What the scalars of a YAML document are: those of the core schema, the older words for true and false, exact numbers,
//! and times as texts.

use chrono::{DateTime, FixedOffset, NaiveDate, NaiveDateTime};

use super::calendar;
use crate::hcl::{Number, Value};

/// What a scalar without quotes and without a tag is.
pub(super) fn plain(text: &str) -> Result<Value, &'static str> {
    if let Some(value) = word(text) {
        return Ok(value);
    }
    if let Some(number) = number(text) {
        return number.map(Value::from);
    }
    match text.trim_start_matches(['+', '-']) {
        ".inf" | ".Inf" | ".INF" | ".nan" | ".NaN" | ".NAN" => {
            Err("there is a number that is infinite or none")
        }
        _ => Ok(time(text).map_or_else(|| text.into(), Value::from)),
    }
}

/// Words that stand for something.
pub(super) fn word(text: &str) -> Option<Value> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Some(Value::null()),
        "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "y" | "Y" | "on" | "On" | "ON" => {
            Some(true.into())
        }
        "false" | "False" | "FALSE" | "no" | "No" | "NO" | "n" | "N" | "off" | "Off" | "OFF" => {
            Some(false.into())
        }
        _ => None,
    }
}

/// A number in the form of the core schema; nothing if it is not in that form, an error if it has too many digits.
pub(super) fn number(text: &str) -> Option<Result<Number, &'static str>> {
    let integer = |digits: &str, radix: u32| {
        let is_number = !digits.is_empty() && digits.chars().all(|digit| digit.is_digit(radix));
        is_number.then(|| {
            let number = u128::from_str_radix(digits, radix).ok();
            number
                .and_then(|number| number.to_string().parse().ok())
                .ok_or("there is a number with too many digits")
        })
    };
    if let Some(digits) = text.strip_prefix("0x") {
        return integer(digits, 16);
    }
    if let Some(digits) = text.strip_prefix("0o") {
        return integer(digits, 8);
    }
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.strip_prefix(['+', '-']).unwrap_or(exponent)),
        None => (unsigned, "0"),
    };
    let (whole, decimals) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let has_no_digits = exponent.is_empty() || (whole.is_empty() && decimals.is_empty());
    if has_no_digits || !is_digits(whole) || !is_digits(decimals) || !is_digits(exponent) {
        return None;
    }
    // `1.` and `.5` are numbers here, but not everywhere.
    let sign = if text.starts_with('-') { "-" } else { "" };
    let power = unsigned.get(mantissa.len()..).unwrap_or_default();
    let written = format!("{sign}0{whole}.{decimals}0{power}");
    Some(written.parse().map_err(|()| "there is a number with too many digits"))
}

/// A time in one of the forms that YAML knows, as a text in that of RFC 3339.
pub(super) fn time(text: &str) -> Option<String> {
    let is_year = |year: &str| year.len() == 4 && year.bytes().all(|byte| byte.is_ascii_digit());
    if !text.is_ascii() || !text.split_once('-').is_some_and(|(year, _)| is_year(year)) {
        return None;
    }
    let utc = |time: NaiveDateTime| time.and_utc().fixed_offset();
    let day =
        || NaiveDate::parse_from_str(text, "%Y-%m-%d").ok().and_then(|day| day.and_hms_opt(0, 0, 0)).map(utc);
    let without_zone = || NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f").ok().map(utc);
    let with_zone = || -> Option<DateTime<FixedOffset>> {
        let text = text.replacen('t', "T", 1);
        match text.strip_suffix('Z') {
            Some(text) => NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f").ok().map(utc),
            None => DateTime::parse_from_str(&text, "%Y-%m-%dT%H:%M:%S%.f%:z").ok(),
        }
    };
    day().or_else(without_zone).or_else(with_zone).as_ref().and_then(calendar::rfc3339)
}
