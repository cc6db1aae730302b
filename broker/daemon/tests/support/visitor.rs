//! A peer that comes through the door, written on nothing but HTTP and `docs/spec/door.md`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use capability::{BlobHash, Ed25519, PublicKey, SecretKey, StatementId, Timestamp};
use data_encoding::BASE64URL_NOPAD;
use mesh_core::{Answer, Ask, Bundle, HandoverAnswer, Pass, seal, seal_body};
use serde_bytes::ByteBuf;
use ureq::http::{Method, Request, Response};

/// Somebody at a door.
#[derive(Clone)]
pub struct Visitor {
    agent: ureq::Agent,
    pub base: String,
    /// Whose door it is.
    pub broker: PublicKey,
    pub key: Arc<SecretKey>,
    nonce: Arc<AtomicU64>,
}

/// What came back: status, headers, and the body.
pub type Came = Response<Vec<u8>>;

#[derive(serde::Deserialize)]
struct Introduction {
    key: PublicKey,
}

impl Visitor {
    /// Comes to the door at `base`, such as `http://127.0.0.1:4079`.
    pub fn come(base: &str, key: Arc<SecretKey>) -> Self {
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(super::PATIENCE))
            .proxy(None)
            .build()
            .into();
        let mut visitor = Self {
            agent,
            base: base.to_owned(),
            broker: PublicKey::from_bytes([0; 32]),
            key,
            nonce: Arc::new(AtomicU64::new(now().0 << 20)),
        };
        let came = visitor.send(Method::GET, "door", &[], Vec::new());
        let introduction: Introduction =
            capability::decode_cbor(came.body(), 1 << 10).expect("an introduction");
        visitor.broker = introduction.key;
        visitor
    }

    pub fn ask(&self, ask: &Ask) -> Answer {
        let request = seal(ask, self.broker, self.nonce(), now(), self.key.as_ref());
        self.call(request.envelope().as_bytes().to_vec())
    }

    /// Sends the bytes of a request as they are.
    pub fn call(&self, frame: Vec<u8>) -> Answer {
        let came = self.send(Method::POST, "call", &[], frame);
        assert_eq!(came.status(), 200, "{}", text(&came));
        Answer::decode(came.body(), &Ed25519).expect("an answer")
    }

    pub fn hand_over(&self, bundle: &Bundle) -> HandoverAnswer {
        self.offer_custody(bundle.encode())
    }

    /// Sends the frame of a handover as it is.
    pub fn offer_custody(&self, frame: Vec<u8>) -> HandoverAnswer {
        let pass = self.pass(&Pass::Custody { frame: BlobHash::of(&frame) });
        let came = self.send(Method::POST, "custody", &[("authorization", &pass)], frame);
        assert_eq!(came.status(), 200, "{}", text(&came));
        HandoverAnswer::decode(came.body()).expect("an answer")
    }

    /// Waits for bundles, having `taken` others.
    pub fn collect(&self, taken: &[StatementId]) -> Vec<Bundle> {
        self.try_collect(taken).expect("the broker answers")
    }

    /// The same, or `None` if the broker is gone.
    pub fn try_collect(&self, taken: &[StatementId]) -> Option<Vec<Bundle>> {
        let request = self.seal(&Pass::Collect { taken: taken.to_vec(), wait_ms: None });
        let came = self.try_send(Method::POST, "collect", &[], request).ok()?;
        if came.status() != 200 {
            return None;
        }
        let frames: Vec<ByteBuf> = capability::decode_cbor(came.body(), 1 << 20).expect("frames");
        let bundles = frames.iter().map(|frame| Bundle::decode(frame, &Ed25519).expect("sound"));
        Some(bundles.collect())
    }

    pub fn get(&self, hash: BlobHash, limit: u64, more: &[(&str, &str)]) -> Came {
        self.blob(Method::GET, &Pass::Get { hash, limit }, hash, more, Vec::new())
    }

    pub fn head(&self, hash: BlobHash) -> Came {
        let pass = Pass::Get { hash, limit: u64::MAX };
        self.blob(Method::HEAD, &pass, hash, &[], Vec::new())
    }

    pub fn put(&self, hash: BlobHash, size: usize, more: &[(&str, &str)], body: &[u8]) -> Came {
        let pass = Pass::Put { hash, size: size as u64 };
        self.blob(Method::PUT, &pass, hash, more, body.to_vec())
    }

    fn blob(
        &self,
        method: Method,
        pass: &Pass,
        hash: BlobHash,
        more: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Came {
        let pass = self.pass(pass);
        let headers = [more, &[("authorization", &pass)]].concat();
        self.send(method, &format!("blob/{hash}"), &headers, body)
    }

    /// A pass as it stands in a header.
    pub fn pass(&self, pass: &Pass) -> String {
        format!("Talkoot {}", BASE64URL_NOPAD.encode(&self.seal(pass)))
    }

    /// The bytes of the request that lets through what `pass` says.
    pub fn seal(&self, pass: &Pass) -> Vec<u8> {
        let request = seal_body(pass.encode(), self.broker, self.nonce(), now(), &*self.key);
        request.envelope().as_bytes().to_vec()
    }

    pub fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Came {
        self.try_send(method, path, headers, body).expect("an answer")
    }

    fn try_send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Result<Came, ureq::Error> {
        let mut request = Request::builder()
            .method(method.clone())
            .uri(format!("{}/talkoot/1/{path}", self.base));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let sent = if method == Method::POST || method == Method::PUT {
            self.agent.run(request.body(body).expect("a request"))
        } else {
            self.agent.run(request.body(()).expect("a request"))
        };
        let (head, mut body) = sent?.into_parts();
        let body = body.with_config().limit(1 << 30).read_to_vec()?;
        Ok(Response::from_parts(head, body))
    }

    fn nonce(&self) -> u64 {
        self.nonce.fetch_add(1, Ordering::Relaxed)
    }
}

pub fn now() -> Timestamp {
    SystemTime::now().into()
}

/// What the door says in words.
pub fn text(came: &Came) -> String {
    format!("{} {}", came.status(), String::from_utf8_lossy(came.body()))
}

pub fn header<'a>(came: &'a Came, name: &str) -> &'a str {
    came.headers().get(name).map_or("", |value| value.to_str().expect("text"))
}

/// Runs `work` of a visitor, which blocks, beside the test.
pub async fn beside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("it does not panic")
}
