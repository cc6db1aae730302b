//! Whom the owner trusts, and with what.

use crate::*;

#[test]
fn projects_are_added_listed_and_removed() {
    let directory = with_config("");
    let key = project().to_string();
    let uri = format!("talkoot:{key}?broker=/ip4/127.0.0.1/tcp/4077");
    let add = ["project", "add", &uri, "--allow", "wasm", "--name", "sweep"];
    assert!(run(directory.path(), &add).status.success());

    let list = run(directory.path(), &["project", "list", "--json"]);
    let list: Value = serde_json::from_slice(&list.stdout).unwrap();
    assert_eq!(list[0]["key"], key);
    assert_eq!(list[0]["runtimes"], serde_json::json!(["wasm"]));

    // What is not named stays as it is: trust is never widened by the way.
    let new_broker = format!("talkoot:{key}?broker=/ip4/127.0.0.1/tcp/4078");
    assert!(run(directory.path(), &["project", "add", &new_broker]).status.success());
    let set = ["project", "set", "sweep", "--note", "of a friend", "--weight", "300"];
    assert!(run(directory.path(), &set).status.success());
    assert!(
        run(directory.path(), &["project", "set", "sweep", "--backup", "true"]).status.success()
    );
    let changed = serde_json::json!([{
        "key": key, "name": "sweep", "runtimes": ["wasm"], "revoked": [], "note": "of a friend",
        "brokers": ["/ip4/127.0.0.1/tcp/4078"], "weight": 300, "tier": 0, "backup": true
    }]);
    let set =
        |what: &str, value: &str| run(directory.path(), &["project", "set", "sweep", what, value]);
    check_fails(&set("--tier", "10"), 2, "tiers are 0 to 9");
    check_fails(&set("--max-wall", "long"), 2, "--max-wall");
    let weight = ["project", "set", "sweep", "--weight", "0"];
    check_fails(&run(directory.path(), &weight), 2, "a weight is 1 to 10000");
    let list = run(directory.path(), &["project", "list", "--json"]);
    assert_eq!(serde_json::from_slice::<Value>(&list.stdout).unwrap(), changed);
    assert!(set("--max-memory", "1.5 GiB").status.success());
    assert!(set("--max-wall", "90m").status.success());
    assert!(set("--max-wall", "any").status.success());
    let list = run(directory.path(), &["project", "list"]);
    let list = String::from_utf8_lossy(&list.stdout).into_owned();
    assert!(list.contains("max 1536 MiB of memory") && !list.contains("90"), "{list}");
    let wider = ["project", "set", &key, "--allow", "wasm,docker"];
    check_fails(&run(directory.path(), &wider), 2, "there is no runtime docker");
    assert!(
        run(directory.path(), &["project", "set", &key, "--allow", "native,wasm"]).status.success()
    );
    let list = run(directory.path(), &["project", "list", "--json"]);
    let list: Value = serde_json::from_slice(&list.stdout).unwrap();
    assert_eq!(list[0]["runtimes"], serde_json::json!(["native", "wasm"]));
    check_fails(&run(directory.path(), &["project", "set", "swoop"]), 3, "not among the projects");
    check_fails(&run(directory.path(), &["project", "set", ""]), 3, "not among the projects");

    assert!(run(directory.path(), &["project", "remove", &key]).status.success());
    check_fails(&run(directory.path(), &["project", "remove", &key]), 3, "not among the projects");
}

#[test]
fn when_a_project_has_work_is_bounded_and_freed_by_the_owner() {
    let directory = with_config("hours = \"18:00-24:00\"");
    let uri = format!("talkoot:{}", project());
    let add = ["project", "add", &uri, "--every", "24h", "--hours", "22:00-06:00"];
    let added = run(directory.path(), &add);
    let asked = String::from_utf8_lossy(&added.stderr);
    let hours = "hours      22:00-06:00, as far as this machine works then: 18:00-24:00";
    let often = "how often  each of its builders, and of each at most one task every 1day";
    assert!(asked.contains(hours) && asked.contains(often), "{asked}");

    let set =
        |what: &str, value: &str| run(directory.path(), &["project", "set", &uri, what, value]);
    assert!(set("--builders", "nightly,release").status.success());
    let week = r#"{ weekend = "always", monday = ["01:00-02:00", "22:00-06:00"] }"#;
    assert!(set("--hours", week).status.success());
    check_fails(&set("--hours", "late"), 2, "is not hours of the day");
    check_fails(&set("--every", "0s"), 2, "`every` is 1s to 366d");
    let list = run(directory.path(), &["project", "list"]);
    let list = String::from_utf8_lossy(&list.stdout).into_owned();
    let expected = "every 1day, builders nightly, release, hours mon 01:00-02:00 22:00-06:00, \
                    sat-sun always";
    assert!(list.contains(expected), "{list}");

    for what in ["--every", "--builders", "--hours"] {
        assert!(set(what, "any").status.success(), "{what}");
    }
    let list = run(directory.path(), &["project", "list", "--json"]);
    let list: Value = serde_json::from_slice(&list.stdout).unwrap();
    let bounds = ["every", "builders", "hours"].map(|what| list[0].get(what).cloned());
    assert_eq!(bounds, [None, None, None]);
}

#[test]
fn a_project_is_removed_by_the_owners_own_name_if_only_one_has_it() {
    let directory = with_config("");
    let other = SecretKey::from_seed(&[4; 32]).public();
    for (key, name) in [(project().to_string(), "twin"), (other.to_string(), "twin")] {
        let uri = format!("talkoot:{key}");
        assert!(run(directory.path(), &["project", "add", &uri, "--name", name]).status.success());
    }
    let remove = |what: &str| run(directory.path(), &["project", "remove", what]);

    check_fails(&remove("twin"), 3, "you call 2 projects twin");
    check_fails(&remove("triplet"), 3, "triplet is not among the projects");
    assert!(remove(&format!("talkoot:{other}")).status.success());
    assert!(remove("twin").status.success());
    check_fails(&remove("twin"), 3, "not among the projects");
}

#[test]
fn an_address_that_cannot_be_dialled_is_taken_with_a_warning() {
    let directory = with_config("");
    let uri = format!("talkoot:{}?broker=/ip4/192.0.2.1/udp/4077", project());
    let added = run(directory.path(), &["project", "add", &uri]);
    check_fails(&added, 0, "has no transport that this program speaks");
}
