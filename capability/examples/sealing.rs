//! How long it takes to seal and to open the report of a result, with an encapsulation of its own and
//! under one that both ends have, beside a bare signature; and how fast blobs are encrypted:
//! `cargo run --release -p capability --example sealing`.

#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

#[expect(dead_code, reason = "the other benchmark uses the rest")]
#[path = "matching/figures.rs"]
mod figures;

use std::io::{self, Write};
use std::time::Instant;

use capability::{
    BlobKey, DecryptingReader, DecryptionKey, EncryptingWriter, HpkeOpener, HpkeSealer, Opener,
    Purpose, Sealer,
};
use ed25519_dalek::{Signer, SigningKey};
use figures::Times;

/// Reports, and bytes of each: what most come to when they are padded.
const REPORTS: u8 = 200;
const REPORT: usize = 512;

/// Bytes that a report belongs to: two ids and a blob.
const BOND: usize = 110;

const BLOB: usize = 64 << 20;

fn main() {
    let recipient = DecryptionKey::from_seed(&[1; 32]);
    let signer = SigningKey::from_bytes(&[2; 32]);
    let [mut bare, mut first, mut later] = <[Times; 3]>::default();
    let [mut open_first, mut open_later] = <[Times; 2]>::default();
    let (report, bond) = ([7; REPORT], [9; BOND]);
    for n in 0..REPORTS {
        // In turn, so that whatever else this machine does falls on all.
        bare.time(|| signer.sign(&report));
        let sealer = HpkeSealer::new([n; 32]);
        let seal = || sealer.seal(Purpose::Report, recipient.public(), &report, &bond);
        first.time(seal);
        let sealed = later.time(seal);
        let opener = HpkeOpener::new([recipient.clone()]);
        let open = || opener.open(Purpose::Report, &sealed, &bond).expect("our own");
        open_first.time(open);
        open_later.time(open);
    }
    println!("a signature over {REPORT} bytes: {bare}");
    println!("seal, with an encapsulation: {first}");
    println!("seal, under the same one: {later}");
    println!("open, with a decapsulation: {open_first}");
    println!("open, under the same one: {open_later}");
    blobs();
}

fn blobs() {
    let (key, content) = (BlobKey::from_bytes([3; 32]), vec![7; BLOB]);
    let begun = Instant::now();
    let mut writer = EncryptingWriter::new(Vec::with_capacity(2 * BLOB), key, 0, BLOB as u64);
    writer.write_all(&content).expect("in memory");
    let encrypted = writer.finish().expect("in memory");
    let encrypting = begun.elapsed();
    let begun = Instant::now();
    let mut reader = DecryptingReader::new(&encrypted[..], key, 0, BLOB as u64);
    io::copy(&mut reader, &mut io::sink()).expect("sound");
    let decrypting = begun.elapsed();
    for (what, time) in [("encrypting", encrypting), ("decrypting", decrypting)] {
        println!("{what} a blob: {:.0} MiB/s", 64.0 / time.as_secs_f64());
    }
}
