//! The door against those who mean it no good, and those whose line is bad.

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use capability::{BlobHash, Ed25519, SecretKey, Signer, Timestamp, Verified};
use mesh_core::{Answer, Ask, MAX_FRAME_BYTES, Pass, Refusal, seal, seal_body};
use support::visitor::{Came, Visitor, header, now, text};
use support::{Process, directory};
use tempfile::TempDir;
use ureq::http::Method;

/// A broker with a door, and somebody at it.
struct Scene {
    broker: Process,
    visitor: Visitor,
    _place: TempDir,
}

impl Scene {
    fn visitor(&self) -> Visitor {
        self.visitor.clone()
    }
}

fn scene(more: &[&str]) -> Scene {
    let place = directory();
    let mut broker = Process::start(place.path(), more);
    let door = broker.door();
    Scene { broker, visitor: visitor(&door, 1), _place: place }
}

fn visitor(door: &str, seed: u8) -> Visitor {
    Visitor::come(door, Arc::new(SecretKey::from_seed(&[seed; 32])))
}

fn question() -> Ask {
    Ask::Registrations { projects: Vec::new() }
}

fn blob(size: usize) -> (BlobHash, Vec<u8>) {
    let bytes: Vec<u8> = (0..size).map(|index| (index / 7 % 251) as u8).collect();
    (BlobHash::of(&bytes), bytes)
}

fn refused(answer: &Answer, says: &str) {
    let Answer::Refused(Refusal::Invalid(why)) = answer else { panic!("{answer:?}") };
    assert!(why.contains(says), "{why}");
}

fn denied(came: &Came, status: u16, says: &str) {
    assert_eq!(came.status(), status, "{}", text(came));
    assert!(text(came).contains(says), "{}", text(came));
}

/// A connection of its own, for what no HTTP library would send.
fn dial(visitor: &Visitor) -> TcpStream {
    let address: SocketAddr = visitor.base["http://".len()..].parse().expect("an address");
    let stream = TcpStream::connect(address).expect("a door");
    stream.set_read_timeout(Some(support::PATIENCE)).expect("set");
    stream
}

/// What the door says until it ends the connection.
fn last_words(mut stream: TcpStream) -> String {
    let mut said = Vec::new();
    match stream.read_to_end(&mut said) {
        Ok(_) => (),
        // It may have been sent more than it wanted to read.
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => (),
        Err(error) => panic!("the door keeps the connection: {error}"),
    }
    String::from_utf8_lossy(&said).into_owned()
}

#[test]
fn a_request_is_taken_once_by_its_audience_in_time() {
    let scene = scene(&[]);
    let visitor = scene.visitor();
    let sealed = |audience, nonce, at| {
        let request = seal(&question(), audience, nonce, at, visitor.key.as_ref());
        request.envelope().as_bytes().to_vec()
    };
    let request = sealed(visitor.broker, 1, now());
    assert_eq!(visitor.call(request.clone()), Answer::Registrations(Vec::new()));
    refused(&visitor.call(request.clone()), "seen before");
    let elsewhere = SecretKey::from_seed(&[9; 32]).public();
    refused(&visitor.call(sealed(elsewhere, 2, now())), "the request is for");
    refused(&visitor.call(sealed(visitor.broker, 3, Timestamp(now().0 - 3_600_000))), "expired");
    let mut forged = request;
    *forged.last_mut().expect("a signature") ^= 1;
    refused(&visitor.call(forged), "signature");
}

#[test]
fn a_pass_lets_through_what_it_names_once_and_nothing_else() {
    let scene = scene(&[]);
    let visitor = scene.visitor();
    let (hash, bytes) = blob(1000);
    assert_eq!(visitor.put(hash, bytes.len(), &[], &bytes).status(), 200);
    let path = format!("blob/{hash}");
    let get = |pass: &str| visitor.send(Method::GET, &path, &[("authorization", pass)], Vec::new());

    let pass = visitor.pass(&Pass::Get { hash, limit: 1000 });
    assert_eq!(get(&pass).body(), &bytes);
    denied(&get(&pass), 401, "seen before");
    assert_eq!(header(&get("Talkoot x"), "www-authenticate"), "Talkoot");
    denied(&get("Bearer x"), 401, "there is none");
    denied(&get(&format!("Talkoot {}", "A".repeat(2049))), 401, "too long");
    denied(&visitor.send(Method::GET, &path, &[], Vec::new()), 401, "there is none");
    let (other, _) = blob(999);
    denied(&get(&visitor.pass(&Pass::Get { hash: other, limit: 1000 })), 401, "not for this blob");
    denied(&get(&visitor.pass(&Pass::Put { hash, size: 1000 })), 401, "not for this blob");
    denied(&get(&visitor.pass(&Pass::Get { hash, limit: 999 })), 413, "999");

    let elsewhere = SecretKey::from_seed(&[9; 32]).public();
    let body = Pass::Get { hash, limit: 1000 }.encode();
    let request = seal_body(body, elsewhere, 1, now(), visitor.key.as_ref());
    let pass = data_encoding::BASE64URL_NOPAD.encode(request.envelope().as_bytes());
    denied(&get(&format!("Talkoot {pass}")), 401, "the request is for");
    // A question is no pass, and a pass no question.
    let pass = visitor.seal(&Pass::Get { hash, limit: 1000 });
    refused(&visitor.call(pass), "malformed message");
    denied(
        &visitor.send(Method::POST, "collect", &[], visitor.seal(&Pass::Put { hash, size: 1 })),
        401,
        "not for collecting",
    );
    let frame = b"another frame".to_vec();
    let pass = visitor.pass(&Pass::Custody { frame: BlobHash::of(b"a frame") });
    let headers = [("authorization", pass.as_str())];
    denied(&visitor.send(Method::POST, "custody", &headers, frame), 401, "not for custody of this");
}

#[test]
fn a_frame_over_its_bound_is_refused_before_it_has_come() {
    let scene = scene(&[]);
    let visitor = scene.visitor();
    for path in ["call", "collect"] {
        let mut stream = dial(&visitor);
        let length = MAX_FRAME_BYTES + 1;
        let head = format!(
            "POST /talkoot/1/{path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).expect("sent");
        let said = last_words(stream);
        assert!(said.starts_with("HTTP/1.1 413"), "{said}");
    }
    let mut stream = dial(&visitor);
    let head = "POST /talkoot/1/call HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).expect("sent");
    let said = last_words(stream);
    assert!(said.starts_with("HTTP/1.1 411"), "{said}");
}

#[test]
fn a_head_without_end_is_cut_off() {
    let scene = scene(&[]);
    let visitor = scene.visitor();
    let mut stream = dial(&visitor);
    stream.write_all(b"GET /talkoot/1/door HTTP/1.1\r\nX: ").expect("sent");
    while stream.write_all(&[b'x'; 1024]).is_ok() {}
    let mut many = dial(&visitor);
    let fields = "a: b\r\n".repeat(100);
    many.write_all(format!("GET /talkoot/1/door HTTP/1.1\r\n{fields}\r\n").as_bytes())
        .expect("sent");
    assert!(last_words(many).starts_with("HTTP/1.1 431"));
}

/// Takes as long as the door's patience: half a minute.
#[test]
fn who_dawdles_is_given_up_and_others_are_served_meanwhile() {
    let scene = scene(&[]);
    let visitor = scene.visitor();
    let begun = Instant::now();
    let mut head = dial(&visitor);
    head.write_all(b"GET /talkoot/1/door HTTP/1.1\r\n").expect("sent");
    let mut frame = dial(&visitor);
    frame
        .write_all(b"POST /talkoot/1/call HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nslow")
        .expect("sent");
    let (hash, bytes) = blob(100_000);
    let pass = visitor.pass(&Pass::Put { hash, size: 100_000 });
    let mut put = dial(&visitor);
    let request = format!(
        "PUT /talkoot/1/blob/{hash} HTTP/1.1\r\nHost: x\r\nAuthorization: {pass}\r\n\
         Content-Length: 100000\r\n\r\n"
    );
    put.write_all(request.as_bytes()).expect("sent");
    put.write_all(&bytes[..50_000]).expect("sent");
    // One byte now and then is no progress.
    let mut drip = put.try_clone().expect("a second handle");
    let dripping = std::thread::spawn(move || {
        for byte in &bytes[50_000..50_100] {
            if drip.write_all(&[*byte]).is_err() {
                break;
            }
            std::thread::sleep(Duration::from_millis(500));
        }
    });
    assert_eq!(visitor.ask(&question()), Answer::Registrations(Vec::new()));
    let said = last_words(frame);
    assert!(said.starts_with("HTTP/1.1 408"), "{said}");
    last_words(head);
    let said = last_words(put);
    assert!(said.is_empty() || said.starts_with("HTTP/1.1 408"), "{said}");
    assert!(begun.elapsed() < support::PATIENCE, "{:?}", begun.elapsed());
    dripping.join().expect("it does not panic");
    let arrived: u64 = header(&visitor.head(hash), "upload-offset").parse().expect("a number");
    assert!(arrived >= 50_000, "what has come stays: {arrived}");
}

#[test]
fn a_blob_goes_on_where_it_stopped() {
    let scene = scene(&[]);
    let visitor = scene.visitor();
    let (hash, bytes) = blob(200_000);
    let put = |range: &str, body: &[u8]| {
        visitor.put(hash, bytes.len(), &[("content-range", range)], body)
    };
    denied(&visitor.get(hash, 200_000, &[]), 404, "not here");
    let came = put("bytes 0-99999/200000", &bytes[..100_000]);
    assert_eq!((came.status().as_u16(), header(&came, "upload-offset")), (202, "100000"));
    let came = visitor.head(hash);
    assert_eq!((came.status().as_u16(), header(&came, "upload-offset")), (404, "100000"));
    let came = put("bytes 150000-199999/200000", &bytes[150_000..]);
    denied(&came, 409, "go on at byte 100000");
    assert_eq!(header(&came, "upload-offset"), "100000");
    for odd in ["bytes 100000-199998/200000", "bytes 100000-199999/200001", "100000-199999"] {
        denied(&put(odd, &bytes[100_000..]), 400, "");
    }
    assert_eq!(put("bytes 100000-199999/200000", &bytes[100_000..]).status(), 200);
    let came = visitor.head(hash);
    assert_eq!((came.status().as_u16(), header(&came, "content-length")), (200, "200000"));
    assert_eq!(visitor.put(hash, bytes.len(), &[], &[]).status(), 400, "of another length");

    let part = |range: &str| visitor.get(hash, 200_000, &[("range", range)]);
    assert_eq!(visitor.get(hash, 200_000, &[]).body(), &bytes);
    let came = part("bytes=199990-");
    assert_eq!((came.status().as_u16(), came.body().as_slice()), (206, &bytes[199_990..]));
    assert_eq!(header(&came, "content-range"), "bytes 199990-199999/200000");
    assert_eq!(part("bytes=5-9").body().as_slice(), &bytes[5..10]);
    let came = part("bytes=200000-");
    denied(&came, 416, "200000");
    assert_eq!(header(&came, "content-range"), "bytes */200000");
}

#[test]
fn wrong_bytes_are_found_and_not_kept() {
    let scene = scene(&[]);
    let visitor = scene.visitor();
    let (hash, mut bytes) = blob(50_000);
    bytes[49_999] ^= 1;
    let came = visitor.put(hash, bytes.len(), &[], &bytes);
    denied(&came, 422, "not the blob's bytes");
    assert_eq!(header(&came, "upload-offset"), "0");
    let came = visitor.head(hash);
    assert_eq!((came.status().as_u16(), header(&came, "upload-offset")), (404, "0"));
    // A lie about the size is one about the bytes.
    denied(&visitor.put(hash, 49_999, &[], &bytes[..49_999]), 422, "");
    bytes[49_999] ^= 1;
    assert_eq!(visitor.put(hash, bytes.len(), &[], &bytes).status(), 200);
    denied(
        &visitor.put(hash, (1 << 30) + 1, &[("content-range", "bytes 0-0/1073741825")], &[0]),
        413,
        "",
    );
}

#[test]
fn one_address_cannot_take_all_connections() {
    let scene = scene(&[]);
    let visitor = scene.visitor();
    let held: Vec<_> = (0..128).map(|_| dial(&visitor)).collect();
    let said = last_words(dial(&visitor));
    assert!(said.is_empty() || said.starts_with("HTTP/1.1 503"), "{said}");
    drop(held);
    let deadline = Instant::now() + support::PATIENCE;
    while !last_words(asking(&visitor)).starts_with("HTTP/1.1 200") {
        assert!(Instant::now() < deadline, "there is no room again");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn asking(visitor: &Visitor) -> TcpStream {
    let mut stream = dial(visitor);
    let head = b"GET /talkoot/1/door HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    // It may have been turned away already.
    drop(stream.write_all(head));
    stream
}

#[test]
fn behind_a_proxy_requests_are_counted_by_who_asks() {
    let scene = scene(&["--config", &proxied()]);
    let visitor = scene.visitor();
    let from = |address: &str, n: u8| {
        let mut stream = dial(&visitor);
        let frame = collecting(&visitor, n);
        let head = format!(
            "POST /talkoot/1/collect HTTP/1.1\r\nHost: broker.example\r\nX-Forwarded-For: {address}\r\n\
             Content-Length: {}\r\n\r\n",
            frame.len()
        );
        stream.write_all(head.as_bytes()).expect("sent");
        stream.write_all(&frame).expect("sent");
        stream
    };
    let streams: Vec<_> = (0..140).map(|n| from("198.51.100.7", n)).collect();
    let deadline = Instant::now() + support::PATIENCE;
    while streams.iter().filter(|stream| says_too_many(stream)).count() < 12 {
        assert!(Instant::now() < deadline, "128 of 140 wait");
        std::thread::sleep(Duration::from_millis(20));
    }
    let said = last_words(asking_for(&visitor, "198.51.100.8"));
    assert!(said.starts_with("HTTP/1.1 200"), "{said}");
}

/// Whether the door has turned this request away, so far.
fn says_too_many(stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).expect("set");
    let mut said = [0; 12];
    stream.peek(&mut said).is_ok() && said == *b"HTTP/1.1 429"
}

fn asking_for(visitor: &Visitor, address: &str) -> TcpStream {
    let mut stream = dial(visitor);
    let head = format!(
        "GET /talkoot/1/door HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
         X-Forwarded-For: {address}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).expect("sent");
    stream
}

/// A request to collect, of a visitor of its own.
fn collecting(visitor: &Visitor, n: u8) -> Vec<u8> {
    let key = SecretKey::from_seed(&[n; 32]);
    let body = Pass::Collect { taken: Vec::new(), wait_ms: None }.encode();
    let nonce = now().0 << 20 | u64::from(n);
    let request: Verified<_> = seal_body(body, visitor.broker, nonce, now(), &key);
    request.envelope().as_bytes().to_vec()
}

/// A configuration that names this machine as a proxy.
fn proxied() -> String {
    let path = directory().keep().join("broker.toml");
    std::fs::write(&path, "door-proxies = [\"127.0.0.1\"]\n").expect("written");
    path.to_str().expect("text").to_owned()
}

#[test]
fn the_door_shows_nothing_of_the_operators_pages_and_they_nothing_of_it() {
    let Scene { mut broker, visitor, _place } = scene(&[]);
    for path in ["/", "/metrics", "/healthz", "/talkoot/1/status"] {
        let mut stream = dial(&visitor);
        let head = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).expect("sent");
        let said = last_words(stream);
        assert!(said.starts_with("HTTP/1.1 404"), "{path}: {said}");
    }
    let http = support::text(&broker.event("http")["address"]);
    let mut page = visitor.clone();
    page.base = format!("http://{http}");
    let came = page.send(Method::POST, "call", &[], vec![0]);
    assert!(came.status().is_client_error(), "{}", text(&came));
    let came = page.send(Method::GET, "door", &[], Vec::new());
    assert!(came.status().is_client_error(), "{}", text(&came));
    let Answer::Refused(_) = visitor.call(vec![0]) else { panic!("no request") };
}

#[test]
fn a_visitor_is_a_peer_until_it_has_been_silent() {
    let Scene { mut broker, visitor, _place } = scene(&[]);
    let http = support::text(&broker.event("http")["address"]);
    visitor.ask(&question());
    let key = visitor.key.public().to_string();
    let is_here = |status: &serde_json::Value| {
        let peers = status["peers"].as_array().map_or(&[][..], Vec::as_slice);
        peers.iter().any(|peer| peer["peer"] == key.as_str())
    };
    broker.status(&http, is_here);
    broker.status_within(Duration::from_secs(100), &http, |status| !is_here(status));
}

#[test]
fn a_frame_that_is_no_request_is_refused_and_leaves_nobody_behind() {
    let Scene { mut broker, visitor, _place } = scene(&[]);
    let http = support::text(&broker.event("http")["address"]);
    for frame in [Vec::new(), vec![0xff; 100], vec![0x84; 70_000]] {
        let Answer::Refused(Refusal::Invalid(_)) = visitor.call(frame) else { panic!("taken") };
    }
    let unsigned = Verified::<capability::statements::Request>::parse(&[1], &Ed25519);
    assert!(unsigned.is_err());
    let status = broker.status(&http, |status| !status["peers"].is_null());
    assert_eq!(status["peers"].as_array().map(Vec::len), Some(0), "{status:#}");
}
