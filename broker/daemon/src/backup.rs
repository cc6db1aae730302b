//! Back-ups of the records: of the running broker by itself, of one that does not run by the command.
//!
//! The running broker writes the file into its state directory, which is where it may write, and the
//! command moves it to where the operator wants it.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use broker_core::mark_restored;
use mesh_shell::{
    Clock, Exit, Failure, OrExit, Outcome, Storage, chain, key_file, outln, store_in,
};
use mesh_store::{ImportError, Options, SledStore};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use crate::client::Client;
use crate::daemon::key_file;
use crate::lists::API;
use crate::operator::Token;

/// What the running broker writes, one at a time.
fn written_by_broker(state: &Path) -> PathBuf {
    state.join("backup.part")
}

/// The route by which the running broker is asked for a back-up.
pub fn routes(storage: Storage) -> Router {
    let one_at_a_time = Arc::new(Mutex::new(storage));
    Router::new().route(&format!("{API}/backup"), post(write)).with_state(one_at_a_time)
}

async fn write(State(storage): State<Arc<Mutex<Storage>>>) -> Response {
    let storage = storage.lock_owned().await;
    let path = written_by_broker(storage.directory());
    let exported = tokio::task::spawn_blocking(move || {
        let exported = storage.export(&path);
        exported.map(|records| json!({ "records": records, "path": path }))
    });
    match exported.await {
        Ok(Ok(done)) => axum::Json(done).into_response(),
        Ok(Err(error)) => {
            let why = chain(&error);
            tracing::warn!(error = why, "no back-up");
            (StatusCode::INSUFFICIENT_STORAGE, format!("{why}\n")).into_response()
        }
        Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
    }
}

/// `talkoot-broker backup FILE`.
pub fn back_up(client: &Client, state: &Path, file: &Path) -> Outcome {
    let records = if client.answers() {
        let token = Token::of_running(state)?;
        let done = client.post(&format!("{API}/backup"), &token, &Value::Null)?;
        let written = done["path"].as_str().map(Path::new);
        let written = written.filter(|path| *path == written_by_broker(state));
        let written = written.ok_or_else(|| {
            Failure::say(Exit::Input, "the broker that answers has another state directory")
                .hint("name its own with --state")
        })?;
        move_to(written, file)
            .with_context(|| format!("cannot write the back-up {}", file.display()))
            .or_exit(Exit::State)?;
        done["records"].as_u64().unwrap_or_default()
    } else {
        export(state, file)?
    };
    outln!("{records} records in {}", file.display());
    outln!("keep a copy of {} too: it is the broker's name", key_file(state).display());
    Ok(())
}

/// Of a broker that does not run.
fn export(state: &Path, file: &Path) -> Outcome<u64> {
    let store = store_in(state);
    if !store.exists() {
        let message = format!("there is no broker's store in {}", state.display());
        return Err(Failure::say(Exit::State, message).hint("name the state with --state"));
    }
    let store = SledStore::open(store, &Options::default()).or_exit(Exit::State).map_err(|it| {
        it.hint("if the broker runs, name the address of its status page with --http")
    })?;
    store.export(file).or_exit(Exit::State)
}

/// The file may be on another disk.
fn move_to(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
            fs::copy(from, to)?;
            File::open(to)?.sync_all()?;
            fs::remove_file(from)
        }
        moved => moved,
    }
}

/// `talkoot-broker restore FILE`.
pub fn restore(state: &Path, file: &Path) -> Outcome {
    key_file::load(&key_file(state)).map_err(|error| {
        Failure::from(error).hint(
            "put the broker's own node.key there first: under another key it would be another broker",
        )
    })?;
    let marks = vec![mark_restored(Clock::new().now().wall)];
    let records = SledStore::import(&store_in(state), file, marks, &Options::default());
    let records = records.map_err(|error| match &error {
        ImportError::NotEmpty { dir } => {
            let hint = format!("stop the broker, then: mv {0} {0}.old", dir.display());
            Failure::new(Exit::State, error).hint(hint)
        }
        ImportError::Damaged { .. } => Failure::new(Exit::Input, error),
        ImportError::File { attempt: "read the export", .. } => Failure::new(Exit::Input, error),
        ImportError::File { .. } | ImportError::Store(_) => Failure::new(Exit::State, error),
    })?;
    outln!("{records} records restored; no task is granted until masters have begun a new epoch");
    Ok(())
}
