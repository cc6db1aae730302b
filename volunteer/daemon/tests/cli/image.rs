//! Jobs whose root is an image that comes with their package.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tar::{EntryType, Header};

use crate::{check_fails, run, with_config};

/// A layer, entry by entry; names are written as they are, sound or not.
#[derive(Default)]
pub struct Layer(Vec<u8>);

impl Layer {
    fn entry(mut self, name: &str, kind: EntryType, mode: u32, link: &str, content: &[u8]) -> Self {
        let mut header = Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(content.len() as u64);
        header.set_cksum();
        self.0.extend(header.as_bytes());
        self.0.extend(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub fn file(self, name: &str, content: &[u8]) -> Self {
        self.entry(name, EntryType::Regular, 0o600, "", content)
    }

    fn directory(self, name: &str) -> Self {
        self.entry(name, EntryType::Directory, 0o700, "", b"")
    }

    fn link(self, name: &str, target: &str) -> Self {
        self.entry(name, EntryType::Symlink, 0o777, target, b"")
    }

    fn whiteout(self, name: &str) -> Self {
        self.file(name, b"")
    }

    pub fn finish(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }

    /// The host's shell with the libraries that it needs, as the lowest layer of an image, and a name of its own.
    pub fn with_shell() -> Self {
        let mut layer = Self::default().file("etc/os-release", b"ID=imaginary\n");
        let add = |layer: Self, path: &Path| {
            let name = path.to_str().unwrap().trim_start_matches('/').to_owned();
            layer.entry(&name, EntryType::Regular, 0o4755, "", &std::fs::read(path).unwrap())
        };
        layer = add(layer, Path::new("/bin/sh"));
        let needed = Command::new("ldd").arg("/bin/sh").output().unwrap().stdout;
        let needed = String::from_utf8(needed).unwrap();
        let libraries = needed.split_ascii_whitespace().filter(|word| word.starts_with('/'));
        libraries.fold(layer, |layer, path| add(layer, Path::new(path)))
    }
}

pub fn gzipped(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A directory with a job file, and an image layout in its package.
pub struct Job {
    pub directory: tempfile::TempDir,
    /// That of the manifest.
    pub digest: String,
}

impl Job {
    pub fn new(layers: &[Vec<u8>]) -> Self {
        let directory = with_config("");
        std::fs::create_dir_all(directory.path().join("src/image/blobs/sha256")).unwrap();
        std::fs::create_dir(directory.path().join("tmp")).unwrap();
        let mut job = Self { directory, digest: String::new() };
        let version = r#"{"imageLayoutVersion":"1.0.0"}"#;
        std::fs::write(job.image().join("oci-layout"), version).unwrap();
        let diff_ids: Vec<_> = layers.iter().map(|layer| digest(&plain(layer))).collect();
        let layers: Vec<_> =
            layers.iter().map(|layer| job.descriptor("layer.v1.tar+gzip", layer)).collect();
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        let config = json!({ "os": "linux", "architecture": architecture, "config": {
            "Env": ["PATH=/bin", "LIGHT=on", "HOME=/root"], "Entrypoint": ["/bin/false"] },
            "rootfs": { "type": "layers", "diff_ids": diff_ids } });
        let config = job.descriptor("config.v1+json", config.to_string().as_bytes());
        let manifest = json!({ "schemaVersion": 2, "config": config, "layers": layers,
            "mediaType": "application/vnd.oci.image.manifest.v1+json" });
        let manifest = job.descriptor("manifest.v1+json", manifest.to_string().as_bytes());
        job.digest = manifest["digest"].as_str().unwrap().to_owned();
        let index = json!({ "schemaVersion": 2, "manifests": [manifest] });
        std::fs::write(job.image().join("index.json"), index.to_string()).unwrap();
        job
    }

    pub fn image(&self) -> PathBuf {
        self.directory.path().join("src/image")
    }

    /// Stores a blob; gives what leads to it.
    fn descriptor(&self, kind: &str, content: &[u8]) -> Value {
        let digest = digest(content);
        std::fs::write(self.image().join("blobs/sha256").join(&digest[7..]), content).unwrap();
        let kind = format!("application/vnd.oci.image.{kind}");
        json!({ "mediaType": kind, "digest": digest, "size": content.len() })
    }

    fn exec(&self, script: &str) -> Output {
        self.exec_of("image", &self.digest, script)
    }

    fn exec_of(&self, image: &str, digest: &str, script: &str) -> Output {
        let image = format!("image = \"{image}\"\ndigest = \"{digest}\"");
        self.exec_with(&image, script, crate::volunteer(self.directory.path()))
    }

    /// Runs `script` in what the lines `image` name, by `volunteer`.
    pub fn exec_with(&self, image: &str, script: &str, mut volunteer: Command) -> Output {
        let job = format!(
            "name = \"imaged\"\n[package]\npath = \"src\"\n[limits]\nmemory = \"256 MiB\"\n\
             disk = \"16 MiB\"\nwall = \"30 s\"\n[requirements]\nruntimes = [\"container\"]\n\
             os = \"linux\"\n[container]\n{image}\n\
             [[step]]\nname = \"all\"\nrun = [\"sh\", \"-c\", '''{script}''']\n"
        );
        let file = self.directory.path().join("job.toml");
        std::fs::write(&file, job).unwrap();
        let temporary = self.directory.path().join("tmp");
        let ran = volunteer.env("TMPDIR", &temporary).arg("exec").arg(&file).output().unwrap();
        assert!(std::fs::read_dir(&temporary).unwrap().next().is_none(), "something was left");
        ran
    }

    #[track_caller]
    fn says(&self, script: &str, expected: &str) {
        let ran = self.exec(script);
        let (said, words) = (text(&ran.stdout), text(&ran.stderr));
        assert_eq!((said.as_str(), ran.status.code()), (expected, Some(0)), "{words}");
    }

    /// Images that are kept, and whatever else is in the cache.
    pub fn kept(&self) -> Vec<String> {
        let found = std::fs::read_dir(self.directory.path().join("state/cache/images"));
        let names = found.unwrap().map(|it| it.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.filter(|name| name != ".lock").collect();
        names.sort();
        names
    }
}

pub fn digest(content: &[u8]) -> String {
    Sha256::digest(content).iter().fold("sha256:".to_owned(), |mut hex, byte| {
        write!(hex, "{byte:02x}").unwrap();
        hex
    })
}

/// A layer as it is without compression, if it can be read.
fn plain(layer: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    match flate2::read::GzDecoder::new(layer).read_to_end(&mut plain) {
        Ok(_) => plain,
        Err(_) => layer.to_owned(),
    }
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Whether jobs run in images on this machine; where they do not, `exec` has to say so.
pub fn runs_images() -> bool {
    let directory = with_config("");
    let doctor = run(directory.path(), &["doctor", "--json"]);
    let found: Value = serde_json::from_slice(&doctor.stdout).unwrap();
    let works = found["runtimes"].as_array().unwrap().iter();
    let works = works.filter(|it| it["reason"].is_null()).any(|it| it["runtime"] == "container");
    assert!(works || std::env::var_os("CI").is_none(), "container works where CI runs");
    if !works {
        let job = Job::new(&[Layer::default().finish()]);
        check_fails(&job.exec("true"), 6, "container does not work here");
    }
    works
}

#[test]
fn a_job_finds_its_image_in_place_of_the_hosts_files() {
    if !runs_images() {
        return;
    }
    let lower = Layer::with_shell()
        .file("gone", b"1")
        .file("old/a/b", b"1")
        .file("old/c", b"1")
        .link("top", "etc")
        .file("etc/kept", b"lower\n")
        .file("home/tool/it", b"at home\n");
    // A whiteout that comes behind what its own layer brings concerns what is below all the same.
    let upper = Layer::default()
        .whiteout(".wh.gone")
        .file("old/new", b"1")
        .whiteout("old/.wh..wh..opq")
        .file("top/kept", b"upper\n");
    let job = Job::new(&[lower.finish(), gzipped(&upper.finish())]);
    let script = r#"
        read name </etc/os-release; echo $name $LIGHT $HOME
        read kept </etc/kept; echo $kept; read it </home/tool/it; echo $it
        echo /*; echo /old/*; echo /work/*
        for it in /usr/bin /etc/shadow /root /etc/alternatives; do [ -e $it ] && echo sees $it; done
        for it in / /etc /bin /home; do ( >$it/new ) 2>/dev/null && echo writes $it; done
        for it in /work /tmp /home/job /dev/shm; do >$it/new; done
        [ -u /bin/sh ] && echo set-user-id
        while read line; do case $line in job:*) echo $line;; esac; done </etc/passwd"#;
    let libraries = |line: &str| {
        let names = line.split(' ').filter(|name| !name.starts_with("/lib") && *name != "/usr");
        names.collect::<Vec<_>>().join(" ")
    };

    let ran = job.exec(script);

    let said = text(&ran.stdout);
    let said: Vec<_> = said.lines().map(libraries).collect();
    let expected = [
        "ID=imaginary on /home/job",
        "upper",
        "at home",
        "/bin /dev /etc /home /old /proc /tmp /top /work",
        "/old/new",
        "/work/*",
        "job:x:1000:1000:job:/home/job:/bin/sh",
    ];
    assert_eq!(said, expected, "{}", text(&ran.stderr));
}

#[test]
fn an_image_is_unpacked_once_and_from_an_archive_as_well() {
    if !runs_images() {
        return;
    }
    let mut job = Job::new(&[gzipped(&Layer::with_shell().finish())]);
    job.says("echo first", "first\n");
    let kept = job.kept();
    assert_eq!(kept, [job.digest.trim_start_matches("sha256:")]);
    // What is kept is not unpacked again.
    std::fs::remove_dir_all(job.image().join("blobs")).unwrap();
    job.says("echo again", "again\n");
    assert_eq!(job.kept(), kept);

    job = Job::new(&[Layer::with_shell().finish()]);
    let file = std::fs::File::create(job.directory.path().join("src/image.tar")).unwrap();
    let mut archive = tar::Builder::new(file);
    archive.append_dir_all(".", job.image()).unwrap();
    archive.finish().unwrap();
    let ran = job.exec_of("image.tar", &job.digest, "echo archived; echo /work/*");
    assert_eq!(text(&ran.stdout), "archived\n/work/image\n", "{}", text(&ran.stderr));
}

#[test]
fn what_is_not_the_image_that_the_job_names_is_refused_in_words() {
    if !runs_images() {
        return;
    }
    let job = Job::new(&[Layer::with_shell().finish()]);
    let other = format!("sha256:{}", "7".repeat(64));
    let ran = job.exec_of("image", &other, "echo never");
    check_fails(&ran, 1, "image: the layout does not have sha256:7777");
    let blob = job.image().join("blobs/sha256").join(&other[7..]);
    std::fs::write(blob, b"{}").unwrap();
    check_fails(&job.exec_of("image", &other, "echo never"), 1, "is named so and is sha256:44136f");
    check_fails(&job.exec_of("nothing", &job.digest, "echo never"), 1, "has no image \"nothing\"");
    std::fs::remove_file(job.image().join("oci-layout")).unwrap();
    check_fails(&job.exec("echo never"), 1, "it is no OCI image layout");
    assert!(job.kept().is_empty());
}

#[test]
fn hostile_layers_are_refused_or_do_no_harm() {
    if !runs_images() {
        return;
    }
    let refused = |layer: Layer, expected: &str| {
        let job = Job::new(&[Layer::with_shell().finish(), gzipped(&layer.finish())]);
        check_fails(&job.exec("echo never"), 1, expected);
        assert!(job.kept().is_empty(), "{:?}", job.kept());
    };
    let layer = Layer::default;
    refused(layer().file("/escaped", b"x"), "its name is absolute");
    refused(layer().file("a/../../escaped", b"x"), "leads out by \"..\"");
    refused(layer().whiteout("../.wh.escaped"), "leads out by \"..\"");
    let hard = |target: &str| layer().entry("hard", EntryType::Link, 0o644, target, b"");
    refused(hard("../../etc/passwd"), "leads out by \"..\"");
    refused(hard("/etc/passwd"), "its name is absolute");
    refused(hard("proc/self/exe"), "\"hard\" is refused");
    refused(layer().link("loop", "loop").file("loop/x", b"x"), "\"loop/x\" is refused");
    refused(layer().file("etc/os-release/x", b"x"), "\"etc/os-release/x\" is refused");
    refused(layer().file("bomb", &vec![0; 64 << 20]), "limit on disk");
    let many = (0..5000).fold(layer(), |layer, number| layer.file(&format!("a/{number}"), b""));
    refused(many, "limit on disk");
    let zstandard = Job::new(&[[&b"\x28\xb5\x2f\xfd"[..], &[0; 64]].concat()]);
    check_fails(&zstandard.exec("echo never"), 1, "compress it with gzip");
    let cut = gzipped(&Layer::with_shell().finish());
    let cut = Job::new(&[cut[..cut.len() / 2].to_vec()]);
    check_fails(&cut.exec("echo never"), 1, "not a sound tar archive");

    // Links out of the root lead into it, devices are left out, and of two entries the later one counts.
    let canary = tempfile::tempdir().unwrap();
    let host = canary.path().to_str().unwrap();
    let harmless = layer()
        .link("out", host)
        .directory(host.trim_start_matches('/'))
        .file("out/escaped", b"x")
        .directory("var/real")
        .link("absolute", "/var/real")
        .file("absolute/it", b"inside\n")
        .link("up", "../../../../../..")
        .file("up/above", b"above\n")
        .entry("dev/sda", EntryType::Block, 0o666, "", b"")
        .entry("pipe", EntryType::Fifo, 0o666, "", b"")
        .file("twice", b"first\n")
        .file("twice", b"second\n")
        .file("old", b"a file")
        .directory("old")
        .file("old/new", b"");
    let job = Job::new(&[Layer::with_shell().finish(), harmless.finish()]);
    let script = "for it in /var/real/it /above /twice; do read line <$it; echo $line; done; \
                  [ -e /pipe ] || [ -e /dev/sda ] || echo neither; echo /old/*";
    let left_out = "\"dev/sda\" is a device or a pipe, and left out\n\
                    \"pipe\" is a device or a pipe, and left out\n";
    job.says(script, "inside\nabove\nsecond\nneither\n/old/new\n");
    let logs = job.directory.path().join("results");
    let mut command = crate::volunteer(job.directory.path());
    let file = job.directory.path().join("job.toml");
    let ran = command.arg("exec").arg(file).arg("--output").arg(&logs).output().unwrap();
    assert_eq!(ran.status.code(), Some(0), "{}", text(&ran.stderr));
    let log = std::fs::read_to_string(logs.join("logs/01-image.log")).unwrap();
    assert_eq!(log.trim_end(), left_out.trim_end());
    assert_eq!(std::fs::read_dir(canary.path()).unwrap().count(), 0);
}
