//! Numbers of any size and with decimals, as HCL has them, within bounds that no template needs to pass.

use std::{fmt, str::FromStr};

use bigdecimal::{BigDecimal, RoundingMode, ToPrimitive, Zero, num_bigint::BigInt};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Digits of a number, before and behind the point.
const MOST_DIGITS: u64 = 512;
/// Digits that a division gives at most.
const DIVISION_DIGITS: u64 = 100;

/// A number.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Number(BigDecimal);

impl Number {
    /// A number with few enough digits.
    pub fn new(number: BigDecimal) -> Option<Self> {
        let scale = number.fractional_digit_count();
        if scale.unsigned_abs() > MOST_DIGITS * 2 || number.digits() > MOST_DIGITS * 2 {
            // Far too long; rounding could take long as well.
            return None;
        }
        let number = if scale > 100 { number.with_scale_round(100, RoundingMode::HalfEven) } else { number };
        let number = number.normalized();
        (number.digits() <= MOST_DIGITS && number.fractional_digit_count().unsigned_abs() <= MOST_DIGITS)
            .then_some(Self(number))
    }

    /// The nearest number to a float that is one.
    #[must_use]
    pub fn from_f64(number: f64) -> Option<Self> {
        // By way of its shortest text, so that 0.1 is 0.1.
        if number.is_finite() { format!("{number}").parse().ok() } else { None }
    }

    /// A whole number.
    #[must_use]
    pub fn from_i64(number: i64) -> Self {
        Self(BigDecimal::from(number).normalized())
    }

    /// The number in full.
    #[must_use]
    pub const fn decimal(&self) -> &BigDecimal {
        &self.0
    }

    /// The whole number it is, if it is one that fits.
    #[must_use]
    pub fn whole(&self) -> Option<i64> {
        if self.0.is_integer() { self.0.to_i64() } else { None }
    }

    /// The whole number it is, of any size.
    #[must_use]
    pub fn big_whole(&self) -> Option<BigInt> {
        self.0.is_integer().then(|| self.0.with_scale(0).into_bigint_and_exponent().0)
    }

    /// The nearest float.
    #[must_use]
    pub fn to_f64(&self) -> f64 {
        self.0.to_f64().unwrap_or_default()
    }

    /// Whether it is 0.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        self.0.is_zero()
    }

    /// The sum.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Option<Self> {
        Self::new(&self.0 + &other.0)
    }

    /// The difference.
    #[must_use]
    pub fn minus(&self, other: &Self) -> Option<Self> {
        Self::new(&self.0 - &other.0)
    }

    /// The product.
    #[must_use]
    pub fn times(&self, other: &Self) -> Option<Self> {
        Self::new(&self.0 * &other.0)
    }

    /// The quotient; none for a division by 0.
    #[must_use]
    pub fn divided_by(&self, other: &Self) -> Option<Self> {
        if other.is_zero() {
            return None;
        }
        let quotient = &self.0 / &other.0;
        Self::new(quotient.with_prec(DIVISION_DIGITS))
    }

    /// What a division leaves, with the sign of this number; none for a division by 0.
    #[must_use]
    pub fn remainder(&self, other: &Self) -> Option<Self> {
        if other.is_zero() { None } else { Self::new(&self.0 % &other.0) }
    }

    /// The negative.
    #[must_use]
    pub fn negated(&self) -> Self {
        Self(-&self.0)
    }
}

impl FromStr for Number {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        // The exponent first: a huge one makes a huge number of a short text.
        if let Some((_, exponent)) = text.split_once(['e', 'E'])
            && exponent.parse::<i64>().map_or(true, |exponent| exponent.unsigned_abs() > MOST_DIGITS)
        {
            return Err(());
        }
        if text.len() > 1024 || !text.bytes().any(|byte| byte.is_ascii_digit()) || text.contains('_') {
            return Err(());
        }
        Self::new(BigDecimal::from_str(text).map_err(|_| ())?).ok_or(())
    }
}

impl fmt::Display for Number {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0.to_plain_string())
    }
}

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|()| serde::de::Error::custom("no number"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> Number {
        text.parse().unwrap()
    }

    #[test]
    fn numbers_are_exact_and_written_plainly() {
        assert_eq!(number("0.1").plus(&number("0.2")).unwrap().to_string(), "0.3");
        assert_eq!(number("1e3").to_string(), "1000");
        assert_eq!(number("1.50").to_string(), "1.5");
        assert_eq!(number("10").divided_by(&number("4")).unwrap().to_string(), "2.5");
        assert_eq!(number("-7").remainder(&number("3")).unwrap().to_string(), "-1");
        assert_eq!(number("9007199254740993").to_string(), "9007199254740993");
        assert_eq!(number("1").divided_by(&number("0")), None);
    }

    #[test]
    fn numbers_stay_small_enough_to_work_with() {
        assert!("1e999999999".parse::<Number>().is_err());
        assert!("1e-999999999".parse::<Number>().is_err());
        let mut square = number("99999999999");
        while let Some(next) = square.times(&square) {
            square = next;
        }
        assert!(square.to_string().len() < 1100);
    }
}
