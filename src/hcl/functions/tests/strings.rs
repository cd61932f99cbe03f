use super::{check, check_failures, check_types};

#[test]
fn texts_are_cut_and_joined() {
    check(&[
        (r#"chomp("a\n\r\n")"#, r#""a""#),
        (r#"chomp("\na b")"#, r#""\na b""#),
        (r#"join("-", ["a", "b"])"#, r#""a-b""#),
        (r#"join("-", ["a"], [], [1, true])"#, r#""a-1-true""#),
        (r#"join(",", [])"#, r#""""#),
        (r#"join(",", set)"#, r#""a,b""#),
        (r#"split(",", "a,,b")"#, r#"["a","","b"]"#),
        (r#"split(",", "")"#, r#"[""]"#),
        (r#"split("", "aé")"#, r#"["a","é"]"#),
        (r#"split("", "")"#, "[]"),
        (r#"substr("héllo", 1, 3)"#, r#""éll""#),
        (r#"substr("héllo", -3, 2)"#, r#""ll""#),
        (r#"substr("hello", -30, 2)"#, r#""he""#),
        (r#"substr("hello", 2, -1)"#, r#""llo""#),
        (r#"substr("hello", 2, 100)"#, r#""llo""#),
        (r#"substr("hello", 5, 1)"#, r#""""#),
        (r#"substr("hello", 99, -1)"#, r#""""#),
        (r#"substr("hello", 1, 0)"#, r#""""#),
        (r#"substr("hello", -9223372036854775808, 9223372036854775807)"#, r#""hello""#),
        (r#"strrev("aéb")"#, r#""béa""#),
        (r#"strrev("")"#, r#""""#),
        (r#"trim("?!hello?!", "!?")"#, r#""hello""#),
        (r#"trim("ééaé", "é")"#, r#""a""#),
        (r#"trim("aa", "a")"#, r#""""#),
        (r#"trim("aa", "")"#, r#""aa""#),
        (r#"trimprefix("aab", "a")"#, r#""ab""#),
        (r#"trimprefix("aab", "b")"#, r#""aab""#),
        (r#"trimsuffix("baa", "a")"#, r#""ba""#),
        (r#"trimspace("\t a b\n\n")"#, r#""a b""#),
    ]);
    check_types(&[(r#"split(",", "a,b")"#, "list(string)"), (r#"join(",", ["a"])"#, "string")]);
    check_failures(&[
        (r#"substr("a", 0.5, 1)"#, "argument 2 of `substr` must be a whole number"),
        (r#"substr("a", 99999999999999999999, 1)"#, "must be a whole number"),
        (r#"join(",", "a")"#, "a list is needed, not a text"),
        (r#"join(",", [null])"#, "must not be null"),
        (r#"join(",")"#, "at least 2 arguments"),
        ("chomp(null)", "must not be null"),
    ]);
}

#[test]
fn letters_change_case_one_by_one() {
    check(&[
        (r#"lower("ÀB")"#, r#""àb""#),
        (r#"upper("àß")"#, r#""Àß""#),
        (r#"title("hello world of o'neil_x é")"#, r#""Hello World Of O'Neil_x É""#),
        (r#"title("")"#, r#""""#),
    ]);
}

#[test]
fn texts_are_searched() {
    check(&[
        (r#"startswith("hello", "he")"#, "true"),
        (r#"startswith("hello", "")"#, "true"),
        (r#"startswith("he", "hello")"#, "false"),
        (r#"endswith("hello", "lo")"#, "true"),
        (r#"endswith("hello", "he")"#, "false"),
        (r#"strcontains("hello", "ell")"#, "true"),
        (r#"strcontains("hello", "x")"#, "false"),
        (r#"strcontains(secret, "s")"#, "sensitive(true)"),
        (r#"strcontains(unknown, "s")"#, "unknown(1)"),
    ]);
}

#[test]
fn lines_but_the_first_are_indented() {
    check(&[
        (r#"indent(2, "a\nb\n")"#, r#""a\n  b\n  ""#),
        (r#"indent(0, "a\nb")"#, r#""a\nb""#),
        (r#"indent(9223372036854775807, "a")"#, r#""a""#),
    ]);
    check_failures(&[
        (r#"indent(-1, "a\nb")"#, "argument 1 of `indent` must not be negative"),
        (r#"indent(9223372036854775807, "a\nb")"#, "too large values"),
    ]);
}

#[test]
fn what_is_found_is_replaced() {
    check(&[
        (r#"replace("a.b.c", ".", "-")"#, r#""a-b-c""#),
        (r#"replace("a/b", "/", "_")"#, r#""a_b""#),
        (r#"replace("ab", "", "-")"#, r#""-a-b-""#),
        (r#"replace("aab", "x", "-")"#, r#""aab""#),
        // Slashes have no meaning, unlike in Terraform.
        (r#"replace("a/1/b1", "/1/", "-")"#, r#""a-b1""#),
    ]);
    check_failures(&[(r#"replace(format("%1000000s", ""), " ", format("%1000s", ""))"#, "too large values")]);
}
