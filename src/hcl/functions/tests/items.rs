use super::{check, check_failures, check_types};

#[test]
fn truths_are_counted() {
    check(&[
        ("alltrue([true, \"true\"])", "true"),
        ("alltrue([true, false])", "false"),
        ("alltrue([true, null])", "false"),
        ("alltrue([])", "true"),
        ("anytrue([false, true])", "true"),
        ("anytrue([false, null])", "false"),
        ("anytrue([])", "false"),
        ("anytrue([unknown, true])", "unknown(1)"),
    ]);
    check_failures(&[
        ("alltrue([\"x\"])", "argument 1 of `alltrue` is wrong at its item [0]: `true` or `false` is needed"),
        ("anytrue(true)", "a list is needed"),
    ]);
}

#[test]
fn the_first_that_is_something_is_taken() {
    check(&[
        (r#"coalesce("", null, "a", "b")"#, r#""a""#),
        ("coalesce(null, 1)", "1"),
        (r#"coalesce(1, "a")"#, r#""1""#),
        ("coalesce(false, true)", "false"),
        (r#"coalesce("a", unknown)"#, "unknown(1)"),
        (r#"coalesce("a", secret)"#, r#"sensitive("a")"#),
        ("coalesce({a = 1}, null)", r#"{"a":1}"#),
        (r#"compact(["a", "", null, 1])"#, r#"["a","1"]"#),
        ("compact([])", "[]"),
    ]);
    check_types(&[(r#"compact(["a"])"#, "list(string)")]);
    check_failures(&[
        ("coalesce()", "`coalesce` takes at least 1 argument"),
        (r#"coalesce("", null)"#, "`coalesce`: all arguments are null or empty"),
        ("compact([[]])", "a text is needed, not a list"),
    ]);
}

#[test]
fn items_are_found() {
    check(&[
        (r#"contains(["a", "b"], "b")"#, "true"),
        (r#"contains(set, "a")"#, "true"),
        (r#"contains(["1"], 1)"#, "false"),
        ("contains([], 1)", "false"),
        ("contains([[1], [2]], [2])", "true"),
        ("contains([null], null)", "true"),
        (r#"contains([unknown, "a"], "a")"#, "unknown(1)"),
        (r#"contains([secret], "a")"#, "sensitive(false)"),
        (r#"index(["a", "b", "b"], "b")"#, "1"),
        (r#"index(list, "a")"#, "1"),
    ]);
    check_failures(&[
        (r#"index(["a"], "x")"#, "`index`: the list has no such item"),
        ("index([], 1)", "the list has no such item"),
        (r#"index(set, "a")"#, "must be a list, not a set"),
    ]);
}

#[test]
fn lists_are_sorted_and_made_distinct() {
    check(&[
        (r#"sort(["b", "a", "B", "é", "b"])"#, r#"["B","a","b","b","é"]"#),
        ("sort([10, 9])", r#"["10","9"]"#),
        ("sort([])", "[]"),
        (r#"distinct(["b", "a", "b", "c", "a"])"#, r#"["b","a","c"]"#),
        (r#"distinct([1, "1", 2])"#, r#"["1","2"]"#),
        ("distinct([null, 1, null])", "[null,1]"),
        ("distinct([[1], [2], [1]])", "[[1],[2]]"),
        ("distinct([{a = 1}, {a = 1}, {b = 1}])", r#"[{"a":1},{"b":1}]"#),
        ("distinct([secret, \"s\"])", r#"sensitive([sensitive("s")])"#),
        ("distinct([])", "[]"),
        ("length(distinct([for n in range(20000) : n % 100]))", "100"),
    ]);
    check_types(&[(r#"sort(["a"])"#, "list(string)"), (r#"distinct(["a"])"#, "list(string)")]);
    check_failures(&[("sort([null])", "must not be null"), ("sort([[1]])", "a text is needed")]);
}
