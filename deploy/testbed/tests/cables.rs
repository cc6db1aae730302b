//! What hosts and cables promise, measured from inside the hosts.

use std::io::{BufRead, BufReader, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use testbed::{Bed, Shape, Skew};

/// Longer than any answer on a busy machine takes that was not lost.
const PATIENCE: Duration = Duration::from_secs(10);

/// Set for a copy of this program that stands until it is killed.
const VICTIM: &str = "TALKOOT_TESTBED_VICTIM";

#[test]
fn an_answer_takes_both_delays_and_hardly_more() {
    let Some(mut bed) = Bed::new("the delay of a cable") else { return };
    pair(&mut bed, Shape::WIRE.delayed(Duration::from_millis(100)));
    let echo = Echo::start(&bed, "b");
    let ping = socket(&bed, "a");
    let mut trips: Vec<_> =
        (0..15_u32).map(|number| round_trip(&ping, echo.address, number)).collect();
    trips.sort();
    let (least, median) = (trips[0], trips[trips.len() / 2]);
    assert!(least >= Duration::from_millis(200), "an answer after {least:?}");
    assert!(median < Duration::from_millis(300), "an answer after {median:?} at the median");
}

#[test]
fn packets_are_lost_as_often_as_the_cable_is_told() {
    let Some(mut bed) = Bed::new("the loss of a cable") else { return };
    pair(&mut bed, Shape::WIRE.lossy(0.2));
    let (from, to) = (socket(&bed, "a"), socket(&bed, "b"));
    let goal = to.local_addr().expect("bound");
    let mut arrived = 0;
    for number in 0..2000_u32 {
        from.send_to(&number.to_be_bytes(), goal).expect("sent");
        // In small groups, so that no socket's buffer overflows.
        if number % 50 == 49 {
            arrived += drain(&to, Duration::from_millis(20));
        }
    }
    arrived += drain(&to, Duration::from_secs(1));
    assert!((1500..1700).contains(&arrived), "{arrived} of 2,000 arrived, with a loss of 20 %");
}

#[test]
fn a_cut_cable_is_silent_and_a_healed_one_speaks_again() {
    let Some(mut bed) = Bed::new("a cut") else { return };
    pair(&mut bed, Shape::WIRE);
    let echo = Echo::start(&bed, "b");
    let ping = socket(&bed, "a");
    round_trip(&ping, echo.address, 1);

    bed.cut("a", "b").expect("cut");
    ping.send_to(b"into the void", echo.address).expect("the sender is not told");
    ping.set_read_timeout(Some(Duration::from_millis(300))).expect("set");
    let error = ping.recv(&mut [0; 16]).expect_err("nothing arrives");
    assert_eq!(error.kind(), ErrorKind::WouldBlock);

    bed.heal("a", "b").expect("healed");
    ping.set_read_timeout(Some(PATIENCE)).expect("set");
    round_trip(&ping, echo.address, 2);
}

#[test]
fn hosts_reach_their_neighbours_and_nobody_beyond() {
    let Some(mut bed) = Bed::new("hosts without a common cable") else { return };
    pair(&mut bed, Shape::WIRE);
    bed.add_host("c").expect("a host");
    bed.join("b", "c", Shape::WIRE).expect("a cable");
    let echo = Echo::start(&bed, "c");
    round_trip(&socket(&bed, "b"), echo.address, 1);
    let beyond = socket(&bed, "a").send_to(b"hello", echo.address).expect_err("no route");
    assert_eq!(beyond.kind(), ErrorKind::NetworkUnreachable);
    let world = SocketAddr::from((Ipv4Addr::new(1, 1, 1, 1), 53));
    let outside = socket(&bed, "b").send_to(b"hello", world).expect_err("no route");
    assert_eq!(outside.kind(), ErrorKind::NetworkUnreachable);
}

#[test]
fn a_slow_cable_carries_what_its_rate_allows() {
    let Some(mut bed) = Bed::new("the rate of a cable") else { return };
    pair(&mut bed, Shape { rate: Some(100_000), ..Shape::WIRE });
    let (from, to) = (socket(&bed, "a"), socket(&bed, "b"));
    let goal = to.local_addr().expect("bound");
    let started = Instant::now();
    // With their headers of 28 bytes these are 50,000.
    for _ in 0..50 {
        from.send_to(&[0; 972], goal).expect("sent");
    }
    for _ in 0..50 {
        to.recv(&mut [0; 1500]).expect("none is lost");
    }
    let took = started.elapsed();
    assert!(took > Duration::from_millis(480), "50,000 bytes took {took:?} at 100,000 a second");
    assert!(took < Duration::from_millis(1500), "50,000 bytes took {took:?} at 100,000 a second");
}

#[test]
fn a_skewed_clock_is_wrong_by_what_it_was_told() {
    let Some(mut bed) = Bed::new("a wrong clock") else { return };
    bed.add_host("fast").expect("a host");
    bed.skew("fast", Skew::Ahead(Duration::from_secs(240)));
    bed.put("date", "fast").expect("put");
    let mut date = bed.network.command_at("date", "date".as_ref());
    let said = date.arg("+%s").output().expect("date runs").stdout;
    let there: u64 = String::from_utf8(said).expect("text").trim().parse().expect("seconds");
    let here = std::time::SystemTime::UNIX_EPOCH.elapsed().expect("after 1970").as_secs();
    assert!((238..=242).contains(&there.saturating_sub(here)), "{there} there, {here} here");
}

#[test]
fn nothing_is_left_of_a_bed_whose_process_was_killed() {
    if std::env::var_os(VICTIM).is_some() {
        return stand_until_killed();
    }
    let Some(bed) = Bed::new("the end of a killed bed") else { return };
    drop(bed);
    let mut victim = Command::new(std::env::current_exe().expect("this program"));
    let only = ["--exact", "nothing_is_left_of_a_bed_whose_process_was_killed", "--nocapture"];
    victim.env(VICTIM, "").args(only).stdout(Stdio::piped());
    let mut victim = victim.spawn().expect("this program starts");
    let said = BufReader::new(victim.stdout.take().expect("piped"));
    let mut lines = said.lines().map_while(Result::ok);
    let pids = lines.find_map(|line| line.strip_prefix("pids ").map(str::to_owned));
    let pids: Vec<u32> =
        pids.expect("its processes").split(' ').map(|pid| pid.parse().expect("a pid")).collect();
    assert!(pids.iter().all(|pid| is_alive(*pid)), "of {pids:?} some do not run yet");
    victim.kill().expect("killed");
    victim.wait().expect("reaped");
    let deadline = Instant::now() + 6 * PATIENCE;
    while pids.iter().any(|pid| is_alive(*pid)) {
        assert!(Instant::now() < deadline, "of {pids:?} some still run");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// What that process does: it makes hosts, tells of their processes, and waits for its end.
fn stand_until_killed() {
    let mut bed = Bed::new("a bed to be killed").expect("the one before was made");
    pair(&mut bed, Shape::WIRE);
    let mut sleep =
        bed.host("a").expect("it was made").command("sleep").arg("600").spawn().expect("sleep");
    let anchors = bed.hosts().map(|host| host.anchor().to_string());
    let pids: Vec<_> = anchors.chain([sleep.id().to_string()]).collect();
    // On a line of its own, whatever the harness has begun to say.
    println!("\npids {}", pids.join(" "));
    sleep.wait().expect("it is killed before");
}

/// Whether a process is there and not a zombie, which waits for nothing but to be reaped.
fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.is_ok_and(|stat| !stat.contains(") Z "))
}

fn pair(bed: &mut Bed, shape: Shape) {
    bed.add_host("a").expect("a host");
    bed.add_host("b").expect("a host");
    bed.join("a", "b", shape).expect("a cable");
}

fn socket(bed: &Bed, host: &str) -> UdpSocket {
    let host = bed.host(host).expect("it was made");
    let socket = host.inside(|| UdpSocket::bind((host.address(), 0))).expect("inside");
    let socket = socket.expect("a socket");
    socket.set_read_timeout(Some(PATIENCE)).expect("set");
    socket
}

/// Sends back what comes, until it is dropped.
struct Echo {
    address: SocketAddr,
    stop: UdpSocket,
}

impl Echo {
    fn start(bed: &Bed, host: &str) -> Self {
        let socket = socket(bed, host);
        let stop = socket.try_clone().expect("cloned");
        let address = socket.local_addr().expect("bound");
        socket.set_read_timeout(None).expect("set");
        std::thread::spawn(move || {
            let mut packet = [0; 1500];
            while let Ok((length, from)) = socket.recv_from(&mut packet) {
                if length == 0 {
                    break;
                }
                socket.send_to(&packet[..length], from).expect("sent");
            }
        });
        Self { address, stop }
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        // An empty packet ends it; if the host is gone, so is it.
        let _ = self.stop.send_to(&[], self.address);
    }
}

fn round_trip(ping: &UdpSocket, to: SocketAddr, number: u32) -> Duration {
    let sent = Instant::now();
    ping.send_to(&number.to_be_bytes(), to).expect("sent");
    let mut answer = [0; 4];
    loop {
        ping.recv(&mut answer).expect("an answer");
        // Those to what was sent earlier may come late.
        if answer == number.to_be_bytes() {
            return sent.elapsed();
        }
    }
}

/// How many packets come until none has come for so long.
fn drain(socket: &UdpSocket, quiet: Duration) -> usize {
    socket.set_read_timeout(Some(quiet)).expect("set");
    std::iter::from_fn(|| socket.recv(&mut [0; 64]).ok()).count()
}
