//! For tests of the permitted network: servers, and a step that is run where they can be reached.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv6Addr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use rustix::process::{WaitOptions, set_child_subreaper, wait};
use serde_json::json;
use volunteer_sandbox::{Cgroups, Helper, Outcome, Sandbox, Spec};

/// Answers HTTP at each of `ports` of all addresses, and says when it does.
pub fn serve(ports: &[&str]) {
    let listen = |port: &&str| {
        let port = port.parse::<u16>().expect("a test passes ports");
        TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).expect("the port is free")
    };
    let listeners: Vec<_> = ports.iter().map(listen).collect();
    println!("ready");
    let serve = |listener: TcpListener| {
        for client in listener.incoming().flatten() {
            std::thread::spawn(move || answer(&client));
        }
    };
    let threads = listeners.into_iter().map(|listener| std::thread::spawn(move || serve(listener)));
    for thread in threads.collect::<Vec<_>>() {
        let _ = thread.join();
    }
}

/// Says what was asked for, and at which address.
fn answer(mut client: &TcpStream) -> io::Result<()> {
    let mut lines = BufReader::new(client).lines();
    let asked = lines.next().transpose()?.unwrap_or_default();
    for line in lines {
        if line?.is_empty() {
            break;
        }
    }
    let mut here = client.local_addr()?;
    here.set_ip(here.ip().to_canonical());
    let asked = asked.trim_end_matches(" HTTP/1.1");
    if asked.ends_with("/endless") {
        client.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")?;
        loop {
            client.write_all(&[b'x'; 16 << 10])?;
        }
    }
    let body = format!("{asked} at {here}\n");
    let length = body.len();
    write!(client, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}")
}

/// Runs the step that standard input describes, and prints what became of it, and whether it left a process.
pub fn step() {
    set_child_subreaper(Some(rustix::process::getpid())).expect("nobody else cares");
    let spec: Spec = serde_json::from_reader(io::stdin()).expect("a test passes a specification");
    let sandbox = Sandbox::new(Helper::installed().expect("it is built beside this program"));
    let outcome = sandbox.run(&spec).expect("it can be started");
    let left = wait(WaitOptions::NOHANG).is_ok();
    let Outcome { ending, output, network, .. } = outcome;
    let output = String::from_utf8_lossy(&output);
    println!("{}", json!({ "ending": ending, "output": output, "network": network, "left": left }));
}

/// Runs a step that receives without end, pauses it amid that, by its control `group` or by signals, and prints how many bytes
/// came to the machine while it stood still, and what was told of it before its end. It must go on after the pause.
pub fn paused_step(how: &str) {
    let spec: Spec = serde_json::from_reader(io::stdin()).expect("a test passes a specification");
    let sandbox = Sandbox::new(Helper::installed().expect("it is built beside this program"));
    let sandbox = match how {
        "groups" => sandbox.in_groups(Cgroups::find().expect("root has control groups")),
        _ => sandbox,
    };
    let running = sandbox.start(&spec, None).expect("it can be started");
    // At its pace the buffers of the connection have long been full by then.
    receive(2 << 20);
    running.handle().pause();
    // Long enough for all that moves to come to a stand.
    std::thread::sleep(Duration::from_millis(400));
    let before = received();
    std::thread::sleep(Duration::from_millis(600));
    let meanwhile = received() - before;
    running.handle().resume();
    receive(received() + (256 << 10));
    let handle = running.handle();
    until(|| handle.passed().down_so_far > 0);
    let so_far = handle.passed();
    handle.kill();
    let Outcome { network, .. } = running.wait();
    println!("{}", json!({ "meanwhile": meanwhile, "so_far": so_far, "network": network }));
}

/// Waits until so many bytes have come.
fn receive(bytes: u64) {
    until(|| received() >= bytes);
}

/// Waits for that; a minute at most.
fn until(mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(60), "nothing comes any more");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Bytes that have come over the machine's own end of the cable.
fn received() -> u64 {
    let devices = std::fs::read_to_string("/proc/net/dev").expect("the kernel counts");
    let line = devices.lines().find_map(|line| line.trim().strip_prefix("near:"));
    let bytes = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    bytes.expect("the device of the test")
}
