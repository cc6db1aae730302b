//! Lists of projects: a curator signs, an owner trusts, and changes his mind.

use std::path::Path;

use serde_json::Value;

use super::{check_fails, project, run, with_config};

#[track_caller]
fn said(directory: &Path, arguments: &[&str]) -> String {
    let output = run(directory, arguments);
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{arguments:?}: {words}");
    String::from_utf8(output.stdout).unwrap() + &words
}

/// Signs a list of these projects, and gives its file.
fn publish(directory: &Path, key: &str, uris: &[&str]) -> String {
    let written = directory.join("picks.toml");
    let project = |uri: &&str| {
        format!(
            "[[project]]\nuri = \"{uri}\"\nname = \"of {}\"\nkeywords = [\"Sky\"]\n",
            &uri[8..12]
        )
    };
    let projects: String = uris.iter().map(project).collect();
    std::fs::write(&written, format!("name = \"science\"\n{projects}")).unwrap();
    let list = directory.join("picks.list").display().to_string();
    let written = written.display().to_string();
    said(directory, &["list", "sign", &written, "--key", key, "-o", &list]);
    list
}

fn projects(directory: &Path) -> Vec<Value> {
    let list = run(directory, &["project", "list", "--json"]);
    serde_json::from_slice(&list.stdout).unwrap()
}

#[test]
fn a_list_stands_for_pins_until_the_owner_or_the_curator_says_otherwise() {
    let directory = with_config("");
    let place = directory.path();
    let key = place.join("curator.key").display().to_string();
    let curator = said(place, &["list", "init", "--key", &key]).trim().to_owned();
    let own = format!("talkoot:{}", project());
    let other = format!("talkoot:{curator}");
    let list = publish(place, &key, &[&own, &other]);

    let elsewhere = project().to_string();
    let wrong = run(place, &["list", "add", &list, "--key", &elsewhere]);
    check_fails(&wrong, 3, "the list is signed by another key");
    assert_eq!(projects(place).len(), 0);
    let add = [
        "list",
        "add",
        &list,
        "--key",
        &curator,
        "--allow",
        "wasm",
        "--max-wall",
        "1h",
        "--weight",
        "5",
    ];
    let asked = said(place, &add);
    assert!(asked.contains("each project on it may run jobs on this machine"), "{asked}");
    let listed = projects(place);
    assert_eq!(listed.len(), 2);
    assert!(listed.iter().all(|it| it["list"]["name"] == "science"), "{listed:?}");
    let shown = said(place, &["project", "list"]);
    assert!(shown.contains("by the list science  may use: wasm; weight 5, max 1h"), "{shown}");
    let set = run(place, &["project", "set", &own, "--weight", "9"]);
    check_fails(&set, 3, "you trust it by a list alone");

    // An own pin comes first, and a removed project stays removed.
    said(place, &["project", "add", &own, "--name", "mine"]);
    let pinned = projects(place);
    let mine = pinned.iter().find(|it| it["name"] == "mine").unwrap();
    assert_eq!((mine["weight"].clone(), pinned.len()), (100.into(), 2));
    said(place, &["project", "remove", "mine"]);
    let left = projects(place);
    assert_eq!(left.iter().map(|it| it["key"].clone()).collect::<Vec<_>>(), [curator.as_str()]);
    let added = run(place, &["list", "add", &list, "--keywords", "sky", "--json"]);
    let added: Value = serde_json::from_slice(&added.stdout).unwrap();
    assert_eq!((&added["list"]["name"], &added["pin"]["weight"]), (&"science".into(), &5.into()));
    assert_eq!(projects(place).len(), 1);
    said(place, &["project", "add", &own]);
    assert_eq!(projects(place).len(), 2);

    // A newer list takes the place of the former one, which does not come back.
    let former = format!("{list}.former");
    std::fs::copy(&list, &former).unwrap();
    publish(place, &key, &[&own]);
    said(place, &["list", "add", &list]);
    assert_eq!(projects(place).len(), 1);
    check_fails(&run(place, &["list", "add", &former]), 3, "its number is");
    let shown = said(place, &["list", "show"]);
    assert!(shown.contains("list science of ") && shown.contains("1 projects"), "{shown}");

    check_fails(&run(place, &["list", "remove", "sports"]), 3, "not among the lists");
    let removed = said(place, &["list", "remove", "science", "--json"]);
    let removed: Value = serde_json::from_str(&removed).unwrap();
    assert_eq!(removed, serde_json::json!({ "curator": curator, "trusted": false }));
    assert_eq!(said(place, &["list", "show"]), "");
    check_fails(&run(place, &["list", "add", &former]), 3, "its number is");
}

#[test]
fn what_is_no_list_is_named() {
    let directory = with_config("");
    let place = directory.path();
    let key = place.join("curator.key").display().to_string();
    said(place, &["list", "init", "--key", &key]);
    let file = place.join("picks.toml");
    let sign = |text: &str, more: &[&str]| {
        std::fs::write(&file, text).unwrap();
        let (file, list) = (file.display().to_string(), place.join("list").display().to_string());
        let sign = ["list", "sign", file.as_str(), "--key", key.as_str(), "-o", list.as_str()];
        run(place, &[&sign, more].concat())
    };
    check_fails(&sign("nmae = \"x\"", &[]), 3, "unknown field `nmae`");
    check_fails(&sign("name = \"\"", &[]), 3, "a list has a name");
    check_fails(&sign("name = \"x\"", &["--lifetime", "2y"]), 3, "hold too long");
    let wrong = "name = \"x\"\n[[project]]\nuri = \"https://example.org\"\nname = \"x\"";
    check_fails(&sign(wrong, &[]), 3, "a project URI starts with `talkoot:`");
    assert!(sign("name = \"x\"", &[]).status.success(), "an empty one ends all trust");
    let file = file.display().to_string();
    check_fails(&run(place, &["list", "add", &file]), 3, "there is no list of projects");
    assert!(!place.join("state/projects.toml").exists());
}
