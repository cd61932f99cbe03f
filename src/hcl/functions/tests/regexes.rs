use super::{check, check_failures, check_types};

#[test]
fn the_groups_decide_what_a_match_is() {
    check(&[
        (r#"regex("[a-z]+", "53453453.345345aaabbbccc23454")"#, r#""aaabbbccc""#),
        (r#"regex("(\\d\\d\\d\\d)-(\\d\\d)", "on 2019-02-01")"#, r#"["2019","02"]"#),
        (r#"regex("(?P<year>\\d+)-(?P<month>\\d+)", "2019-02")"#, r#"{"month":"02","year":"2019"}"#),
        (r#"regex("(a)|(b)", "b")"#, r#"[null,"b"]"#),
        (r#"regex("(?:a)b", "ab")"#, r#""ab""#),
        (r#"regexall("[a-z]+", "1234abcd5678efgh9")"#, r#"["abcd","efgh"]"#),
        (r#"regexall("([a-z])([0-9])", "a1b2")"#, r#"[["a","1"],["b","2"]]"#),
        (r#"regexall("x", "abc")"#, "[]"),
        (r#"length(regexall("", "abc"))"#, "4"),
        (r#"regex("s", secret)"#, r#"sensitive("s")"#),
        (r#"can(regex("x", "abc"))"#, "false"),
    ]);
    check_types(&[
        (r#"regex("(a)", "a")"#, "tuple([string])"),
        (r#"regex("(?P<n>a)", "a")"#, "object({n = string})"),
        (r#"regexall("a", "a")"#, "list(string)"),
        (r#"regexall("(a)", "a")"#, "list(tuple([string]))"),
    ]);
    check_failures(&[
        (r#"regex("x", "abc")"#, "`regex`: the regular expression matches no part of the text"),
        (r#"regex("(a", "abc")"#, "argument 1 of `regex` must be a regular expression"),
        (r#"regex("(?=a)", "abc")"#, "argument 1 of `regex` must be a regular expression"),
        (r#"regex("(a)(?P<n>b)", "ab")"#, "must give names to all of its groups or to none"),
        (r#"regex("a\\", "ab")"#, "argument 1 of `regex` must be a regular expression"),
    ]);
}

#[test]
fn matches_are_replaced_with_their_groups() {
    check(&[
        (r#"regex_replace("hello", "(l+)(o)", "$2$1")"#, r#""heoll""#),
        (r#"regex_replace("hello", "(?P<l>l+)", "<$${l}>")"#, r#""he<ll>o""#),
        (r#"regex_replace("abc", "", "-")"#, r#""-a-b-c-""#),
        (r#"regex_replace("abc", "z", "-")"#, r#""abc""#),
        (r#"regex_replace("abc", "b", "$9")"#, r#""ac""#),
    ]);
}

#[test]
fn patterns_are_read_as_go_reads_them() {
    check(&[
        // Only ASCII digits, letters and spaces have a class of one letter.
        (r#"regexall("\\d", "1٣")"#, r#"["1"]"#),
        (r#"regexall("\\w+", "aéb")"#, r#"["a","b"]"#),
        (r#"regexall("[\\w-]+", "a-b é")"#, r#"["a-b"]"#),
        (r#"regexall("[^\\s]+", "a b")"#, r#"["a","b"]"#),
        (r#"regexall("\\bb", "éb b")"#, r#"["b","b"]"#),
        (r#"regex("\\<a\\>", "<a>")"#, r#""<a>""#),
        (r#"regex("\\Qa.b\\E.", "axb a.bc")"#, r#""a.bc""#),
        (r#"regex("[[]", "a[")"#, r#""[""#),
        (r#"regex("[]a]+", "]a")"#, r#""]a""#),
        (r#"regex("[^]a]+", "]ab")"#, r#""b""#),
        (r#"regex("[a&&b]+", "a&b")"#, r#""a&b""#),
        (r#"regex("[[:alpha:]_]+", "1ab_")"#, r#""ab_""#),
        (r#"regex(".", "é")"#, r#""é""#),
        (r#"regex("(?i)É", "é")"#, r#""é""#),
        (r#"regexall("(?m)^.", "a\nb")"#, r#"["a","b"]"#),
        (r#"regexall("^.", "a\nb")"#, r#"["a"]"#),
        (r#"regex("a\\/b\\-c\\.", "a/b-c.")"#, r#""a/b-c.""#),
    ]);
}

#[test]
fn hostile_patterns_end_soon() {
    check_failures(&[
        // Most of the room is taken before, so that it ends sooner.
        (
            r#"[format("%31000000s", ""), regexall(".*[^a]|a", replace(format("%50000s", ""), " ", "a"))]"#,
            "`regexall`: the configuration makes too large values",
        ),
        (r#"regex("((a{0,100}){0,100}){0,100}", "a")"#, "too large a regular expression"),
        (r#"regex(format("%20000s", ""), "a")"#, "must have at most 16384 bytes"),
        (r#"regex(format("%1$s", ""), "a")"#, "is wrong at its `%`"),
        (r#"regex(replace(format("%8000s", ""), " ", "("), "a")"#, "must be a regular expression"),
        (r#"regexall("", format("%3000000s", ""))"#, "too large values"),
        (
            r#"regex_replace(format("%100000s", ""), " +", replace(format("%10000s", ""), " ", "$0"))"#,
            "too large values",
        ),
    ]);
    check(&[(r#"regex("(a*)*b|(a|aa)+$", replace(format("%3000s", ""), " ", "a")) == ["", "a"]"#, "false")]);
}
