//! Connections to the door: how many, from where, and how long a head may take.

use std::io;
use std::time::Duration;

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::origin::Remote;
use super::places::{Place, Places};
use super::steady::Steady;
use super::{Door, Origin};

/// In all, and from one origin that is no proxy. A visitor needs three: to pull, to collect, and for
/// the rest.
const MAX_CONNECTIONS: usize = 4096;
const MAX_CONNECTIONS_AN_ORIGIN: usize = 128;

/// For the head of a request, the time before its first byte included: so long a connection that is
/// not used stays open.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// Bytes and fields of a head: a pass takes one field of some 500 bytes, a proxy adds a few.
const HEAD_BYTES: usize = 16 << 10;
const HEAD_FIELDS: usize = 64;

/// After a failed `accept`, of which the usual reason is that there are no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// To whom there is no place for.
const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 2\r\nConnection: close\r\n\
    Content-Length: 38\r\n\r\ntoo many connections: ask again later\n";

/// Serves `door` on `listener` until `end` is dropped; then lets requests under way finish.
pub async fn serve(door: Door, listener: TcpListener, mut end: watch::Receiver<()>) {
    let routes = door.routes();
    let places = Places::new(MAX_CONNECTIONS, MAX_CONNECTIONS_AN_ORIGIN);
    // A proxy brings everybody's requests, each of which is counted by where it comes from.
    let proxied = Places::new(MAX_CONNECTIONS / 2, MAX_CONNECTIONS / 2);
    loop {
        let (stream, remote) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    pause_after(&error).await;
                    continue;
                }
            },
            // Nothing is ever sent: it ends with its sender.
            _ = end.changed() => return,
        };
        let address = remote.ip().to_canonical();
        let places = if door.0.proxies.contains(&address) { &proxied } else { &places };
        match places.take(Origin::of(address)) {
            Some(place) => {
                let routes = routes.clone().layer(Extension(Remote(address)));
                tokio::spawn(talk(stream, routes, place, end.clone()));
            }
            None => turn_away(&stream),
        }
    }
}

/// Answers what comes over one connection.
async fn talk(
    stream: TcpStream,
    routes: Router,
    _place: Place<Origin>,
    mut end: watch::Receiver<()>,
) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    http.max_headers(HEAD_FIELDS).max_buf_size(HEAD_BYTES);
    let io = TokioIo::new(Steady::new(stream));
    let mut connection =
        std::pin::pin!(http.serve_connection(io, TowerToHyperService::new(routes)));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        _ = end.changed() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::trace!(%error, "a connection to the door broke off");
    }
}

fn turn_away(stream: &TcpStream) {
    // A new connection takes so little at once; else the visitor learns no more than that it ended.
    if let Err(error) = stream.try_write(FULL) {
        tracing::trace!(%error, "a visitor was turned away without a word");
    }
}

async fn pause_after(error: &io::Error) {
    // These are about one connection that is gone already.
    let passing = [io::ErrorKind::ConnectionAborted, io::ErrorKind::ConnectionReset];
    if !passing.contains(&error.kind()) {
        tracing::warn!(%error, "the door cannot take a connection");
        tokio::time::sleep(ACCEPT_PAUSE).await;
    }
}
