use super::{check, check_failures, check_types};

#[test]
fn texts_and_values_are_formatted() {
    check(&[
        (r#"format("Hello, %s!", "Ander")"#, r#""Hello, Ander!""#),
        (r#"format("%s %s", 1, true)"#, r#""1 true""#),
        (r#"format("plain é")"#, r#""plain é""#),
        (r#"format("")"#, r#""""#),
        (r#"format("100%%")"#, r#""100%""#),
        (r#"format("%5s|%-5s|%05s", "é", "é", "é")"#, r#""    é|é    |0000é""#),
        (r#"format("%.2s|%.0s|%4.1s", "héllo", "hé", "hé")"#, r#""hé|hé|   h""#),
        (r#"format("%q", "a\"<")"#, r#""\"a\\\"\\u003c\"""#),
        (r#"format("%v %v %v", "a", true, null)"#, r#""a true null""#),
        (r#"format("%#v", "a")"#, r#""\"a\"""#),
        (r#"format("%v", [1, "a", null, {b = [true]}])"#, r#""[1,\"a\",null,{\"b\":[true]}]""#),
        (r#"format("%v", {})"#, r#""{}""#),
        (r#"format("%4v|%-4v|", [], 1)"#, r#""  []|1   |""#),
        (r#"format("%t %t", "true", false)"#, r#""true false""#),
        (r#"format("%c%c", 65, 233)"#, r#""Aé""#),
        (r#"format("%[2]s %[1]s", "a", "b")"#, r#""b a""#),
        (r#"format("%[2]s %[1]s %s", "a", "b")"#, r#""b a b""#),
        (r#"format("%-5[1]s|%.1[1]s", "ab")"#, r#""ab   |a""#),
        (r#"format("%s", secret)"#, r#"sensitive("s")"#),
        (r#"format("%v", [secret])"#, r#"sensitive("[\"s\"]")"#),
        (r#"format("%v", [unknown])"#, "unknown(1)"),
    ]);
}

#[test]
fn whole_numbers_are_formatted() {
    check(&[
        (r#"format("%d", 42)"#, r#""42""#),
        (r#"format("%d", "42")"#, r#""42""#),
        (r#"format("%05d|%-5d|%5d", -42, -42, -42)"#, r#""-0042|-42  |  -42""#),
        (r#"format("%+d % d %+d", 1, 1, -1)"#, r#""+1  1 -1""#),
        (r#"format("%.4d|%6.4d|%06.4d", 42, -42, 42)"#, r#""0042| -0042|  0042""#),
        (r#"format("%.0d|", 0)"#, r#""|""#),
        (r#"format("%b %o %x %X", 10, 10, 255, 255)"#, r#""1010 12 ff FF""#),
        (r##"format("%#b %#o %#x %#X", 10, 10, 255, -255)"##, r#""0b1010 012 0xff -0XFF""#),
        (r##"format("%#06x", 10)"##, r#""0x000a""#),
        (r#"format("%03d", 7)"#, r#""007""#),
        (r#"format("%d", 123456789012345678901234567890)"#, r#""123456789012345678901234567890""#),
        (r#"format("%x", 123456789012345678901234567890)"#, r#""18ee90ff6c373e0ee4e3f0ad2""#),
    ]);
    check_failures(&[
        (
            r#"format("%d", 1.5)"#,
            "argument 2 of `format` cannot be put into the format: a whole number is needed",
        ),
        (r#"format("%d", "x")"#, "argument 2 of `format` cannot be put into the format: a number is needed"),
        (r#"format("%c", -1)"#, "the number of a character is needed"),
        (r#"format("%c", 55296)"#, "the number of a character is needed"),
    ]);
}

#[test]
fn fractions_are_formatted() {
    check(&[
        (r#"format("%f", 1)"#, r#""1.000000""#),
        (r#"format("%.2f", 3.14159)"#, r#""3.14""#),
        (r#"format("%.1f %.1f %.0f %.0f", 0.25, 0.35, 0.5, 1.5)"#, r#""0.2 0.4 0 2""#),
        (r#"format("%.2f %.1f %.1f", 0.001, 0.06, 9.96)"#, r#""0.00 0.1 10.0""#),
        (r#"format("%.0f", 1e20)"#, r#""100000000000000000000""#),
        (r#"format("%8.2f|%-8.2f|%08.2f", -1.5, -1.5, -1.5)"#, r#""   -1.50|-1.50   |-0001.50""#),
        (r#"format("%+.1f % .1f", 1, 1)"#, r#""+1.0  1.0""#),
        (r#"format("%e", 1234.5678)"#, r#""1.234568e+03""#),
        (r#"format("%.0e %E %e", 15, 0.00012, 0)"#, r#""2e+01 1.200000E-04 0.000000e+00""#),
        (r#"format("%.2e", 9.999)"#, r#""1.00e+01""#),
        (r#"format("%e", 1e300)"#, r#""1.000000e+300""#),
        (r#"format("%g %g %g", 0.1, 100000, 1000000)"#, r#""0.1 100000 1e+06""#),
        (r#"format("%g %g", 0.0001, 0.00001)"#, r#""0.0001 1e-05""#),
        (r#"format("%.3g %.3g %.10g", 1234.5, 0.00012345, 1234.5)"#, r#""1.23e+03 0.000123 1234.5""#),
        (r#"format("%G", 1e30)"#, r#""1E+30""#),
        (r#"format("%v %v %v %v", 0, 1.5, -1000000, 123456)"#, r#""0 1.5 -1e+06 123456""#),
        (r#"format("%v", 1234567)"#, r#""1.234567e+06""#),
        (r##"format("%#v", 1000000)"##, r#""1000000""#),
        (r#"format("%v", [1000000])"#, r#""[1000000]""#),
    ]);
}

#[test]
fn a_wrong_format_says_where() {
    check_failures(&[
        (
            r#"format("%s %s", "a")"#,
            "argument 1 of `format` is wrong at its `%` number 2: there is no value for it",
        ),
        (r#"format("%[3]s", "a")"#, "there is no value for it"),
        (r#"format("%[0]s", "a")"#, "`[…]` holds the number of a value, from 1"),
        (r#"format("%[1s", "a")"#, "there is no `]`"),
        (r#"format("%y", "a")"#, "known are `%s`"),
        (r#"format("%é", "a")"#, "known are `%s`"),
        (r#"format("100%", "a")"#, "the text ends"),
        (r#"format("%5", "a")"#, "the text ends"),
        (r#"format("%.s", "a")"#, "behind `.` a number must follow"),
        (r#"format("%99999999999s", "a")"#, "the number in it is too large"),
        (r#"format("%s", "a", "b")"#, "argument 3 of `format` has no place in the format"),
        (r#"format("none", "b")"#, "argument 2 of `format` has no place in the format"),
        (r#"format("%s", null)"#, "it is null"),
        (r#"format("%s", [1])"#, "a text is needed, not a list"),
        (r#"format("%t", "maybe")"#, "`true` or `false` is needed"),
    ]);
}

#[test]
fn short_formats_make_no_endless_texts() {
    check_failures(&[
        (r#"format("%4000000000s", "")"#, "too large values"),
        (r#"format("%04000000000d", 1)"#, "too large values"),
        (r#"format("%.4000000000d", 1)"#, "too large values"),
        (r#"format("%.4000000000f", 1)"#, "too large values"),
        (r#"format("%.4000000000e", 1)"#, "too large values"),
        (r#"format("%04000000000g", 1)"#, "too large values"),
        (r#"format("%[1]s%[1]s%[1]s%[1]s", format("%20000000s", ""))"#, "too large values"),
        (r#"formatlist("%100000s%d", "", range(10000))"#, "too large values"),
    ]);
    check(&[(r#"length(format("%.400000f", 1))"#, "400002")]);
}

#[test]
fn lists_are_formatted_item_by_item() {
    check(&[
        (r#"formatlist("%s-%s", ["a", "b"], "x")"#, r#"["a-x","b-x"]"#),
        (r#"formatlist("%s=%d", list, [1, 2])"#, r#"["b=1","a=2"]"#),
        (r#"formatlist("%s", set)"#, r#"["a","b"]"#),
        (r#"formatlist("%s", "a")"#, r#"["a"]"#),
        (r#"formatlist("a")"#, r#"["a"]"#),
        (r#"formatlist("%s", [])"#, "[]"),
        (r#"formatlist("%s%s", [], "a")"#, "[]"),
        (r#"formatlist("%v", [["a"]])"#, r#"["[\"a\"]"]"#),
    ]);
    check_types(&[(r#"formatlist("%s", ["a"])"#, "list(string)")]);
    check_failures(&[
        (
            r#"formatlist("%s%s", ["a"], ["a", "b"])"#,
            "argument 3 of `formatlist` must be as long as the lists before it",
        ),
        (r#"formatlist("%d", ["x"])"#, "argument 2 of `formatlist` cannot be put into the format"),
    ]);
}
