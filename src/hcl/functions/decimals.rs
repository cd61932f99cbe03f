//! How `format` writes numbers that may have a fraction. Halves are rounded to the even digit.

use super::{super::Number, numbers::is_negative};

/// A number as its digits: 0.d₁d₂d₃… · 10^point, without zeros at either end.
#[derive(Debug, Clone)]
pub struct Decimals {
    is_negative: bool,
    digits: Vec<u8>,
    point: i64,
}

impl Decimals {
    pub fn of(number: &Number) -> Self {
        let (whole, scale) = number.decimal().as_bigint_and_exponent();
        let mut digits: Vec<u8> = whole.magnitude().to_string().into_bytes();
        if number.is_zero() {
            digits.clear();
        }
        let point = if digits.is_empty() { 0 } else { length(&digits).saturating_sub(scale) };
        let mut decimals = Self { is_negative: is_negative(number), digits, point };
        decimals.trim();
        decimals
    }

    pub const fn is_negative(&self) -> bool {
        self.is_negative
    }

    /// `123.456`, with so many digits behind the point; without its sign.
    pub fn fixed(&self, precision: usize) -> String {
        let precision_wide = i64::try_from(precision).unwrap_or(i64::MAX);
        let rounded = self.rounded(self.point.saturating_add(precision_wide));
        let mut text = String::new();
        if rounded.point <= 0 {
            text.push('0');
        }
        text.extend((0..rounded.point).map(|place| rounded.digit(place)));
        if precision > 0 {
            text.push('.');
            text.extend((0..precision_wide).map(|place| rounded.digit(rounded.point.saturating_add(place))));
        }
        text
    }

    /// `1.23e+45`, with so many digits behind the point; without its sign.
    pub fn exponential(&self, precision: usize, letter: char) -> String {
        let precision = i64::try_from(precision).unwrap_or(i64::MAX);
        let rounded = self.rounded(precision.saturating_add(1));
        let mut text = String::from(rounded.digit(0));
        if precision > 0 {
            text.push('.');
            text.extend((1..=precision).map(|place| rounded.digit(place)));
        }
        let exponent = if rounded.digits.is_empty() { 0 } else { rounded.point.saturating_sub(1) };
        let sign = if exponent < 0 { '-' } else { '+' };
        text.push_str(&format!("{letter}{sign}{:02}", exponent.unsigned_abs()));
        text
    }

    /// The shorter of both, with so many digits in all, or as many as there are; without its sign.
    pub fn general(&self, digits: Option<usize>, letter: char) -> String {
        let wanted = digits.map(|digits| i64::try_from(digits.max(1)).unwrap_or(i64::MAX));
        let rounded = wanted.map_or_else(|| self.clone(), |wanted| self.rounded(wanted));
        let length = length(&rounded.digits);
        let limit = match wanted {
            None => 6,
            Some(wanted) if wanted > length && length >= rounded.point => length,
            Some(wanted) => wanted,
        };
        let exponent = rounded.point.saturating_sub(1);
        let behind = |places: i64| usize::try_from(places).unwrap_or_default();
        let precision = wanted.unwrap_or(length);
        if exponent < -4 || exponent >= limit {
            return rounded.exponential(behind(precision.min(length).saturating_sub(1)), letter);
        }
        let precision = if precision > rounded.point { length } else { precision };
        rounded.fixed(behind(precision.saturating_sub(rounded.point)))
    }

    /// The digit at a place, counted from the first one that is not 0.
    fn digit(&self, place: i64) -> char {
        let digit = usize::try_from(place).ok().and_then(|place| self.digits.get(place));
        digit.map_or('0', |digit| char::from(*digit))
    }

    /// The same with so many digits at most.
    fn rounded(&self, digits: i64) -> Self {
        let mut rounded = self.clone();
        let Ok(kept) = usize::try_from(digits) else {
            // Less than half of the last place that is wanted.
            rounded.digits.clear();
            return rounded;
        };
        let Some((first, rest)) = self.digits.get(kept..).and_then(<[u8]>::split_first) else {
            return rounded;
        };
        let is_odd =
            kept.checked_sub(1).and_then(|last| self.digits.get(last)).is_some_and(|digit| digit % 2 == 1);
        let is_up = if *first == b'5' && rest.is_empty() { is_odd } else { *first >= b'5' };
        rounded.digits.truncate(kept);
        if is_up {
            while rounded.digits.last() == Some(&b'9') {
                rounded.digits.pop();
            }
            match rounded.digits.last_mut() {
                Some(last) => *last += 1,
                None => {
                    rounded.digits.push(b'1');
                    rounded.point = rounded.point.saturating_add(1);
                }
            }
        }
        rounded.trim();
        rounded
    }

    fn trim(&mut self) {
        while self.digits.last() == Some(&b'0') {
            self.digits.pop();
        }
        if self.digits.is_empty() {
            self.point = 0;
        }
    }
}

fn length(digits: &[u8]) -> i64 {
    i64::try_from(digits.len()).unwrap_or(i64::MAX)
}
