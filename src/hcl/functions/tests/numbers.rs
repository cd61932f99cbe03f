use super::{check, check_failures};

#[test]
fn numbers_are_rounded_and_compared() {
    check(&[
        ("abs(-1.5)", "1.5"),
        ("abs(2)", "2"),
        (r#"abs("-3")"#, "3"),
        ("ceil(1.1)", "2"),
        ("ceil(-0.5)", "0"),
        ("ceil(5)", "5"),
        ("floor(1.9)", "1"),
        ("floor(-0.5)", "-1"),
        ("floor(1e300) == 1e300", "true"),
        ("max(1, 3, 2)", "3"),
        ("max([1, 3, 2]...)", "3"),
        ("min(1, -3, 2)", "-3"),
        ("min(5)", "5"),
        ("signum(-0.5)", "-1"),
        ("signum(0)", "0"),
        ("signum(12)", "1"),
        ("sum([1, 2.5, \"3\"])", "6.5"),
        ("sum([0.1, 0.2])", "0.3"),
        ("max(unknown, 1)", "unknown(1)"),
    ]);
    check_failures(&[
        ("max()", "`max` takes at least 1 argument, not 0"),
        ("max([]...)", "`max` takes at least 1 argument"),
        ("min(null)", "must not be null"),
        ("sum([])", "argument 1 of `sum` must not be empty"),
        (r#"sum(["x"])"#, "a number is needed"),
        ("sum(1)", "a list is needed, not a number"),
        (r#"abs("x")"#, "a number is needed"),
    ]);
}

#[test]
fn powers_are_exact_where_they_can_be() {
    check(&[
        ("pow(3, 2)", "9"),
        ("pow(4, 0)", "1"),
        ("pow(0, 0)", "1"),
        ("pow(2, 100)", "1267650600228229401496703205376"),
        ("pow(-2, 3)", "-8"),
        ("pow(2, -1)", "0.5"),
        ("pow(4, 0.5)", "2"),
        ("pow(1, 9223372036854775807)", "1"),
        ("pow(-1, 9223372036854775807)", "-1"),
        ("pow(10, 400) == 1e200 * 1e200", "true"),
    ]);
    check_failures(&[
        ("pow(2, 9223372036854775807)", "too many digits"),
        ("pow(2, 1e100)", "too many digits"),
        ("pow(1.5, 1e9)", "too many digits"),
        ("pow(0, -1)", "must not be negative for the number 0"),
        ("pow(-8, 0.5)", "a negative number has no fractional power"),
    ]);
}

#[test]
fn logarithms_have_a_base() {
    check(&[
        ("log(50, 10)", "1.6989700043360185"),
        ("log(16, 2)", "4"),
        ("log(1, 10)", "0"),
        ("floor(log(pow(10, 400), 10) + 0.5)", "400"),
        ("floor(log(1e-90, 10) + 0.5)", "-90"),
    ]);
    check_failures(&[
        ("log(0, 10)", "argument 1 of `log` must be greater than 0"),
        ("log(10, -1)", "argument 2 of `log` must be greater than 0"),
        ("log(10, 1)", "argument 2 of `log` must not be 1"),
    ]);
}

#[test]
fn whole_numbers_are_read_in_a_base() {
    check(&[
        (r#"parseint("100", 10)"#, "100"),
        (r#"parseint("FF", 16)"#, "255"),
        (r#"parseint("-10", 2)"#, "-2"),
        (r#"parseint("+7", 8)"#, "7"),
        (r#"parseint("00", 10)"#, "0"),
        (r#"parseint("aA", 62)"#, "656"),
        (r#"parseint("aA", 36)"#, "370"),
        (r#"parseint("123456789012345678901234567890", 10)"#, "123456789012345678901234567890"),
    ]);
    check_failures(&[
        (r#"parseint("12", 2)"#, "argument 1 of `parseint` must be a whole number in this base"),
        (r#"parseint("", 10)"#, "must be a whole number in this base"),
        (r#"parseint("--1", 10)"#, "must be a whole number in this base"),
        (r#"parseint("1_000", 10)"#, "must be a whole number in this base"),
        (r#"parseint("٣", 10)"#, "must be a whole number in this base"),
        (r#"parseint("1", 1)"#, "argument 2 of `parseint` must be a base from 2 to 62"),
        (r#"parseint("1", 63)"#, "must be a base from 2 to 62"),
        (r#"parseint("1", -9223372036854775808)"#, "must be a base from 2 to 62"),
        (r#"parseint(format("1%01000d", 0), 10)"#, "too many digits"),
        (r#"parseint(format("1%0100000d", 0), 2)"#, "has too many digits"),
    ]);
}
