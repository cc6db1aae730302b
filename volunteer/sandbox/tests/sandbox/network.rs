//! A job with a permitted network, on an internet of its own: namespaces with addresses that look public, servers that
//! answer at those and at addresses that no job may reach, and names for all of them. Nothing leaves the machine.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::Value;
use volunteer_sandbox::{Destination, Network, Spec, network_self_test};

use crate::support::{Bench, fixture, groups, is_root, sandbox};

/// The world outside: `near` is the volunteer's own, `far` the servers'. All of `far` can be reached from `near`, also
/// what no job may reach, which the first lines of the script make sure of: a refusal is the proxy's doing.
const WORLD: &str = r#"
set -eu
cd "$1"
ip link set lo up
mkfifo ready
unshare --net "$2" serve 80 443 >ready &
far=$!
read -r _ <ready
"$2" serve 8080 >ready & read -r _ <ready
ip link add near type veth peer name far netns "$far"
ip addr add 9.20.30.1/24 dev near; ip addr add 10.20.30.1/24 dev near
ip -6 addr add 2a0b:20::1/64 dev near nodad
in_far() { nsenter --net="/proc/$far/ns/net" "$@"; }
for address in 9.20.30.2/24 9.20.30.3/24 10.20.30.2/24 169.254.169.254/32; do
    in_far ip addr add "$address" dev far
done
in_far ip -6 addr add 2a0b:20::2/64 dev far nodad
in_far ip link set lo up; in_far ip link set far up
ip link set near up; ip route add 169.254.169.254/32 dev near
mount --bind hosts /etc/hosts
mount --bind resolv.conf /etc/resolv.conf
for url in 9.20.30.2 10.20.30.2 169.254.169.254 listed.example secret.example 127.0.0.1:8080; do
    curl --silent --show-error --fail --retry 5 --retry-connrefused --noproxy '*' --output /dev/null "http://$url/"
done
"#;

const HOSTS: &str = "\
127.0.0.1 localhost
9.20.30.2 listed.example a.wild.example b.a.wild.example wild.example unlisted.example
2a0b:20::2 six.example
10.20.30.2 secret.example
9.20.30.2 both.example
10.20.30.2 both.example
9.20.30.1 own.example
127.0.0.1 loop.example
169.254.169.254 metadata.example
";

/// Runs a script in the sandbox, on that internet, and gives what is known of it: how it ended, what it printed, what of
/// the network it used, and whether a process was left.
fn run(bench: &Bench, script: &str, change: impl FnOnce(&mut Spec)) -> Value {
    run_by("step", bench, script, change)
}

/// The same as the fixture does it that `how` names, and what that gives.
fn run_by(how: &str, bench: &Bench, script: &str, change: impl FnOnce(&mut Spec)) -> Value {
    let mut spec = bench.script(script);
    spec.permit(network());
    change(&mut spec);
    let place = tempfile::tempdir_in(bench.host()).unwrap();
    let write = |name: &str, text: &str| std::fs::write(place.path().join(name), text).unwrap();
    write("hosts", HOSTS);
    write("resolv.conf", "nameserver 127.0.0.1\n");
    let mut world = Command::new("unshare");
    if !is_root() {
        world.args(["--user", "--map-root-user"]);
    }
    // Among the sandbox's users there is no root, not even of a namespace.
    let user = if is_root() { "" } else { "unshare --user --map-user=1000 --map-group=1000" };
    let script = format!("{WORLD}\n{user} \"$2\" {how}");
    world.args(["--net", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child", "sh", "-c"]);
    world.args([script.as_str(), "world"]).arg(place.path()).arg(fixture());
    let mut world = world.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let wire = serde_json::to_vec(&spec).unwrap();
    world.stdin.take().unwrap().write_all(&wire).unwrap();
    let output = world.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn network() -> Network {
    let destination =
        |(host, below, port): (&str, bool, u16)| Destination { host: host.to_owned(), below, port };
    let listed = [
        ("listed.example", false, 80),
        ("listed.example", false, 443),
        ("wild.example", true, 80),
        ("six.example", false, 80),
        ("9.20.30.3", false, 80),
        ("secret.example", false, 80),
        ("both.example", false, 80),
        ("own.example", false, 80),
        ("loop.example", false, 8080),
        ("metadata.example", false, 80),
        ("10.20.30.2", false, 80),
        ("127.0.0.1", false, 8080),
        ("169.254.169.254", false, 80),
        ("nobody.example", false, 80),
    ];
    Network { destinations: listed.map(destination).into(), bytes: 1 << 20, down: None, up: None }
}

/// The names of what was refused, each with the reason.
fn refused(ran: &Value) -> Vec<(String, String)> {
    let refused = ran["network"]["refused"].as_array().unwrap();
    let text = |it: &Value| it.as_str().unwrap().to_owned();
    refused.iter().map(|it| (text(&it["destination"]), text(&it["reason"]))).collect()
}

#[test]
fn the_self_test_of_the_proxy_passes() {
    assert_eq!(network_self_test(&sandbox()), Ok(()));
}

#[test]
fn a_job_reaches_what_it_lists_by_every_way_that_the_proxy_speaks() {
    let bench = Bench::new();

    let ran = run(
        &bench,
        "get() { curl --silent --show-error --max-time 30 \"$@\" || echo failed: \"$@\"; }\n\
         get http://listed.example/forwarded\n\
         get --proxytunnel http://listed.example/tunnelled\n\
         get --proxytunnel http://listed.example:443/port\n\
         get --proxy socks5h://127.0.0.1:3128 http://listed.example/socks\n\
         get http://b.a.wild.example/below\n\
         get http://six.example/six\n\
         get --proxytunnel http://9.20.30.3/literal\n\
         get --proxy socks5://127.0.0.1:3128 http://9.20.30.3/socks-literal\n\
         get --data posted http://listed.example/post",
        |_| {},
    );

    let expected = "\
        GET /forwarded at 9.20.30.2:80\n\
        GET /tunnelled at 9.20.30.2:80\n\
        GET /port at 9.20.30.2:443\n\
        GET /socks at 9.20.30.2:80\n\
        GET /below at 9.20.30.2:80\n\
        GET /six at [2a0b:20::2]:80\n\
        GET /literal at 9.20.30.3:80\n\
        GET /socks-literal at 9.20.30.3:80\n\
        POST /post at 9.20.30.2:80\n";
    assert_eq!(ran["output"], expected, "{ran}");
    assert_eq!(refused(&ran), []);
    assert_eq!((&ran["network"]["connections"], &ran["left"]), (&9.into(), &false.into()));
    assert!(ran["network"]["down"].as_u64() > Some(9 * 20), "{ran}");
    assert!(ran["network"]["up"].as_u64() > Some(9 * 20), "{ran}");
}

#[test]
fn a_job_reaches_nothing_else_and_is_told_why() {
    let bench = Bench::new();

    let ran = run(
        &bench,
        "t() { curl --silent --max-time 30 --output /dev/null --write-out '%{http_code}' \"$@\"; echo \" $*\"; }\n\
         for host in unlisted.example wild.example secret.example both.example own.example metadata.example \
             10.20.30.2 169.254.169.254 9.20.30.2 nobody.example; do\n\
             t http://$host/\n\
         done\n\
         t http://loop.example:8080/; t http://127.0.0.1:8080/ --noproxy none.example; t http://listed.example:8080/\n\
         socks() { curl --silent --max-time 30 --proxy socks5h://127.0.0.1:3128 http://$1/ && echo reached $1; }\n\
         socks unlisted.example; socks secret.example; socks both.example; socks 10.20.30.2; socks loop.example:8080\n\
         direct() { curl --silent --max-time 30 --noproxy '*' \"$1\" && echo reached $1; }\n\
         direct http://9.20.30.2/; direct http://listed.example/; direct http://10.20.30.2/\n\
         direct http://127.0.0.1:8080/; direct 'http://[2a0b:20::2]/'; direct http://9.20.30.1:8080/\n\
         curl --silent http://secret.example/",
        |_| {},
    );

    let expected = "\
        403 http://unlisted.example/\n\
        403 http://wild.example/\n\
        403 http://secret.example/\n\
        403 http://both.example/\n\
        403 http://own.example/\n\
        403 http://metadata.example/\n\
        403 http://10.20.30.2/\n\
        403 http://169.254.169.254/\n\
        403 http://9.20.30.2/\n\
        502 http://nobody.example/\n\
        403 http://loop.example:8080/\n\
        403 http://127.0.0.1:8080/ --noproxy none.example\n\
        403 http://listed.example:8080/\n\
        10.20.30.2 is a private address (RFC 1918), which no job reaches\n";
    assert_eq!(ran["output"], expected, "{ran}");
    let refused = refused(&ran);
    let reason = |destination: &str| {
        let found = refused.iter().find(|(refused, _)| refused == destination);
        found.map_or("nothing", |(_, reason)| reason)
    };
    for (destination, expected) in [
        ("unlisted.example:80", "the job does not list it"),
        ("wild.example:80", "the job does not list it"),
        ("listed.example:8080", "the job does not list it"),
        ("9.20.30.2:80", "the job does not list it"),
        ("both.example:80", "10.20.30.2 is a private address"),
        ("10.20.30.2:80", "10.20.30.2 is a private address"),
        ("own.example:80", "9.20.30.1 is an address of this machine"),
        ("loop.example:8080", "127.0.0.1 is a loopback address"),
        ("127.0.0.1:8080", "127.0.0.1 is a loopback address"),
        ("metadata.example:80", "169.254.169.254 is an address at which clouds tell"),
        ("169.254.169.254:80", "169.254.169.254 is an address at which clouds tell"),
        ("nobody.example:80", "its name cannot be resolved"),
    ] {
        assert!(reason(destination).starts_with(expected), "{destination}: {ran}");
    }
    assert_eq!((&ran["network"]["connections"], &ran["network"]["down"]), (&0.into(), &0.into()));
    assert_eq!(ran["left"], false, "a process is left");
}

#[test]
fn a_job_without_destinations_has_no_proxy() {
    let bench = Bench::new();

    let ran = run(
        &bench,
        "curl --silent --proxy http://127.0.0.1:3128 http://listed.example/; echo $?; env | grep -ci proxy",
        |spec| *spec = bench.script(&spec.command[2]),
    );

    assert_eq!((&ran["output"], &ran["network"]), (&"7\n0\n".into(), &Value::Null));
}

#[test]
fn what_a_job_may_pass_is_counted_and_has_an_end() {
    let bench = Bench::new();

    let ran = run(
        &bench,
        "curl --silent http://listed.example/endless | wc -c; curl --silent http://listed.example/again",
        |spec| spec.network.as_mut().unwrap().bytes = 500_000,
    );

    let output = ran["output"].as_str().unwrap();
    let (come, words) = output.split_once('\n').unwrap();
    let come: u64 = come.trim().parse().unwrap();
    assert!((400_000..=516_384).contains(&come), "{ran}");
    assert_eq!(words, "it has used up the bytes that it may pass\n");
    assert_eq!(ran["network"]["refused"][0]["destination"], "listed.example:80", "{ran}");
}

#[test]
fn a_proxy_ends_with_its_job_whatever_that_was_at() {
    let bench = Bench::new();

    let ran = run(
        &bench,
        "curl --silent http://listed.example/endless >come & until [ -s come ]; do sleep 0.01; done",
        |spec| spec.network.as_mut().unwrap().bytes = 1 << 40,
    );

    assert_eq!(
        (&ran["ending"], &ran["left"]),
        (&serde_json::json!({"exited": {"code": 0}}), &false.into())
    );
    assert_eq!(ran["network"]["connections"], 1, "{ran}");
}

#[test]
fn nothing_comes_for_a_job_that_stands_still_and_what_has_come_is_told_while_it_runs() {
    for how in ["signals", "groups"] {
        if how == "groups" && groups().is_none() {
            continue;
        }
        let bench = Bench::new();

        let ran = run_by(
            &format!("paused-step {how}"),
            &bench,
            "curl --silent http://listed.example/endless >/dev/null",
            |spec| {
                let network = spec.network.as_mut().unwrap();
                (network.bytes, network.down) = (1 << 40, Some(2 << 20));
            },
        );

        // An acknowledgement or a probe may come.
        assert!(ran["meanwhile"].as_u64() < Some(16 << 10), "{how}: {ran}");
        assert_eq!(ran["network"]["connections"], 1, "{how}: {ran}");
        let (so_far, all) = (&ran["so_far"]["down_so_far"], &ran["network"]["down"]);
        assert!(so_far.as_u64() > Some(100_000) && so_far.as_u64() <= all.as_u64(), "{how}: {ran}");
    }
}
