//! What is found on the machine, in the real sandbox.

use crate::*;

/// What `doctor` with these arguments finds, as JSON.
fn doctor(directory: &Path, more: &[&str]) -> Value {
    let arguments = [&["doctor", "--json"], more].concat();
    let output = run(directory, &arguments);
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)))
}

/// The native runtime of a diagnosis, which must be offered.
fn native(found: &Value) -> &Value {
    let native = &found["runtimes"][0];
    assert_eq!(native["reason"], Value::Null, "these tests need the sandbox");
    native
}

#[test]
fn a_tool_that_hangs_floods_fails_or_is_not_to_be_seen_loses_its_own_fact_alone() {
    let outside = tempfile::tempdir().unwrap();
    let tool = outside.path().join("tool");
    std::fs::write(&tool, "#!/bin/sh\necho 1.2.3\n").unwrap();
    let text = format!(
        r#"
runtimes = ["native"]
[[tool]]
name = "hangs"
command = ["sleep", "60"]
[[tool]]
name = "floods"
command = ["yes", "1.2.3"]
[[tool]]
name = "fails"
command = ["sh", "-c", "echo 1.2.3; exit 3"]
[[tool]]
name = "leaves-somebody"
command = ["sh", "-c", "sleep 60 >/dev/null 2>&1 & echo 1.2.3"]
[[tool]]
name = "outside"
command = ["{}"]
[[tool]]
name = "works"
command = ["sh", "-c", "echo v7.8, they say"]
pattern = 'v(\d)\.(\d)'
"#,
        tool.display()
    );
    let directory = with_config(&text);
    let found = doctor(directory.path(), &[]);
    let facts = &native(&found)["facts"];
    assert_eq!(
        (&facts["tool.works"], &facts["tool.leaves-somebody"]),
        (&"7.8".into(), &"1.2.3".into())
    );
    assert_eq!((&facts["os"], &facts["network"]), (&"linux".into(), &"none".into()));
    for lost in ["tool.hangs", "tool.floods", "tool.fails", "tool.outside"] {
        assert_eq!(facts[lost], Value::Null, "{lost}");
    }
    let reason = |fact: &str| {
        let lost = native(&found)["lost"].as_array().unwrap();
        let lost = lost.iter().find(|lost| lost["fact"] == fact).unwrap();
        lost["reason"].as_str().unwrap().to_owned()
    };
    assert_eq!(reason("tool.hangs"), "did not answer within 5 s");
    assert_eq!(reason("tool.floods"), "says more than 8 KiB");
    assert_eq!(reason("tool.fails"), "ends with exit code 3: 1.2.3");
}

#[test]
fn what_has_not_changed_is_not_asked_again() {
    let directory = with_config("runtimes = [\"native\"]\n");
    let first = doctor(directory.path(), &[]);
    let asked = |found: &Value| native(found)["asked"].as_u64().unwrap();
    assert!(asked(&first) > 5, "{first}");
    let second = doctor(directory.path(), &[]);
    assert_eq!(
        (asked(&second), &native(&second)["facts"]["tool.bash"]),
        (0, &native(&first)["facts"]["tool.bash"])
    );
    assert_eq!(asked(&doctor(directory.path(), &["--fresh"])), asked(&first));

    let cache = directory.path().join("state/cache/probes.json");
    std::fs::write(&cache, "{\"layout\":1,\"known\":[[[[").unwrap();
    assert_eq!(asked(&doctor(directory.path(), &[])), asked(&first));

    let config = "runtimes = [\"native\"]\n[[tool]]\nname = \"frob\"\n";
    std::fs::write(directory.path().join("volunteer.toml"), config).unwrap();
    assert_eq!(asked(&doctor(directory.path(), &[])), asked(&first), "the table is another one");
}

#[test]
fn a_job_file_is_held_against_the_machine() {
    let directory = with_config("runtimes = [\"native\"]\nlabels = [\"lab\"]\n");
    let job = directory.path().join("job.toml");
    let write = |needs: &str| {
        let text = format!(
            "name = \"hello\"\n[requirements]\nruntimes = [\"native\"]\n{needs}\n\
             [[step]]\nname = \"a\"\nrun = [\"a\"]\n"
        );
        std::fs::write(&job, text).unwrap();
    };
    let job = job.to_str().unwrap();
    write("tools.bash = \"*\"\nfacts.labels = [\"lab\"]");
    let fits = run(directory.path(), &["doctor", "--job", job]);
    assert!(fits.status.success(), "{}", String::from_utf8_lossy(&fits.stderr));
    assert!(String::from_utf8_lossy(&fits.stdout).contains("native: could run it"));

    write("tools.bash = \">=99\"\ntools.zig = \"*\"");
    check_fails(&run(directory.path(), &["doctor", "--job", job]), 6, "cannot run hello");
    let found = doctor(directory.path(), &["--job", job]);
    assert_eq!(found["job"]["runtime"], Value::Null);
    let missing = found["job"]["missing"].as_array().unwrap();
    let what: Vec<_> = missing.iter().map(|missing| missing["what"].as_str().unwrap()).collect();
    assert_eq!(what, ["tool.bash", "tool.zig"]);

    write("tools.cmkae = \"*\"");
    let misspelt = run(directory.path(), &["doctor", "--job", job]);
    check_fails(&misspelt, 3, "job.toml:4:7: requirements.tools.cmkae");
}

#[test]
fn a_project_is_told_which_of_its_runtimes_works() {
    let directory = with_config("runtimes = [\"native\"]\n");
    let uri = format!("talkoot:{}", project());
    assert!(run(directory.path(), &["project", "add", &uri, "--name", "sweep"]).status.success());
    let found = doctor(directory.path(), &[]);
    let sweep = &found["projects"][0];
    assert_eq!((&sweep["name"], &sweep["runtimes"]["native"]), (&"sweep".into(), &Value::Null));
    let wasm = sweep["runtimes"]["wasm"].as_str().unwrap();
    assert!(wasm.contains("switched off"), "{wasm}");
}
