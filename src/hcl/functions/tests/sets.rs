use super::{check, check_failures, check_types};

#[test]
fn sets_are_united_and_intersected() {
    check(&[
        (r#"setunion(["b", "a"], ["c", "a"])"#, r#"<"a","b","c">"#),
        (r#"setunion([1], ["a"])"#, r#"<"1","a">"#),
        ("setunion([])", "<>"),
        ("setunion([secret], [\"a\"])", r#"sensitive(<"a",sensitive("s")>)"#),
        ("setunion([unknown], [\"a\"])", "unknown(1)"),
        (r#"setintersection(["a", "b"], ["b", "c"], set)"#, r#"<"b">"#),
        (r#"setintersection([1, 2], ["2"])"#, r#"<"2">"#),
        ("setintersection([1], [])", "<>"),
        ("setintersection([2, 1, 2])", "<1,2>"),
    ]);
    check_types(&[
        (r#"setunion(["a"])"#, "set(string)"),
        (r#"setintersection(["a"], ["a"])"#, "set(string)"),
    ]);
    check_failures(&[
        ("setunion()", "`setunion` takes at least 1 argument"),
        ("setunion(1)", "a list is needed"),
    ]);
}

#[test]
fn products_combine_all_with_all() {
    check(&[
        (r#"setproduct(["a", "b"], [1, 2])"#, r#"[["a",1],["a",2],["b",1],["b",2]]"#),
        (r#"setproduct(["a"], [1, "x"], [true])"#, r#"[["a","1",true],["a","x",true]]"#),
        (r#"setproduct(["a"], [])"#, "[]"),
        (r#"setproduct(set, [])"#, "<>"),
        (r#"setproduct(set, [2, 1, 1])"#, r#"<["a",1],["a",2],["b",1],["b",2]>"#),
        (r#"setproduct(["a"], [unknown, secret])"#, r#"[["a",unknown(1)],["a",sensitive("s")]]"#),
        ("setproduct(set, [unknown])", "unknown(1)"),
        ("setproduct(set, [secret])", r#"sensitive(<["a",sensitive("s")],["b",sensitive("s")]>)"#),
    ]);
    check_types(&[
        (r#"setproduct(["a"], [1])"#, "list(tuple([string, number]))"),
        (r#"setproduct(set, [1])"#, "set(tuple([string, number]))"),
    ]);
    check_failures(&[
        (r#"setproduct(["a"])"#, "`setproduct` takes at least 2 arguments"),
        ("setproduct(range(3000), range(3000))", "too large values"),
        ("setproduct([for n in range(30) : range(10)]...)", "too large values"),
    ]);
    check(&[("setproduct(range(3000), range(3000), [])", "[]")]);
}
