//! Jobs whose image is in a repository: had from podman, run in our own sandbox.
//!
//! The engine is the real one, with a storage of its own in a temporary directory, and so is its pull, from a registry that
//! has one image. Where an engine lies or hangs, a script has its name.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::image::{Job, Layer, digest, gzipped, runs_images, text};
use crate::{check_fails, volunteer};

/// A job, and podman with nothing in its storage.
struct Bench {
    job: Job,
    repository: String,
}

impl Bench {
    /// With an image of the host's shell in a layout, and a configuration that names podman and has `more`.
    fn new(repository: &str, more: &str) -> Self {
        let job = Job::new(&[
            gzipped(&Layer::with_shell().finish()),
            gzipped(&Layer::default().file("etc/made", b"here\n").finish()),
        ]);
        let home = job.directory.path();
        let config =
            format!("image-engine = \"podman\"\nimage-repositories = [\"{repository}\"]\n{more}\n");
        fs::write(home.join("volunteer.toml"), config).unwrap();
        let storage = format!(
            "[storage]\ndriver = \"vfs\"\ngraphroot = \"{0}/storage\"\nrunroot = \"{0}/run\"\n",
            home.display()
        );
        fs::write(home.join("storage.conf"), storage).unwrap();
        let registry = repository.split('/').next().unwrap();
        let insecure = format!("[[registry]]\nlocation = \"{registry}\"\ninsecure = true\n");
        fs::write(home.join("registries.conf"), insecure).unwrap();
        fs::create_dir(home.join("bin")).unwrap();
        Self { job, repository: repository.to_owned() }
    }

    fn home(&self) -> &Path {
        self.job.directory.path()
    }

    fn in_home(&self, mut command: Command) -> Command {
        let path = std::env::var("PATH").unwrap();
        command.env("PATH", format!("{}:{path}", self.home().join("bin").display()));
        command.env("CONTAINERS_STORAGE_CONF", self.home().join("storage.conf"));
        command.env("CONTAINERS_REGISTRIES_CONF", self.home().join("registries.conf"));
        command
    }

    fn podman(&self, arguments: &[&str]) -> String {
        let mut podman = self.in_home(Command::new("podman"));
        let ran = podman.args(arguments).current_dir(self.home().join("src")).output().unwrap();
        assert!(ran.status.success(), "{arguments:?}: {}", text(&ran.stderr));
        text(&ran.stdout).trim().to_owned()
    }

    /// Puts `script` in the place of podman. It answers what is not about an image itself.
    fn lie(&self, script: &str) {
        let path = self.home().join("bin/podman");
        let script = format!(
            "#!/bin/sh\necho \"$@\" >>'{}'\n[ \"$1\" = info ] && {{ echo 9.9; exit; }}\n\
             case $2 in\n{script}\nesac\n",
            self.asked().display()
        );
        fs::write(&path, script).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// What a script in the place of podman was asked.
    fn asked(&self) -> PathBuf {
        self.home().join("asked")
    }

    fn name(&self) -> String {
        format!("{}@{}", self.repository, self.job.digest)
    }

    fn exec(&self, script: &str) -> Output {
        self.exec_of(&self.name(), script)
    }

    fn exec_of(&self, name: &str, script: &str) -> Output {
        let command = self.in_home(volunteer(self.home()));
        self.job.exec_with(&format!("image = \"{name}\""), script, command)
    }

    /// A file of the layout in the job's package.
    fn blob(&self, digest: &str) -> Vec<u8> {
        fs::read(self.job.image().join("blobs/sha256").join(&digest[7..])).unwrap()
    }

    /// The id of the image: the digest of its configuration.
    fn id(&self) -> String {
        let manifest = self.blob(&self.job.digest);
        let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
        manifest["config"]["digest"].as_str().unwrap().to_owned()
    }
}

/// Whether podman works here, with a storage of its own.
fn runs_podman() -> bool {
    let works = runs_images() && {
        let bench = Bench::new("localhost/made/image", "");
        let mut podman = bench.in_home(Command::new("podman"));
        podman.arg("info").output().is_ok_and(|ran| ran.status.success())
    };
    assert!(works || std::env::var_os("CI").is_none(), "podman works where CI runs");
    works
}

#[test]
fn an_image_of_podman_is_the_root_of_our_own_sandbox() {
    if !runs_podman() {
        return;
    }
    let bench = Bench::new("localhost/made/image", "");
    let missing = bench.exec("echo never");
    check_fails(&missing, 5, "is not here, and `image-pull` is false: podman says: ");

    let id = bench.podman(&["pull", "--quiet", "oci:image"]);
    bench.podman(&["tag", &id, "localhost/other/name:1"]);
    // Whatever of its owner's it has, a job may have only what has the name that its owner permits.
    check_fails(&bench.exec("echo never"), 5, "podman has it under other names alone");
    bench.podman(&["tag", &id, "localhost/made/image:1"]);

    let ran = bench.exec("read made </etc/made; echo $made $LIGHT $HOME; echo /work/*; ( : >/new ) 2>&- || echo read-only");

    let said = "here on /home/job\n/work/image\nread-only\n";
    assert_eq!(text(&ran.stdout), said, "{}", text(&ran.stderr));
    assert_eq!(bench.job.kept().len(), 1);
    assert!(!bench.job.kept()[0].contains(&bench.job.digest[7..]), "it is kept under its own name");
    // What is kept is asked of nobody.
    bench.podman(&["image", "rm", "--force", &id]);
    assert_eq!(text(&bench.exec("echo again").stdout), "again\n");
}

#[test]
fn an_image_is_pulled_where_its_owner_permits_and_is_not_left_in_podman() {
    if !runs_podman() {
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let repository = format!("127.0.0.1:{}/made/image", listener.local_addr().unwrap().port());
    let bench = Bench::new(&repository, "image-pull = true");
    let blobs = bench.job.image().join("blobs/sha256");
    std::thread::spawn(move || listener.incoming().for_each(|it| serve(it.unwrap(), &blobs)));

    let ran = bench.exec("read made </etc/made; echo $made");

    assert_eq!(text(&ran.stdout), "here\n", "{}", text(&ran.stderr));
    assert_eq!(bench.podman(&["images", "--all", "--quiet"]), "");
    let absent = format!("{repository}@sha256:{}", "7".repeat(64));
    check_fails(&bench.exec_of(&absent, "echo never"), 5, "podman says: ");
    check_fails(
        &bench.exec_of(&format!("quay.io/a/b@{}", bench.job.digest), "x"),
        6,
        "image-repositories",
    );
}

/// A registry that has the blobs of one layout, manifests among them.
fn serve(mut stream: TcpStream, blobs: &Path) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    let Some(Ok(request)) = lines.next() else { return };
    while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
    let path = request.split(' ').nth(1).unwrap();
    let found = match path.rsplit_once("/sha256:") {
        Some((_, hex)) => fs::read(blobs.join(hex)).ok(),
        None => (path == "/v2/").then(Vec::new),
    };
    let kind = match path.contains("/manifests/") {
        true => "application/vnd.oci.image.manifest.v1+json",
        false => "application/octet-stream",
    };
    let (status, body) = found.map_or(("404 Not Found", Vec::new()), |body| ("200 OK", body));
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n"
    );
    let body = if request.starts_with("HEAD") { &[][..] } else { &body };
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
}

#[test]
fn an_engine_that_hangs_floods_or_gives_something_else_costs_nobody_but_its_machine() {
    if !runs_images() {
        return;
    }
    let bench = Bench::new("localhost/made/image", "image-cache = \"2 MiB\"");
    let id = bench.id();
    let knows = format!("inspect) echo {} {};;", &id[7..], bench.name());
    let says = |script: &str, expected: &str| {
        bench.lie(script);
        let ran = bench.exec("echo never");
        check_fails(&ran, 5, expected);
        assert!(!text(&ran.stdout).contains("never"));
        assert!(bench.job.kept().is_empty(), "{:?}", bench.job.kept());
    };
    says(
        &format!("{knows}\nsave) yes;;"),
        "cannot take an image over from podman: it is not a sound tar",
    );
    says(&format!("{knows}\nsave) cat /dev/zero;;"), "podman answers with more than");
    says("inspect) yes;;", "podman answers with more than 65536 bytes");
    says(
        &format!("inspect) echo --privileged {};;", bench.name()),
        "podman tells no id of the image",
    );
    says(&knows, "is not the image localhost/made/image@sha256:");
    says("inspect) kill $$;;", "podman says: nothing");

    // The configuration of another image, and that of the image with another layer.
    let archive = |contents: &[&[u8]]| {
        let path = bench.home().join("archive");
        let mut archive = tar::Builder::new(fs::File::create(&path).unwrap());
        for (number, content) in contents.iter().enumerate() {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            archive.append_data(&mut header, number.to_string(), *content).unwrap();
        }
        archive.finish().unwrap();
        format!("{knows}\nsave) cat '{}';;", path.display())
    };
    let evil = Layer::with_shell().finish();
    says(&archive(&[b"{}", &evil]), &format!("is not the image {}: ", bench.name()));
    says(&archive(&[&bench.blob(&id), &evil]), "the layout does not have sha256:");
    let other = digest(&evil);
    says(&archive(&[&evil]).replace(&id[7..], &other[7..]), "has over 1048576 bytes");

    // No name of a job is ever an option.
    let asked = fs::read_to_string(bench.asked()).unwrap();
    let of_images = asked.lines().filter(|line| line.starts_with("image "));
    for line in of_images {
        let names = line.rsplit_once(" -- ").map(|(_, names)| names).unwrap_or_default();
        assert!(names == bench.name() || names.starts_with("sha256:"), "{line}");
    }
}

#[test]
fn an_engine_that_never_answers_is_given_up_on_and_jobs_without_it_are_told_what_is_missing() {
    if !runs_images() {
        return;
    }
    let bench = Bench::new("localhost/made/image", "");
    bench.lie("inspect) sleep 600 & wait;;");
    let file = bench.home().join("job.toml");
    drop(bench.exec_of("localhost/other/image@sha256:0", "never"));
    let job = fs::read_to_string(&file).unwrap().replace("30 s", "1 s");
    let job = job.replace("localhost/other/image@sha256:0", &bench.name());
    fs::write(&file, job).unwrap();

    let ran = bench.in_home(volunteer(bench.home())).arg("exec").arg(&file).output().unwrap();
    check_fails(&ran, 5, "podman has not answered within 1s");

    fs::write(bench.home().join("bin/podman"), "#!/bin/sh\necho no storage >&2; exit 1\n").unwrap();
    let ran = bench.exec("echo never");
    check_fails(&ran, 6, "needs image.engine");
    let doctor = bench.in_home(volunteer(bench.home())).arg("doctor").output().unwrap();
    let said = text(&doctor.stdout);
    assert!(said.contains("image.engine: podman says: no storage"), "{said}");
}
