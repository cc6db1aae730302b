//! What every engine must do. An engine is added to the battery at the end.

use std::path::Path;
use std::sync::{Arc, Mutex, mpsc};
use std::thread;

use mesh_core::{Commit, CommitId, Write};
use mesh_store::{
    MAX_COMMIT, MAX_KEY, MAX_PAGE, MAX_VALUE, Options, Record, Records, SledStore, Store,
    StoreError,
};

type Open = fn(&Path) -> Result<Box<dyn Store>, StoreError>;

fn open_sled(dir: &Path) -> Result<Box<dyn Store>, StoreError> {
    let options = Options { queue_commits: 64, ..Options::default() };
    Ok(Box::new(SledStore::open(dir, &options)?))
}

fn writes_are_read_back_and_survive_reopening(open: Open) {
    let temp = temp();
    let store = open(temp.path()).expect("opens");
    store.commit(vec![put("a", "1"), put("b", "2"), put("c", "3")]).expect("durable");
    store
        .commit(vec![Write::delete("b"), put("c", "4"), Write::delete("absent")])
        .expect("durable");
    store.close();

    let store = open(temp.path()).expect("opens again");

    assert_eq!(store.get(b"a").expect("read"), Some(b"1".to_vec()));
    assert_eq!(store.get(b"b").expect("read"), None);
    assert_eq!(all(&*store, ""), [record("a", "1"), record("c", "4")]);
}

fn writes_of_one_commit_apply_in_order(open: Open) {
    let temp = temp();
    let store = open(temp.path()).expect("opens");

    store.commit(vec![put("k", "old"), Write::delete("k"), put("k", "new")]).expect("durable");
    store.commit(vec![put("gone", "x"), Write::delete("gone")]).expect("durable");

    assert_eq!(all(&*store, ""), [record("k", "new")]);
}

fn completions_come_in_order_with_their_ids(open: Open) {
    let temp = temp();
    let store = open(temp.path()).expect("opens");
    let (tell, told) = mpsc::channel();
    for id in 0..2_000 {
        let tell = tell.clone();
        let writes = if id % 7 == 0 { Vec::new() } else { vec![put(&format!("k{id}"), "v")] };
        let done = Box::new(move |result| tell.send((id, result)).expect("the test listens"));
        store.commit_with(Commit { id: CommitId(id), writes }, done);
    }
    drop(tell);

    for (expected, (id, result)) in told.iter().enumerate() {
        assert_eq!(id, expected as u64);
        assert_eq!(result.expect("durable"), CommitId(id));
    }
    assert_eq!(store.stats().commits, 2_000);
}

fn commits_that_wait_share_a_flush(open: Open) {
    let temp = temp();
    let store = open(temp.path()).expect("opens");
    let (release, gate) = mpsc::channel::<()>();
    let (tell, told) = mpsc::channel();
    // The first completion holds the committer until forty more commits wait.
    let (entered, inside) = mpsc::channel();
    let holding = Box::new(move |_| {
        entered.send(()).expect("the test listens");
        gate.recv().expect("released");
    });
    store.commit_with(Commit { id: CommitId(0), writes: vec![put("first", "")] }, holding);
    inside.recv().expect("the committer is held");
    for id in 1..=40 {
        let tell = tell.clone();
        let commit = Commit { id: CommitId(id), writes: vec![put(&format!("k{id}"), "")] };
        store.commit_with(
            commit,
            Box::new(move |result| tell.send(result).expect("the test listens")),
        );
    }

    release.send(()).expect("the completion waits");

    drop(tell);
    assert_eq!(told.iter().filter(Result::is_ok).count(), 40);
    let stats = store.stats();
    assert_eq!((stats.flushes, stats.largest_group), (2, 40));
}

fn a_full_queue_blocks_until_there_is_room(open: Open) {
    let temp = temp();
    let store: Arc<dyn Store> = open(temp.path()).expect("opens").into();
    let (release, gate) = mpsc::channel::<()>();
    let (entered, inside) = mpsc::channel();
    let holding = Box::new(move |_| {
        entered.send(()).expect("the test listens");
        gate.recv().expect("released");
    });
    store.commit_with(Commit { id: CommitId(0), writes: vec![] }, holding);
    inside.recv().expect("the committer is held");
    let progress = Arc::new(Mutex::new(0));
    let pushing = thread::spawn({
        let (store, progress) = (Arc::clone(&store), Arc::clone(&progress));
        move || {
            for id in 1..=100 {
                store.commit_with(Commit { id: CommitId(id), writes: vec![] }, Box::new(|_| ()));
                *progress.lock().expect("not poisoned") = id;
            }
        }
    });
    while store.stats().queued < 64 {
        thread::yield_now();
    }

    // However long it is given, the thread cannot have come further: nothing leaves the queue.
    assert!(*progress.lock().expect("not poisoned") <= 64);
    assert_eq!(store.stats().queued, 64);

    release.send(()).expect("the completion waits");
    pushing.join().expect("all were queued");
    store.commit(vec![]).expect("durable");
    assert_eq!(store.stats().commits, 102);
}

fn a_completion_may_commit_even_if_the_queue_is_full(open: Open) {
    let temp = temp();
    let store: Arc<dyn Store> = open(temp.path()).expect("opens").into();
    let (tell, told) = mpsc::channel();
    let inner = Arc::clone(&store);
    let outer = Box::new(move |_| {
        for id in 0..200 {
            let tell = tell.clone();
            let done = Box::new(move |result| tell.send(result).expect("the test listens"));
            inner.commit_with(Commit { id: CommitId(id), writes: vec![put("k", "v")] }, done);
        }
    });

    store.commit_with(Commit { id: CommitId(0), writes: vec![] }, outer);

    assert_eq!(told.iter().filter(Result::is_ok).count(), 200);
}

fn a_panicking_completion_harms_nobody_else(open: Open) {
    let temp = temp();
    let store = open(temp.path()).expect("opens");

    store.commit_with(
        Commit { id: CommitId(0), writes: vec![] },
        Box::new(|_| panic!("on purpose")),
    );

    store.commit(vec![put("k", "v")]).expect("durable");
}

fn what_is_too_large_is_refused_and_the_rest_goes_on(open: Open) {
    let temp = temp();
    let store = open(temp.path()).expect("opens");
    let largest = put(&"k".repeat(MAX_KEY), &"v".repeat(MAX_VALUE));

    let value = store.commit(vec![put("fine", ""), put("k", &"v".repeat(MAX_VALUE + 1))]);
    let key = store.commit(vec![Write::delete("k".repeat(MAX_KEY + 1))]);
    let whole = store.commit(vec![largest.clone(); MAX_COMMIT / MAX_VALUE]);

    assert!(
        matches!(value, Err(StoreError::ValueTooLarge { size }) if size == MAX_VALUE + 1),
        "{value:?}"
    );
    assert!(matches!(key, Err(StoreError::KeyTooLarge { size }) if size == MAX_KEY + 1), "{key:?}");
    assert!(matches!(whole, Err(StoreError::CommitTooLarge { .. })), "{whole:?}");
    assert_eq!(all(&*store, ""), []);
    store.commit(vec![largest]).expect("the largest record is durable");
}

fn scans_follow_key_order_prefix_and_pages(open: Open) {
    let temp = temp();
    let store = open(temp.path()).expect("opens");
    let mut expected: Vec<Record> =
        (0..3 * MAX_PAGE).map(|n| record(&format!("b{n:05}"), "v")).collect();
    let writes = expected.iter().rev().map(|(key, value)| Write::put(key.clone(), value.clone()));
    store.commit(writes.collect()).expect("durable");
    store
        .commit(vec![put("a", ""), put("c", ""), Write::put(vec![0xff], vec![])])
        .expect("durable");

    assert_eq!(all(&*store, "b"), expected);
    assert_eq!(all(&*store, "b0001").len(), 10);
    assert_eq!(all(&*store, "bb"), []);
    let page = store.page(b"b", Some(b"b00006"), 2).expect("read");
    assert_eq!(page.records, expected.drain(7..9).collect::<Vec<_>>());
    assert_eq!(page.next.as_deref(), Some(b"b00008".as_slice()));
    let last = store.page(b"c", None, 1).expect("read");
    assert_eq!((last.records, last.next), (vec![record("c", "")], None));
    let early = store.page(b"c", Some(b"a"), 10).expect("read");
    assert_eq!(early.records, [record("c", "")]);
    assert_eq!(store.page(&[0xff], None, 10).expect("read").records.len(), 1);
}

fn pages_of_large_values_end_early(open: Open) {
    let temp = temp();
    let store = open(temp.path()).expect("opens");
    let value = "v".repeat(MAX_VALUE);
    for n in 0..40 {
        store.commit(vec![put(&format!("k{n:02}"), &value)]).expect("durable");
    }

    let page = store.page(b"k", None, MAX_PAGE).expect("read");

    assert!(page.records.len() < 20, "{}", page.records.len());
    assert_eq!(all(&*store, "k").len(), 40);
}

fn closing_completes_what_waits_and_ends_the_rest(open: Open) {
    let temp = temp();
    let store = open(temp.path()).expect("opens");
    let (tell, told) = mpsc::channel();
    for id in 0..50 {
        let tell = tell.clone();
        let done = Box::new(move |result| tell.send(result).expect("the test listens"));
        store.commit_with(
            Commit { id: CommitId(id), writes: vec![put(&format!("k{id}"), "")] },
            done,
        );
    }

    store.close();
    store.close();

    drop(tell);
    assert_eq!(told.iter().filter(Result::is_ok).count(), 50);
    assert!(matches!(store.commit(vec![]), Err(StoreError::Closed { .. })));
    assert!(matches!(store.get(b"k0"), Err(StoreError::Closed { .. })));
    let store = open(temp.path()).expect("the directory is free");
    assert_eq!(all(&*store, "k").len(), 50);
}

fn a_second_handle_is_refused(open: Open) {
    let temp = temp();
    let store = open(temp.path()).expect("opens");

    let second = open(temp.path()).err().expect("refused");

    assert!(matches!(&second, StoreError::InUse { dir } if dir == temp.path()), "{second:?}");
    drop(store);
    open(temp.path()).expect("opens after the first was dropped");
}

fn the_last_handle_may_be_dropped_by_a_completion(open: Open) {
    let temp = temp();
    let store: Arc<dyn Store> = open(temp.path()).expect("opens").into();
    let (tell, told) = mpsc::channel();
    let (release, gate) = mpsc::channel::<()>();
    let held = Arc::clone(&store);
    let done = Box::new(move |result: Result<CommitId, StoreError>| {
        gate.recv().expect("released");
        drop(held);
        tell.send(result).expect("the test listens");
    });
    store.commit_with(Commit { id: CommitId(0), writes: vec![put("k", "v")] }, done);
    drop(store);

    release.send(()).expect("the completion waits");

    told.recv().expect("completed").expect("durable");
    let store = open(temp.path()).expect("opens again");
    assert_eq!(all(&*store, ""), [record("k", "v")]);
}

fn put(key: &str, value: &str) -> Write {
    Write::put(key, value)
}

fn record(key: &str, value: &str) -> Record {
    (key.into(), value.into())
}

fn all(store: &dyn Store, prefix: &str) -> Vec<Record> {
    Records::new(store, prefix).map(|record| record.expect("read")).collect()
}

fn temp() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

macro_rules! battery {
    ($engine:ident, $open:expr, [$($behaviour:ident),* $(,)?]) => {
        mod $engine {
            $(
                #[test]
                fn $behaviour() {
                    super::$behaviour($open);
                }
            )*
        }
    };
}

battery!(
    sled,
    super::open_sled,
    [
        writes_are_read_back_and_survive_reopening,
        writes_of_one_commit_apply_in_order,
        completions_come_in_order_with_their_ids,
        commits_that_wait_share_a_flush,
        a_full_queue_blocks_until_there_is_room,
        a_completion_may_commit_even_if_the_queue_is_full,
        a_panicking_completion_harms_nobody_else,
        what_is_too_large_is_refused_and_the_rest_goes_on,
        scans_follow_key_order_prefix_and_pages,
        pages_of_large_values_end_early,
        closing_completes_what_waits_and_ends_the_rest,
        a_second_handle_is_refused,
        the_last_handle_may_be_dropped_by_a_completion,
    ]
);
