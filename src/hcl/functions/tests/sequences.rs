use super::{check, check_failures, check_types};

#[test]
fn lists_are_put_together() {
    check(&[
        (r#"concat(["a"], ["b", 1])"#, r#"["a","b",1]"#),
        ("concat([])", "[]"),
        ("concat([unknown], [secret], [null])", r#"[unknown(1),sensitive("s"),null]"#),
        ("concat(unknown, [1])", "unknown(1)"),
        ("flatten([[1, [2, []]], 3, list])", r#"[1,2,3,"b","a"]"#),
        ("flatten([])", "[]"),
        ("flatten([{a = [1]}, {a = unknown}])", r#"[{"a":[1]},{"a":unknown(1)}]"#),
        ("flatten([[unknown], 1])", "unknown(1)"),
        ("flatten([[secret], unknown])", "sensitive(unknown(1))"),
        ("flatten([[secret], 1])", r#"[sensitive("s"),1]"#),
        ("reverse([1, 2, unknown])", "[unknown(1),2,1]"),
        ("reverse(set)", r#"["b","a"]"#),
        ("reverse(unknown_set)", "unknown(2)"),
        ("coalescelist([], null, [1], [2])", "[1]"),
        ("coalescelist([], list)", r#"["b","a"]"#),
    ]);
    check_types(&[
        ("concat(list, list)", "list(string)"),
        ("concat(list, [1])", "tuple([string, string, number])"),
        ("concat(list, range(1))", "list(string)"),
        ("concat(list, split(\",\", \"a\"))", "list(string)"),
        ("concat(range(1), regexall(\"(a)\", \"a\"))", "tuple([number, tuple([string])])"),
        ("reverse(list)", "list(string)"),
        ("reverse(set)", "list(string)"),
        ("reverse([1, \"a\"])", "tuple([string, number])"),
        ("flatten([list])", "tuple([string, string])"),
    ]);
    check_failures(&[
        ("concat()", "`concat` takes at least 1 argument"),
        ("concat(set)", "argument 1 of `concat` must be a list, not a set"),
        ("concat([1], 2)", "argument 2 of `concat`: a list is needed, not a number"),
        ("coalescelist([], [])", "`coalescelist`: all lists are empty"),
        ("coalescelist(1)", "argument 1 of `coalescelist` must be a list, not a number"),
        ("flatten(\"a\")", "a list is needed, not a text"),
    ]);
}

#[test]
fn lists_are_taken_apart() {
    check(&[
        ("chunklist([1, 2, 3], 2)", "[[1,2],[3]]"),
        ("chunklist([1, 2, 3], 0)", "[[1,2,3]]"),
        ("chunklist([1, 2, 3], 9223372036854775807)", "[[1,2,3]]"),
        ("chunklist([], 2)", "[]"),
        ("chunklist([secret, unknown], 1)", r#"[[sensitive("s")],[unknown(1)]]"#),
        ("element([1, 2, 3], 1)", "2"),
        ("element([1, 2, 3], 5)", "3"),
        ("element([1, unknown], 0)", "1"),
        ("element([1, unknown], 1)", "unknown(1)"),
        ("element([secret, 1], 1)", "1"),
        ("element([1, 2], 9223372036854775807)", "2"),
        ("slice([1, 2, 3, 4], 1, 3)", "[2,3]"),
        ("slice([1, unknown], 1, 2)", "[unknown(1)]"),
        ("slice([1], 1, 1)", "[]"),
    ]);
    check_types(&[
        ("chunklist([1, \"a\"], 1)", "list(list(string))"),
        ("slice(list, 0, 1)", "list(string)"),
        ("slice([1, \"a\"], 0, 2)", "tuple([number, string])"),
    ]);
    check_failures(&[
        ("chunklist([1], -1)", "argument 2 of `chunklist` must not be negative"),
        ("chunklist([1], 0.5)", "must be a whole number"),
        ("element([], 0)", "argument 1 of `element` must not be empty"),
        ("element([1], -1)", "argument 2 of `element` must not be negative"),
        ("element(set, 0)", "must be a list, not a set"),
        ("slice([1], 0, 2)", "argument 3 of `slice` must not be greater than the length of the list"),
        ("slice([1, 2], 2, 1)", "argument 2 of `slice` must not be greater than the end"),
        ("slice([1], -9223372036854775808, 1)", "must not be negative"),
        ("slice(set, 0, 1)", "must be a list, not a set"),
    ]);
}

#[test]
fn lengths_are_counted() {
    check(&[
        ("length([1, unknown])", "2"),
        ("length([])", "0"),
        ("length(map)", "2"),
        ("length({a = secret})", "1"),
        (r#"length("héé")"#, "3"),
        ("length(set)", "2"),
        ("length(unknown_set)", "unknown(2)"),
        ("length(unknown)", "unknown(1)"),
        ("length(secret)", "sensitive(1)"),
    ]);
    check_failures(&[
        ("length(1)", "argument 1 of `length` must be a list, a map or a text, not a number"),
        ("length(null)", "must not be null"),
    ]);
}

#[test]
fn ranges_go_up_and_down() {
    check(&[
        ("range(3)", "[0,1,2]"),
        ("range(0)", "[]"),
        ("range(-3)", "[0,-1,-2]"),
        ("range(1, 4)", "[1,2,3]"),
        ("range(4, 1)", "[4,3,2]"),
        ("range(1, 8, 2)", "[1,3,5,7]"),
        ("range(1, 8, 3)", "[1,4,7]"),
        ("range(4, 1, -2)", "[4,2]"),
        ("range(1, 1, -1)", "[]"),
        ("range(0, 1, 0.25)", "[0,0.25,0.5,0.75]"),
        ("length(range(5000))", "5000"),
    ]);
    check_types(&[("range(2)", "list(number)")]);
    check_failures(&[
        ("range()", "`range` takes at least 1 argument"),
        ("range(1, 2, 3, 4)", "takes at most 3 arguments"),
        ("range(1, 2, 0)", "argument 3 of `range` must not be 0"),
        ("range(1, 2, -1)", "goes away from the end"),
        ("range(2, 1, 1)", "goes away from the end"),
        ("range(1e300)", "too large values"),
        ("range(9223372036854775807)", "too large values"),
        ("range(-9223372036854775808)", "too large values"),
        ("range(0, 1, 1e-90)", "too large values"),
    ]);
}
