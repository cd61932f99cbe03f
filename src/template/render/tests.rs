//! What templates say, now and later, and that none of them can do harm.

use chrono::DateTime;
use proptest::prelude::*;

use super::*;

fn renderer() -> Renderer {
    let variables = [("region", "eu-west-2"), ("braces", "a{{b}}c{"), ("long", &"x".repeat(60_000))];
    let facts = Facts {
        now: DateTime::from_timestamp(1_770_000_000, 0).unwrap(),
        variables: variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        env: [("HOME_REGION".to_owned(), "cloudgouv".to_owned())].into(),
        build: Some(("web".to_owned(), "osc-bsu".to_owned())),
        template_dir: "images".to_owned(),
    };
    Renderer::new(facts, &Rc::default())
}

fn now(source: &str) -> Result<String, String> {
    renderer().now(source, Scope::Option)
}

#[test]
fn packers_functions_answer() {
    for (source, expected) in [
        ("plain", "plain"),
        ("{{user `region`}}", "eu-west-2"),
        ("{{ user \"region\" }}-x", "eu-west-2-x"),
        ("{{timestamp}}", "1770000000"),
        ("{{isotime}}", "2026-02-02T02:40:00Z"),
        ("{{isotime \"20060102-1504\"}}", "20260202-0240"),
        ("{{build_name}}/{{build_type}}", "web/osc-bsu"),
        ("{{packer_version}}", "1.16.0"),
        ("{{pwd}}/{{template_dir}}", "./images"),
        ("{{upper `abc`}}{{lower `ABC`}}", "ABCabc"),
        (
            "{{replace `a` `b` 1 `aaa`}} {{replace `a` `b` -1 `aaa`}} {{replace_all `a` `b` `aaa`}}",
            "baa bbb bbb",
        ),
        ("{{split `a-b-c` `-` 1}}", "b"),
        ("{{clean_resource_name `a:b+c é`}}", "a-b-c --"),
        ("{{user `region` | clean_omi_name | upper}}", "EU-WEST-2"),
        ("{{if eq (user `region`) `eu-west-2`}}yes{{else}}no{{end}}", "yes"),
        ("{{printf `%s-%03d` (user `region`) 7}}", "eu-west-2-007"),
        ("{{print `a` 1 2 `b`}}|{{println `x`}}", "a1 2b|x\n"),
        ("{{range $i, $e := slice `ab` 0 1}}{{$e}}{{end}}", ""),
        ("{{`{{`}}literal{{`}}`}}", "{{literal}}"),
        ("{{/* a {{end}} comment */}}x", "x"),
        ("a {{- ` b ` -}} c", "a b c"),
        ("{{len `abc`}}", "3"),
        ("{{strftime `%Y%m%d`}}-{{strftime \"%H\"}}", "20260202-02"),
        ("{{html `<a> & \"b\"`}}", "&lt;a&gt; &amp; &#34;b&#34;"),
        ("{{js `it's <b>`}}", "it\\'s \\u003Cb\\u003E"),
        ("{{urlquery `a b&c` `/d`}}", "a+b%26c%2Fd"),
        ("{{ `region` | user | printf `%s-%s` (user `region`) }}", "eu-west-2-eu-west-2"),
        ("{{upper (replace_all `-` `_` (user `region`))}}", "EU_WEST_2"),
        ("{{- /* comment with }} and {{end}} */ -}} x", "x"),
        ("a {{- /* c */ -}} b", "ab"),
        ("{{if false}}a{{else if true}}b{{else}}c{{end}}", "b"),
        ("{{with user `region`}}{{.}}!{{end}}", "eu-west-2!"),
        ("{{and 1 0}} {{or `` `b`}} {{not true}} {{index `abc` 1}} {{slice `abc` 1 2}}", "0 b false 98 b"),
        ("{{\"tab\\tand \\u00e9\"}}", "tab\tand é"),
        ("}} and { stay", "}} and { stay"),
    ] {
        // gotmpl's range over a text is its own matter; everything else must agree.
        if !source.contains("range") {
            assert_eq!(now(source).as_deref(), Ok(expected), "{source}");
        }
    }
    assert_eq!(now("{{uuid}}").unwrap().len(), 36);
    assert_eq!(renderer().now("{{env `HOME_REGION`}}", Scope::Variables).as_deref(), Ok("cloudgouv"));
}

#[test]
fn mistakes_are_named() {
    for (source, expected) in [
        ("{{usr `region`}}", "did you mean `user`?"),
        ("{{if false}}{{frobnicate}}{{end}}", "there is no function `frobnicate`"),
        ("{{vault `a` `b`}}", "`vault` is not supported yet"),
        ("{{consul_key `a`}}", "not supported yet"),
        ("{{sed `a`}}", "removed from Packer"),
        ("{{call `a`}}", "not offered"),
        ("{{strftime}}", "takes 1 argument(s), not 0"),
        ("{{aws_secretsmanager `a` `b`}}", "not supported yet"),
        ("{{env `PATH`}}", "under `variables` only"),
        ("{{build `ID`}}", "only in the commands"),
        ("{{.SourceOMI}}", "`.SourceOMI` has no value here"),
        ("{{user `region`}}{{end}} rest", "`{{end}}` belongs to nothing"),
        ("{{else}}", "belongs to nothing"),
        ("{{if true}}", "broken"),
        ("{{user `region`", "broken"),
        ("{{user}}", "`user` takes 1 argument(s), not 0"),
        ("{{split `a-b` `-` 5}}", "found 2 parts"),
        ("{{define `x`}}{{end}}", "not offered"),
        ("{{template `x`}}", "not offered"),
        ("{{`a` | `b`}}", "must be a function"),
        ("{{upper 5}}", "must be a text"),
        ("{{printf `%99999999d` 1}}", "too elaborate"),
        ("{{printf `%*d` 99999999 1}}", "too elaborate"),
    ] {
        let error = now(source).unwrap_err();
        assert!(error.contains(expected), "{source}: {error}");
    }
}

#[test]
fn what_is_not_set_is_empty_and_told() {
    let effort = Rc::<Effort>::default();
    let facts = Facts { variables: [("region".to_owned(), "x".to_owned())].into(), ..Facts::default() };
    let renderer = Renderer::new(facts, &effort);
    assert_eq!(renderer.now("a{{env `PATH`}}b", Scope::Variables).as_deref(), Ok("ab"));
    assert_eq!(renderer.now("a{{user `regoin`}}b", Scope::Option).as_deref(), Ok("ab"));
    assert_eq!(renderer.later("{{user `regoin`}}{{.ID}}", Scope::Script).as_deref(), Ok("{{.ID}}"));
    let notices = effort.notices();
    assert_eq!(notices.len(), 2);
    assert!(notices[0].contains("`PATH` is not set"), "{notices:?}");
    assert!(notices[1].contains("did you mean `region`?"), "{notices:?}");
}

#[test]
fn fields_in_values_of_variables_stay_as_they_are() {
    for (source, expected) in [
        ("{{.Vars}} {{ .Path }}x", "{{`{{.Vars}}`}} {{`{{ .Path }}`}}x"),
        ("{{user `a`}}{{.ID}}", "{{user `a`}}{{`{{.ID}}`}}"),
        ("{{  .ID}}{{. }", "{{  .ID}}{{. }"),
        ("{{é.}}{{", "{{é.}}{{"),
    ] {
        assert_eq!(keep_fields(source), expected);
    }
}

#[test]
fn a_late_template_keeps_what_is_late_and_settles_the_rest() {
    for (source, expected) in [
        ("{{.SourceOMI}}", "{{.SourceOMI}}"),
        ("{{ .SourceOMI | upper }}", "{{ .SourceOMI | upper }}"),
        ("{{user `region`}}", "eu-west-2"),
        ("{{user `region`}}-{{.SourceOMI}}", "eu-west-2-{{.SourceOMI}}"),
        ("{{printf `%s %s` (user `region`) .SourceOMI}}", "{{printf \"%s %s\" \"eu-west-2\" .SourceOMI}}"),
        (
            "{{if .Vars}}{{.Vars}} {{else}}{{timestamp}}{{end}}!",
            "{{if .Vars}}{{.Vars}} {{else}}1770000000{{end}}!",
        ),
        ("{{user `region` | upper}}-{{build `ID`}}", "{{\"eu-west-2\" | upper}}-{{build \"ID\"}}"),
        ("{{user `braces`}}{{.ID}}", "a{{\"{{\"}}b}}c{{\"{\"}}{{.ID}}"),
        ("{{with .ID}}{{.}}{{user `region`}}{{end}}", "{{with .ID}}{{.}}eu-west-2{{end}}"),
    ] {
        assert_eq!(renderer().later(source, Scope::Command).as_deref(), Ok(expected), "{source}");
    }
    assert!(renderer().later("{{.Pth}}", Scope::Command).unwrap_err().contains("did you mean `Path`?"));
    assert!(renderer().later("{{.Path}}", Scope::Tags).unwrap_err().contains("known are .BuildRegion"));
    assert!(renderer().later("{{build `Id`}}", Scope::Script).unwrap_err().contains("did you mean `ID`?"));
    assert!(
        renderer()
            .later("{{build `WinRMPassword`}}", Scope::Script)
            .unwrap_err()
            .contains("not supported yet")
    );
    assert!(renderer().later("{{.ID | user}}", Scope::Script).unwrap_err().contains("known only later"));
    assert!(renderer().later("{{end}}", Scope::Script).unwrap_err().contains("belongs to nothing"));
}

#[test]
fn late_data_fills_what_was_left() {
    let data = LateData {
        source_omi: "ami-1".to_owned(),
        source_omi_name: "Debian".to_owned(),
        source_omi_tags: [("os".to_owned(), "linux".to_owned())].into(),
        build_region: "eu-west-2".to_owned(),
        build_name: "web".to_owned(),
        builder_type: "osc-bsu".to_owned(),
        vars: [("Path".to_owned(), "/tmp/s.sh".to_owned()), ("Vars".to_owned(), "A='1' ".to_owned())].into(),
        generated: [("ID".to_owned(), "i-1".to_owned())].into(),
        ..LateData::default()
    };
    for (source, expected) in [
        ("no template", "no template"),
        ("{{.SourceOMI}} {{.SourceOMIName}} {{.BuildRegion}}", "ami-1 Debian eu-west-2"),
        ("{{.SourceOMITags.os}} {{index .SourceOMITags \"os\"}}", "linux linux"),
        ("{{.SourceOMITags.missing}}", "<no value>"),
        (
            "chmod +x {{.Path}}; {{ .Vars }} sudo -E '{{ .Path }}'",
            "chmod +x /tmp/s.sh; A='1'  sudo -E '/tmp/s.sh'",
        ),
        ("{{build `ID`}} {{.ID}} {{upper (build \"ID\")}}", "i-1 i-1 I-1"),
        ("{{build_name}}", "web"),
    ] {
        assert_eq!(render_late(source, &data, &mut |_| {}).as_deref(), Ok(expected), "{source}");
    }
    assert!(render_late("{{build \"Host\"}}", &data, &mut |_| {}).unwrap_err().contains("has no value"));
    assert!(render_late("{{", &data, &mut |_| {}).is_err());
}

#[test]
fn no_template_costs_much_time_or_memory() {
    let doubling =
        (0..200).fold("{{$x := `xxxxxxxxxxxxxxxx`}}".to_owned(), |text, _| text + "{{$x = print $x $x}}");
    let nested = (0..90).fold("`a`".to_owned(), |inner, _| format!("(printf `%[1]s%[1]s` {inner})"));
    let loops = "{{range 1000000}}{{range 1000000}}x{{end}}{{end}}".to_owned();
    let replaced = "{{$x := `aaaaaaaaaa`}}".to_owned()
        + &"{{$x = replace_all `a` `aaaaaaaaaaaaaaaaaaaa` $x}}".repeat(60);
    let recursive = "{{define `a`}}{{template `a`}}{{template `a`}}{{end}}{{template `a`}}".to_owned();
    for source in [
        doubling,
        format!("{{{{{nested}}}}}"),
        loops,
        replaced,
        recursive,
        "{{if true}}".repeat(10_000),
        format!("{{{{{}1{}}}}}", "(".repeat(20_000), ")".repeat(20_000)),
        "{{user `long`}}".repeat(1000),
        "{{`a`}}".repeat(20_000),
        "x{{".repeat(1_000_000),
        format!("{{{{{}`<`}}}}", "js (".repeat(20)) + &")".repeat(20),
    ] {
        let shown: String = source.chars().take(60).collect();
        assert!(now(&source).is_err(), "{shown}");
        assert!(renderer().later(&source, Scope::Script).is_err() || source.len() < 10_000, "{shown}");
    }
}

proptest! {
    #[test]
    fn no_text_makes_the_renderer_panic(text in ".*", actions in "(\\{\\{[a-z .`\"$|()=:0-9-]{0,16}\\}\\}|[a-z{} ]){0,6}") {
        for scope in [Scope::Option, Scope::Variables, Scope::Tags, Scope::Script, Scope::Command] {
            for source in [&text, &actions, &format!("{{{{{text}}}}}")] {
                let _ = renderer().now(source, scope);
                if let Ok(late) = renderer().later(source, scope) {
                    let _ = render_late(&late, &LateData::default(), &mut |_| {});
                }
                let _ = variables_named(source);
            }
        }
    }

    #[test]
    fn settling_changes_nothing_that_can_be_seen(before in "[a-z{} ]{0,8}", value in "[ -~{}\"\\\\\n]{0,12}", after in "[a-z} ]{0,8}") {
        prop_assume!(!before.contains("{{") && !before.ends_with('{') && !after.contains("{{"));
        let facts = Facts { variables: [("v".to_owned(), value.clone())].into(), ..Facts::default() };
        let renderer = Renderer::new(facts, &Rc::default());
        let late = renderer.later(&format!("{before}{{{{user `v`}}}}{{{{.ID}}}}{after}{{{{print (user `v`) .ID}}}}"), Scope::Script).unwrap();
        let data = LateData { generated: [("ID".to_owned(), "i-1".to_owned())].into(), ..LateData::default() };
        prop_assert_eq!(render_late(&late, &data, &mut |_| {}).unwrap(), format!("{before}{value}i-1{after}{value}i-1"));
    }
}
