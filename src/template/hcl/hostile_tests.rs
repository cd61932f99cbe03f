//! Configurations that nobody would write: each ends in a plan or in errors, in little time and on the stack that a test's
//! thread has, which is that of a worker's.

use std::fmt::Write as _;

use super::*;
use crate::template::{FolderSource, TemplateSource};

const SOURCE: &str = r#"
source "outscale-bsu" "web" {
  omi_name     = "image"
  vm_type      = "tinav5.c1r1p2"
  source_omi   = "ami-12345678"
  ssh_username = "outscale"
}
"#;

/// All that is wrong with a file; empty: nothing is.
fn errors(path: &str, text: &str) -> Vec<String> {
    let folder = ContextFolder::from_files([(path, text.as_bytes(), false)]);
    let request = BuildRequest::new(TemplateSource::Folder(FolderSource { hcl2_folder: String::new() }));
    let now = chrono::DateTime::from_timestamp(1_770_000_000, 0).unwrap();
    let planned = plan(&request, Some(&folder), &ParseContext::at(now));
    match planned {
        Ok(_) => Vec::new(),
        Err(problem) => problem.errors.into_iter().map(|error| error.detail).collect(),
    }
}

/// The errors of a configuration with these blocks in it.
fn with(text: &str) -> Vec<String> {
    errors("a.pkr.hcl", &format!("{SOURCE}build {{\n  sources = [\"outscale-bsu.web\"]\n}}\n{text}"))
}

/// The errors of a build with these blocks in it.
fn in_build(text: &str) -> Vec<String> {
    errors("a.pkr.hcl", &format!("{SOURCE}build {{\n  sources = [\"outscale-bsu.web\"]\n{text}\n}}\n"))
}

/// Lines made by counting.
fn lines(count: usize, line: impl Fn(usize) -> String) -> String {
    (0..count).fold(String::new(), |mut text, number| {
        let _ = writeln!(text, "{}", line(number));
        text
    })
}

fn says(errors: &[String], expected: &str) {
    assert!(errors.iter().any(|error| error.contains(expected)), "{expected}: {:?}", errors.first());
}

#[test]
fn files_of_a_mebibyte() {
    says(&with(&format!("locals {{\n  a = \"{}\"\n}}", "x".repeat(1 << 20))), "at most 1048576 bytes");
    // Few enough bytes, too many of everything else.
    says(&with(&format!("locals {{\n{}}}", lines(80_000, |n| format!("a{n} = 1")))), "at most");
    says(&with(&lines(40_000, |n| format!("locals {{\n  a{n} = 1\n}}"))), "at most");
    says(&with(&lines(40_000, |n| format!("b{n} {{}}"))), "at most");
    says(&with(&lines(20_000, |_| "build {\n sources = [\"outscale-bsu.web\"]\n}".to_owned())), "at most");
    says(&in_build(&lines(40_000, |n| format!("provisioner \"s{n}\" {{}}"))), "at most");
    says(&in_build(&lines(80_000, |n| format!("x{n} = 1"))), "at most");
    says(
        &in_build(&format!("provisioner \"shell\" {{\n{}}}", lines(80_000, |n| format!("x{n} = 1")))),
        "at most",
    );
    let blocks =
        lines(400, |n| format!("provisioner \"shell\" {{\n{}}}", lines(150, |m| format!("inlin{n}{m} = 1"))));
    assert!(!in_build(&blocks).is_empty());
    let source =
        SOURCE.replace("ssh_username", &format!("{}ssh_username", lines(80_000, |n| format!("x{n} = 1"))));
    says(
        &errors("a.pkr.hcl", &format!("{source}build {{\n  sources = [\"outscale-bsu.web\"]\n}}")),
        "at most",
    );
    let list = format!("locals {{\n  a = [{}]\n}}", "1, ".repeat(300_000));
    assert!(with(&list).is_empty());
    let texts = format!("locals {{\n  a = [{}]\n}}", "\"${1}\", ".repeat(100_000));
    assert!(with(&texts).is_empty());
    let unknown = format!("locals {{\n  a = [{}]\n}}", lines(40_000, |n| format!("var.x{n},")));
    assert!(!with(&unknown).is_empty());
    let functions = format!("locals {{\n  a = [{}]\n}}", lines(40_000, |n| format!("upperr{n}(1),")));
    assert!(!with(&functions).is_empty());
    let heredoc = format!("locals {{\n  a = <<-END\n{}END\n}}", "    ${1} x\n".repeat(60_000));
    assert!(with(&heredoc).is_empty());
    let secrets = format!(
        "local \"a\" {{\n  sensitive = true\n  expression = [{}]\n}}",
        lines(40_000, |n| format!("\"secret{n}\","))
    );
    assert!(with(&secrets).is_empty());
    let quotes = format!("locals {{\n  a = {}\n}}", "\"".repeat(500_001));
    assert!(!with(&quotes).is_empty());
    assert!(!with(&"{".repeat(1_000_000)).is_empty());
    assert!(!with(&"a{".repeat(300_000)).is_empty());
    assert!(!with(&"<<-A\n".repeat(200_000)).is_empty());
    let json = format!(
        "{{\"locals\": {{{}}}}}",
        (0..60_000).map(|n| format!("\"a{n}\": 1")).collect::<Vec<_>>().join(",")
    );
    says(&errors("a.pkr.json", &json), "at most");
}

#[test]
fn blocks_within_blocks() {
    let nested = |depth: usize| format!("locals {{ }}\n{}{}", "a {\n".repeat(depth), "}\n".repeat(depth));
    for depth in [10, 60, 100, 1000, 100_000] {
        assert!(!with(&nested(depth)).is_empty());
    }
    for depth in [2, 10, 30, 60, 1000] {
        let open =
            "dynamic \"provisioner\" {\nfor_each = [1]\nlabels = [\"shell\"]\ncontent {\n".repeat(depth);
        assert!(!in_build(&format!("{open}{}", "}\n}\n".repeat(depth))).is_empty());
    }
}

#[test]
fn dynamic_blocks_of_dynamic_blocks() {
    let dynamic = |count: usize, inside: &str| {
        format!(
            "dynamic \"provisioner\" {{\nfor_each = range({count})\nlabels = [\"shell\"]\ncontent {{\n{inside}\n}}\n}}\n"
        )
    };
    assert!(in_build(&dynamic(500, "inline = [\"x\"]")).is_empty());
    says(&in_build(&dynamic(1001, "inline = [\"x\"]")), "at most 1000 provisioners");
    says(&in_build(&dynamic(5000, "")), "at most");
    says(&in_build(&lines(20, |_| dynamic(500, ""))), "at most");
    let filters = "dynamic \"filter\" {\nfor_each = range(900)\ncontent {\nname = \"n\"\n}\n}";
    let text = SOURCE.replace(
        "ssh_username",
        &format!("dynamic \"source_omi_filter\" {{\nfor_each = range(900)\ncontent {{\n{filters}\n}}\n}}\nssh_username"),
    );
    assert!(
        !errors("a.pkr.hcl", &format!("{text}build {{\n  sources = [\"outscale-bsu.web\"]\n}}")).is_empty()
    );
}

#[test]
fn values_that_grow() {
    for (text, expected) in [
        ("a = [for a in range(3000) : [for b in range(3000) : b]]", "too"),
        ("a = \"%{ for a in range(9000) }%{ for b in range(9000) }x%{ endfor }%{ endfor }\"", "too"),
        ("a = join(\"\", [for a in range(9000) : join(\"\", [for b in range(9000) : \"xxxxxxxx\"])])", "too"),
        (
            "a = jsondecode(join(\"\", concat([for a in range(9000) : \"[\"], [for a in range(9000) : \"]\"])))",
            "argument 1",
        ),
        (
            "a = yamldecode(\"a: &a [x,x,x,x,x,x,x,x,x]\\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e]\\ng: &g [*f,*f,*f,*f,*f,*f,*f,*f,*f]\\nh: &h [*g,*g,*g,*g,*g,*g,*g,*g,*g]\\n\")",
            "yamldecode",
        ),
        ("a = regexall(\"(a*)*b\", join(\"\", [for a in range(9000) : \"a\"]))", ""),
        ("a = regex(\"(((((a{100}){100}){100}){100}){100})\", \"a\")", "regex"),
        ("a = pow(10, 1000000000)", "too"),
        ("a = pow(pow(10, 400), 400)", "too"),
        ("a = range(1000000000)", "range"),
        ("a = setproduct(range(1000), range(1000), range(1000))", "setproduct"),
        ("a = format(\"%1000000000d\", 1)", "format"),
        ("a = bcrypt(\"x\", 31)", "bcrypt"),
        ("a = cidrsubnets(\"10.0.0.0/8\", [for a in range(20000) : 24]...)", ""),
        ("a = indent(1000000000, \"a\\nb\")", "indent"),
        (
            "a = [for a in range(2000) : sha512(join(\"\", [for b in range(2000) : \"xxxxxxxxxxxxxxxx\"]))]",
            "too",
        ),
        ("a = [for a in range(500) : sort([for b in range(2000) : \"${2000 - b}\"])]", ""),
        ("a = [for a in range(5000) : distinct([for b in range(500) : b])]", "too"),
        ("a = distinct(range(1000))", ""),
        ("a = merge([for a in range(1000) : { for b in range(1000) : \"${a}-${b}\" => b }]...)", "too"),
        (
            "a = replace(join(\"\", [for b in range(9000) : \"xxxxxxxxxxxxxxxx\"]), \"x\", join(\"\", [for b in range(9000) : \"y\"]))",
            "too",
        ),
        ("a = base64gzip(join(\"\", [for b in range(9000) : \"xxxxxxxxxxxxxxxx\"]))", ""),
    ] {
        let errors = with(&format!("locals {{\n  {text}\n}}"));
        match expected {
            "" => {}
            expected => says(&errors, expected),
        }
    }
    // Each doubles the one before it.
    let doubling = lines(60, |n| format!("l{} = \"${{local.l{n}}}${{local.l{n}}}\"", n + 1));
    says(&with(&format!("locals {{\n  l0 = \"x\"\n{doubling}}}")), "too large");
    let doubling = lines(60, |n| format!("l{} = [local.l{n}, local.l{n}]", n + 1));
    says(&with(&format!("locals {{\n  l0 = [\"x\"]\n{doubling}}}")), "too");
    let chain = lines(900, |n| format!("l{n} = [local.l{}]", n + 1));
    says(&with(&format!("locals {{\n{chain}  l900 = 1\n}}")), "too deep");
}

#[test]
fn errors_that_nobody_sees() {
    let names = lines(900, |n| format!("abcdefghijklmnopqrst{n:03} = 1"));
    let hidden =
        "a = [for x in range(9000) : try(local.abcdefghijklmnopqrs, can(file(\"abcdefghijklmnopqrs\")))]";
    let errors = with(&format!("variables {{\n{names}}}\nlocals {{\n{hidden}\n}}"));
    assert!(errors.is_empty(), "{errors:?}");
    let hidden = "a = [for x in range(9000) : [for y in range(9) : can(var.abcdefghijklmnopqrs)]]";
    says(&with(&format!("variables {{\n{names}}}\nlocals {{\n{hidden}\n}}")), "too much work");
}

#[test]
fn much_that_waits_for_the_vm() {
    let shell = |inline: &str| format!("provisioner \"shell\" {{\n  inline = {inline}\n}}\n");
    assert!(in_build(&shell("[for a in range(500) : \"echo ${a} ${build.ID}\"]")).is_empty());
    says(&in_build(&shell("[for a in range(9000) : upper(\"${a}${build.ID}\")]")), "too much waits");
    // Each `for` binds what waits in those around it.
    let nested = (0..30).fold("build.ID".to_owned(), |inner, n| {
        format!("[for v{n} in [{inner}] : \"${{v{n}}}${{v{n}}}\"][0]")
    });
    in_build(&shell(&format!("[{nested}]")));
    let nested = (0..20).rev().fold("v0".to_owned(), |inner, n| {
        let all = (0..n).map(|m| format!("${{v{m}}}")).collect::<String>();
        format!("[for v{n} in [\"{all}${{build.ID}}\"] : {inner}][0]")
    });
    in_build(&shell(&format!("[{nested}]")));
    let chain = format!("[\"x ${{{}build.ID}}\"]", "1 == ".repeat(40));
    says(&in_build(&shell(&chain)), "nested too deeply");
    let wide = format!("[\"${{build.ID}}${{[{}]}}\"]", "1, ".repeat(100_000));
    assert!(!in_build(&shell(&wide)).is_empty());
    let many = format!("[for x in range(5000) : upper(\"{}${{build.ID}}\")]", "${1}".repeat(500));
    assert!(!in_build(&shell(&many)).is_empty());
}
