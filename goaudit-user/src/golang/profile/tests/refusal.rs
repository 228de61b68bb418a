//! Each refusal says where, and what would be right.

use super::*;

/// A probe of kind `authz` without what a test is about: its lines begin with line 5.
const AUTHZ: &str = "[[probe]]\nid = \"test.may\"\nkind = \"authz\"\nfunction = \"May\"\n";

/// The error of a run with these files of the user's own.
fn refused_in_run(files: &[(&str, &[u8])]) -> String {
    let files: Vec<_> = files.iter().map(|(name, content)| ((*name).to_owned(), content.to_vec())).collect();
    Profile::of_run(&files).unwrap_err().to_string()
}

fn call(id: &str, rest: &str) -> String {
    format!("{}signature = \"func()\"\n{rest}", CALL.replace("test.call", id))
}

#[test]
fn a_probe_is_nested_under_one_that_is_there() {
    let alone = call("own.inner", "nested_under = [\"own.outer\"]\n");
    // By itself a file cannot know.
    assert_eq!(one(&alone).nested_under, ["own.outer"]);
    let outer = call("own.outer", "");
    let files = [("a.toml", &*alone), ("b.toml", &*outer)];
    let run = Profile::of_run(&files.map(|(name, text)| (name.to_owned(), text.into()))).unwrap();
    let ids: Vec<_> = run.probes.iter().take(2).map(|probe| &*probe.id).collect();
    assert_eq!(ids, ["own.outer", "own.inner"], "later files come first");
    assert_eq!(run.probes.len(), 2 + Profile::builtin().unwrap().probes.len());
    let misspelt = call("own.inner", "nested_under = [\"casbin.enforce\",\n  \"own.outr\"]\n");
    assert_eq!(
        refused_in_run(&[("a.toml", misspelt.as_bytes()), ("b.toml", outer.as_bytes())]),
        "a.toml:9:3: no probe has the id own.outr, neither here nor in the other profiles of this run; did you mean own.outer?"
    );
    let builtin = call("own.inner", "nested_under = [\"casbin.enforc\"]\n");
    let told = refused_in_run(&[("a.toml", builtin.as_bytes())]);
    assert!(told.starts_with("a.toml:8:17: no probe has the id casbin.enforc,"), "{told}");
    assert!(told.ends_with("did you mean casbin.enforce?"), "{told}");
    assert_eq!(
        refused(&call("own.inner", "nested_under = [\"casbin.enforce\", \"Own\"]\n")),
        "test.toml:8:35: nested_under must be a list of ids, as in [\"casbin.cached_enforce\"]"
    );
}

#[test]
fn bytes_that_are_no_text_are_told_with_their_place() {
    let told = |content: &[u8]| refused_in_run(&[("own.toml", content)]);
    let refusal = "this is not UTF-8: keep profiles as UTF-8 text";
    // Columns are characters: the first is of two bytes.
    assert_eq!(told(b"# good\n# \xc3\xb6 \xf6\n[[probe]]\n"), format!("own.toml:2:5: {refusal}"));
    assert_eq!(told(b"\xff\xfe[\0"), format!("own.toml:1:1: {refusal}"));
    assert_eq!(told(b"# cut off \xc3"), format!("own.toml:1:11: {refusal}"));
}

#[test]
fn a_module_has_no_major_version() {
    let with = |module: &str| format!("{AUTHZ}module = \"{module}\"\nsignature = \"func() bool\"\n");
    assert_eq!(
        refused(&with("example.org/shop/v2")),
        "test.toml:5:27: a module is named without its major version: write example.org/shop; `versions` says which are meant"
    );
    for module in ["example.org/shop", "gopkg.in/yaml.v3", "example.org/v2ray", "std"] {
        assert!(refused(&with(module)).contains("no allow"), "{module}");
    }
}

#[test]
fn a_function_has_a_name_of_go() {
    let with = |name: &str| refused(&call("test.call", "").replace("\"F\"", &format!("\"{name}\"")));
    assert_eq!(
        with("(work"),
        "test.toml:6:14: this is no name of a function: expected * behind the parenthesis, as in name, Type.method or (*Type).method"
    );
    assert!(with("(*Guard)May").starts_with("test.toml:6:21: "), "{}", with("(*Guard)May"));
    assert!(with("net/http.Serve").starts_with("test.toml:6:16: "), "{}", with("net/http.Serve"));
}

#[test]
fn the_decision_is_a_value_that_can_be_one() {
    let with = |lines: &str| {
        format!(
            "{AUTHZ}module = \"example.org/m\"\nsignature = \"func(p *int, e any, f [2]int) (ok bool, done int, why string, err error)\"\n{lines}\n"
        )
    };
    let told = |lines: &str| refused(&with(lines));
    assert_eq!(
        told("allow = \"done\""),
        "test.toml:7:10: allow must be a truth value or a test against nil; what other numbers and texts mean, allow_values must say"
    );
    for lines in [
        "allow = \"why\"",
        "allow = \"e\"",
        "allow = { const = \"true\" }",
        "allow = { join = [\"ok\"], with = \"\" }",
    ] {
        assert!(told(lines).starts_with("test.toml:7:"), "{}", told(lines));
    }
    assert_eq!(
        told("allow = { if = \"ok\", then = \"ok\", else = \"done\" }"),
        "test.toml:7:43: allow must be a truth value or a test against nil; what other numbers and texts mean, allow_values must say"
    );
    assert_eq!(
        told("allow = \"p\"\nallow_values = { nil = false }"),
        "test.toml:7:10: allow must be tested against nil, as in x != nil: of a pointer or a map nothing else is known"
    );
    assert_eq!(
        told("allow = \"err == nil\"\nallow_values = { true = true, x = true }"),
        "test.toml:8:31: a truth value is never x (there are: true, false)"
    );
    assert_eq!(
        told("allow = \"ok\"\nallow_values = { tru = true }"),
        "test.toml:8:18: a truth value is never tru; did you mean true?"
    );
    assert_eq!(
        told("allow = \"done\"\nallow_values = { 1 = true, yes = true }"),
        "test.toml:8:28: a number is never yes"
    );
    assert_eq!(told("allow = \"done\"\nallow_values = { 1.0 = true }").lines().count(), 1);
    for lines in [
        "allow = \"ok\"",
        "allow = \"!ok\"",
        "allow = \"err == nil\"",
        "allow = \"p != nil\"",
        "allow = \"e.(bool)\"",
        "allow = \"ok\"\nallow_values = { true = true, false = \"no opinion\" }",
        "allow = \"done\"\nallow_values = { 0 = false, 1 = true, -1 = \"neither\" }",
        "allow = \"why\"\nallow_values = { yes = true, \"\" = false }",
        "allow = \"e\"\nallow_values = { yes = true, nil = false }",
        "allow = { missing = \"nobody knows\" }",
        "allow = { of = \"done\", names = { 0 = \"no\", 1 = \"yes\" } }\nallow_values = { yes = true, no = false, 2 = false }",
        "allow = { if = \"p\", then = \"ok\", else = \"err == nil\" }",
        "allow = { if = \"p\", then = \"ok\", else = \"done\" }\nallow_values = { 1 = true, true = true, false = false }",
    ] {
        assert_eq!(one(&with(lines)).kind, Kind::Authz, "{lines}");
    }
    let call = call("test.call", "allow_values = { 1 = true }\n");
    assert_eq!(refused(&call), "test.toml:8:16: allow_values must be beside allow, whose values it explains");
}

#[test]
fn a_type_that_is_not_declared_has_a_nearest_name() {
    let path = |types: &str, signature: &str, path: &str| {
        refused(&format!(
            "{CALL}signature = \"{signature}\"\ntypes = {{ {types} }}\n[probe.fields]\nx = \"{path}\"\n"
        ))
    };
    let told = path("Reqs = \"struct { Name string }\"", "func(req *Req)", "req.Name");
    assert!(told.starts_with("test.toml:10:9: the type Req "), "{told}");
    assert!(told.ends_with("; did you mean Reqs? (on amd64)"), "{told}");
    let told = path("Outer = \"struct { in *strin }\"", "func(o Outer)", "*o.in");
    assert!(told.starts_with("test.toml:10:6: the type strin "), "{told}");
    assert!(told.ends_with("; did you mean string? (on amd64)"), "{told}");
    let told = path("User = \"struct { Name string }\"", "func(who any)", "who.(Usr).Name");
    assert!(told.starts_with("test.toml:10:9: the type Usr "), "{told}");
    assert!(told.ends_with("; did you mean User? (on amd64)"), "{told}");
    // In a declaration of a declaration.
    let told = path("A = \"struct { b B }\", B = \"struct { c flot64 }\"", "func(a A)", "a.b.c");
    assert!(told.ends_with("; did you mean float64?"), "{told}");
    // Nothing is near.
    let told = path("Reqs = \"int\"", "func(x *Other)", "x.y");
    assert!(told.ends_with("beside the signature (on amd64)"), "{told}");
}

#[test]
fn what_cannot_be_read_is_not_nil() {
    let probe = one(&format!(
        "{AUTHZ}module = \"example.org/m\"\nsignature = \"func() (e error)\"\nallow = \"e\"\nallow_values = {{ nil = true }}\n"
    ));
    let compiled = probe.compile(Arch::Amd64, None).unwrap();
    let decide = |table: u64| {
        let mut machine = Machine::default();
        let held = machine.words(&[0, 0]);
        let table = if table == 0 { 0 } else { machine.words(&[0, table]) };
        machine.registers[..2].copy_from_slice(&[table, held]);
        let returned = machine.cells(&compiled.returned);
        let reading = compiled.read(None, Some(&returned), &types);
        let (authz, missing) = compiled.authz(GoCall::default(), reading, None, &[]);
        (authz.decision, missing)
    };
    assert_eq!(decide(0).0, Some(true));
    let (decision, missing) = decide(OTHER_ERROR);
    assert_eq!(decision, None);
    let why = "the interface holds *fs.PathError, whose content is not read";
    assert_eq!(reason(&missing, "authz.authz_decision"), why);
}
