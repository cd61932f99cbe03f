//! Functions of numbers. They are exact, but for `log` and for `pow` with fractions.

use bigdecimal::{
    BigDecimal, RoundingMode,
    num_bigint::{BigInt, Sign},
};

use super::{
    super::{Number, Value},
    Answer, Arguments, Failure, Function,
    Parameter::{self, Numbers, Text},
};

/// The functions of this file.
pub const FUNCTIONS: &[Function] = &[
    Function::new("abs", &[Parameter::Number], |args| Ok(magnitude(args.number(0)).into())),
    Function::new("ceil", &[Parameter::Number], |args| {
        number(rounded(&args.number(0), RoundingMode::Ceiling))
    }),
    Function::new("floor", &[Parameter::Number], |args| {
        number(rounded(&args.number(0), RoundingMode::Floor))
    }),
    Function::new("log", &[Parameter::Number, Parameter::Number], log),
    Function::new("max", &[Parameter::Number], |args| extreme(args, Number::gt)).and_more(Parameter::Number),
    Function::new("min", &[Parameter::Number], |args| extreme(args, Number::lt)).and_more(Parameter::Number),
    Function::new("parseint", &[Text, Parameter::Number], parseint),
    Function::new("pow", &[Parameter::Number, Parameter::Number], pow),
    Function::new("signum", &[Parameter::Number], signum),
    Function::new("sum", &[Numbers], sum),
];

/// Digits of the base 2 that a number has at most.
const MOST_BITS: usize = 1702;

/// A number without what follows its point.
pub(super) fn rounded(number: &Number, mode: RoundingMode) -> Option<Number> {
    Number::new(number.decimal().with_scale_round(0, mode))
}

pub(super) fn is_negative(number: &Number) -> bool {
    number.decimal().sign() == Sign::Minus
}

fn magnitude(number: Number) -> Number {
    if is_negative(&number) { number.negated() } else { number }
}

fn number(number: Option<Number>) -> Answer {
    number.map(Value::from).ok_or_else(|| "the number has too many digits".into())
}

fn log(args: &Arguments<'_>) -> Answer {
    let [of, base] = [0, 1].map(|index| {
        let number = args.number(index);
        if number.is_zero() || is_negative(&number) {
            return Err(Failure::at(index, "must be greater than 0"));
        }
        Ok(logarithm(&number))
    });
    let (of, base) = (of?, base?);
    if base == 0.0 {
        return Err(Failure::at(1, "must not be 1"));
    }
    number(Number::from_f64(of / base))
}

/// The natural logarithm, also of what is too large or too small for a float.
fn logarithm(number: &Number) -> f64 {
    let float = number.to_f64();
    if float.is_normal() {
        return float.ln();
    }
    let (digits, scale) = number.decimal().as_bigint_and_exponent();
    let length = digits.to_string().len();
    let exponent = i64::try_from(length).unwrap_or(i64::MAX).saturating_sub(scale);
    let mantissa = Number::new(BigDecimal::new(digits, i64::try_from(length).unwrap_or(0)));
    let exponent = Number::from_i64(exponent).to_f64();
    exponent.mul_add(std::f64::consts::LN_10, mantissa.map_or(1.0, |mantissa| mantissa.to_f64()).ln())
}

fn extreme(args: &Arguments<'_>, is_better: fn(&Number, &Number) -> bool) -> Answer {
    let best = (1..args.len()).fold(args.number(0), |best, index| {
        let next = args.number(index);
        if is_better(&next, &best) { next } else { best }
    });
    Ok(best.into())
}

fn parseint(args: &Arguments<'_>) -> Answer {
    let base = u32::try_from(args.whole(1)?)
        .ok()
        .filter(|base| (2..=62).contains(base))
        .ok_or_else(|| Failure::at(1, "must be a base from 2 to 62"))?;
    let none = || Failure::at(0, "must be a whole number in this base, and is none");
    let text = args.text(0);
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (Sign::Minus, digits),
        None => (Sign::Plus, text.strip_prefix('+').unwrap_or(text)),
    };
    if digits.is_empty() || !digits.chars().all(|letter| digit(letter, base).is_some()) {
        return Err(none());
    }
    let digits = digits.trim_start_matches('0');
    if digits.len() > MOST_BITS {
        return Err(Failure::at(0, "has too many digits"));
    }
    let digits: Vec<u8> = digits.chars().filter_map(|letter| digit(letter, base)).collect();
    let whole = BigInt::from_radix_be(sign, &digits, base).ok_or_else(none)?;
    number(Number::new(BigDecimal::from(whole)))
}

/// A digit's value. Up to the base 36 small and capital letters are the same; beyond it the capital ones follow.
fn digit(letter: char, base: u32) -> Option<u8> {
    let value = match letter {
        'A'..='Z' if base > 36 => 36 + (u32::from(letter) - u32::from('A')),
        _ => letter.to_digit(36)?,
    };
    u8::try_from(value).ok().filter(|_| value < base)
}

fn pow(args: &Arguments<'_>) -> Answer {
    let (base, exponent) = (args.number(0), args.number(1));
    if base.is_zero() && is_negative(&exponent) {
        return Err(Failure::at(1, "must not be negative for the number 0"));
    }
    if base.big_whole().is_some()
        && let Some(exponent) = exponent.whole().and_then(|exponent| u64::try_from(exponent).ok())
    {
        return number(power(base, exponent));
    }
    let power = base.to_f64().powf(exponent.to_f64());
    if power.is_nan() {
        return Err("a negative number has no fractional power".into());
    }
    number(Number::from_f64(power))
}

/// By squaring; numbers that become too long end it.
fn power(mut base: Number, mut exponent: u64) -> Option<Number> {
    let mut result = Number::from_i64(1);
    while exponent > 0 {
        if exponent % 2 == 1 {
            result = result.times(&base)?;
        }
        exponent /= 2;
        if exponent > 0 {
            base = base.times(&base)?;
        }
    }
    Some(result)
}

fn signum(args: &Arguments<'_>) -> Answer {
    let sign: i64 = match args.number(0).decimal().sign() {
        Sign::Minus => -1,
        Sign::NoSign => 0,
        Sign::Plus => 1,
    };
    Ok(sign.into())
}

fn sum(args: &Arguments<'_>) -> Answer {
    let mut numbers = args.items(0).iter().filter_map(|item| match &item.data {
        super::super::Data::Number(number) => Some(number),
        _ => None,
    });
    let Some(first) = numbers.next() else { return Err(Failure::at(0, "must not be empty")) };
    number(numbers.try_fold(first.clone(), |sum, number| sum.plus(number)))
}
