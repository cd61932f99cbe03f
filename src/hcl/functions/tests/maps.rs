use super::{check, check_failures, check_types};

#[test]
fn maps_are_taken_apart() {
    check(&[
        ("keys({b = 1, a = unknown})", r#"["a","b"]"#),
        ("keys({})", "[]"),
        ("keys({a = secret})", r#"["a"]"#),
        ("values({b = 1, a = unknown, c = secret})", r#"[unknown(1),1,sensitive("s")]"#),
        ("values(map)", "[1,2]"),
        (r#"lookup({a = 1, b = unknown}, "a", 2)"#, "1"),
        (r#"lookup({a = 1, b = secret}, "a", 2)"#, "1"),
        (r#"lookup({a = 1, b = secret}, "b", 2)"#, r#"sensitive("s")"#),
        (r#"lookup({a = 1}, "b", "x")"#, r#""x""#),
        (r#"lookup({a = 1}, "b", null)"#, "null"),
        (r#"lookup({a = 1}, "a")"#, "1"),
        (r#"lookup(map, "z", "3")"#, "3"),
        ("lookup({s = 1}, secret, 2)", "sensitive(1)"),
        ("lookup({s = 1}, unknown, 2)", "unknown(1)"),
    ]);
    check_types(&[
        ("keys(map)", "list(string)"),
        ("keys({a = 1})", "tuple([string])"),
        ("values(map)", "list(number)"),
        ("values({a = 1})", "tuple([number])"),
    ]);
    check_failures(&[
        ("keys([1])", "a map or an object is needed, not a list"),
        (r#"lookup({a = 1}, "b")"#, "`lookup`: the map has no such key"),
        (r#"lookup(map, "z", "x")"#, "argument 3 of `lookup` must be of the type of the map's values"),
        (r#"lookup({}, "a", 1, 2)"#, "takes at most 3 arguments"),
    ]);
}

#[test]
fn maps_are_put_together() {
    check(&[
        ("merge({a = 1, b = 2}, {b = 3, c = unknown})", r#"{"a":1,"b":3,"c":unknown(1)}"#),
        ("merge({a = 1}, null)", r#"{"a":1}"#),
        ("merge(null)", "null"),
        ("merge()", "{}"),
        ("merge({a = secret}, {b = 1})", r#"{"a":sensitive("s"),"b":1}"#),
        ("merge(unknown, {b = 1})", "unknown(1)"),
        (r#"zipmap(["a", "b"], [1, unknown])"#, r#"{"a":1,"b":unknown(1)}"#),
        (r#"zipmap(["a", "a"], [1, 2])"#, r#"{"a":2}"#),
        ("zipmap([], [])", "{}"),
        ("zipmap([secret], [1])", r#"sensitive({"s":1})"#),
        ("zipmap([unknown], [secret])", "sensitive(unknown(1))"),
        (r#"zipmap(["a"], [secret])"#, r#"{"a":sensitive("s")}"#),
        (r#"zipmap([1], [2])"#, r#"{"1":2}"#),
    ]);
    check_types(&[
        ("merge(map, map)", "map(number)"),
        ("merge(map, {a = 1})", "object({a = number, x = number, y = number})"),
        (r#"merge(map, zipmap(["a"], slice(list, 0, 1)))"#, "object({a = string, x = number, y = number})"),
        ("merge({a = 1}, {b = 2})", "object({a = number, b = number})"),
        (r#"zipmap(["a", "b"], list)"#, "map(string)"),
        (r#"zipmap(["a"], [1])"#, "object({a = number})"),
    ]);
    check_failures(&[
        ("merge({}, [1])", "argument 2 of `merge` must be a map or an object, not a list"),
        (r#"zipmap(["a"], [])"#, "there must be as many keys as values"),
        (r#"zipmap(["a", "b"], set)"#, "argument 2 of `zipmap` must be a list, not a set"),
        ("zipmap([null], [1])", "must not be null"),
    ]);
}
