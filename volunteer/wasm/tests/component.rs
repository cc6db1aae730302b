//! Components with WASI preview 2: what they get, what they cannot get, and how their end is told.

#![expect(clippy::unwrap_used, reason = "a failed test")]

#[expect(dead_code, reason = "shared with other tests")]
mod support;

use support::{MIB, Run};

#[test]
fn hello() {
    let run = command(
        r#"(data (i32.const 100) "hello\n")"#,
        "(call $print (i32.const 100) (i32.const 6)) (i32.const 0)",
    );

    let ended = run.start();

    ended.expect_exit(0);
    assert_eq!(ended.stdout, "hello\n");
}

#[test]
fn a_run_that_fails_exits_with_one() {
    command("", "(i32.const 1)").start().expect_exit(1);
}

#[test]
fn arguments_and_environment_are_what_was_given_and_no_more() {
    // What is handed over lies in the heap: first the pairs of addresses and lengths, then the texts.
    let run = command(
        "",
        "(call $arguments (i32.const 16))
         (call $print (call $heap-of (i32.const 8)) (call $heap-length (i32.const 8)))
         (global.set $heap (i32.const 4096))
         (call $environment (i32.const 16))
         (call $print (call $heap-of (i32.const 16)) (call $heap-length (i32.const 16)))
         (i32.const 0)",
    );

    let ended = run.option("--env", "A=1=2").start_with(&["--fuel", "7"]);

    ended.expect_exit(0);
    assert_eq!(ended.stdout, "guest.wasm--fuel7A1=2");
}

#[test]
fn no_socket_can_be_made() {
    // Of the result, the first byte says that it is an error, the fifth which one.
    const DENIED: &str = "(i32.const 1)";
    let run = command(
        "",
        &format!(
            "(call $create-tcp-socket (i32.const 0) (i32.const 16))
             (i32.eqz (i32.and
               (i32.load8_u (i32.const 16))
               (i32.eq (i32.load8_u (i32.const 20)) {DENIED})))"
        ),
    );

    run.start().expect_exit(0);
}

#[test]
fn all_memories_share_the_limit() {
    // One page is in the memory that the host writes to, eight are in one of the guest's own.
    let grow = |pages: u64| {
        let body = format!("(i32.eq (memory.grow (i32.const {pages})) (i32.const -1))");
        command("(memory 8)", &body).memory(MIB).start()
    };

    grow(7).expect_exit(0);
    grow(8).expect_exit(1);
}

#[test]
fn what_is_forbidden_traps() {
    command("", "(unreachable)")
        .start()
        .expect_verdict(134, "trapped: wasm `unreachable` instruction executed");
}

#[test]
fn fuel_ends_an_endless_loop() {
    let ended = command("", "(loop (br 0)) (unreachable)").option("--fuel", "10000").start();

    ended.expect_verdict(152, "out of fuel");
}

#[test]
fn what_cannot_be_run_is_refused() {
    Run::of_text("(component)").start().expect_verdict(126, "exports no `wasi:cli/run`");
    let import = r#"(import "wasi:http/handler@0.2.0" (instance (export "handle" (func))))"#;
    Run::of_text(&format!("(component {import})")).start().expect_verdict(126, "wasi:http/handler");
    Run::of_bytes(b"\0asm\x0d\0\x01\0\xff").start().expect_verdict(126, "refused: ");
}

/// A component whose `run` is `body`, which leaves 0 for success or 1. Memory below 4096 is its own.
fn command(data: &str, body: &str) -> Run {
    Run::of_text(&format!(
        r#"(component
  {IMPORTS}
  (core module $libc
    (memory (export "memory") 1)
    (global $heap (export "heap") (mut i32) (i32.const 4096))
    (func (export "realloc") (param i32 i32 i32 i32) (result i32)
      (local $at i32)
      (local.set $at (global.get $heap))
      (global.set $heap (i32.add (local.get $at) (local.get 3)))
      (local.get $at)))
  (core instance $libc (instantiate $libc))
  (alias core export $libc "memory" (core memory $memory))
  (alias core export $libc "realloc" (core func $realloc))
  (alias export $streams "[method]output-stream.blocking-write-and-flush" (func $f-write))
  (alias export $stdout "get-stdout" (func $f-stdout))
  (alias export $environment "get-arguments" (func $f-arguments))
  (alias export $environment "get-environment" (func $f-environment))
  (alias export $create-tcp-socket "create-tcp-socket" (func $f-socket))
  (core func $write (canon lower (func $f-write) (memory $memory)))
  (core func $get-stdout (canon lower (func $f-stdout)))
  (core func $arguments (canon lower (func $f-arguments) (memory $memory) (realloc $realloc)))
  (core func $environment
    (canon lower (func $f-environment) (memory $memory) (realloc $realloc)))
  (core func $create-tcp-socket (canon lower (func $f-socket) (memory $memory)))
  (core module $main
    (import "libc" "memory" (memory 1))
    (import "libc" "heap" (global $heap (mut i32)))
    (import "host" "write" (func $write (param i32 i32 i32 i32)))
    (import "host" "get-stdout" (func $get-stdout (result i32)))
    (import "host" "arguments" (func $arguments (param i32)))
    (import "host" "environment" (func $environment (param i32)))
    (import "host" "create-tcp-socket" (func $create-tcp-socket (param i32 i32)))
    {data}
    (func $print (param $at i32) (param $length i32)
      (call $write (call $get-stdout) (local.get $at) (local.get $length) (i32.const 0))
      (if (i32.load8_u (i32.const 0)) (then (unreachable))))
    ;; Where the texts begin behind a list, told of at 16, whose elements have $size bytes.
    (func $heap-of (param $size i32) (result i32)
      (i32.add (i32.load (i32.const 16))
        (i32.mul (local.get $size) (i32.load (i32.const 20)))))
    (func $heap-length (param $size i32) (result i32)
      (i32.sub (global.get $heap) (call $heap-of (local.get $size))))
    (func (export "run") (result i32) {body}))
  (core instance $main (instantiate $main
    (with "libc" (instance $libc))
    (with "host" (instance
      (export "write" (func $write))
      (export "get-stdout" (func $get-stdout))
      (export "arguments" (func $arguments))
      (export "environment" (func $environment))
      (export "create-tcp-socket" (func $create-tcp-socket))))))
  (alias core export $main "run" (core func $f-run))
  (func $run (result (result)) (canon lift (core func $f-run)))
  (instance $run (export "run" (func $run)))
  (export "wasi:cli/run@0.2.0" (instance $run)))"#
    ))
}

/// Of WASI, what the tests need, in the words of its specification.
const IMPORTS: &str = r#"
  (import "wasi:io/error@0.2.0" (instance $io-error (export "error" (type (sub resource)))))
  (alias export $io-error "error" (type $error))
  (import "wasi:io/streams@0.2.0" (instance $streams
    (alias outer 1 $error (type $outer-error))
    (export "error" (type $error (eq $outer-error)))
    (export "output-stream" (type $output-stream (sub resource)))
    (type $cases (variant (case "last-operation-failed" (own $error)) (case "closed")))
    (export "stream-error" (type $stream-error (eq $cases)))
    (export "[method]output-stream.blocking-write-and-flush" (func
      (param "self" (borrow $output-stream))
      (param "contents" (list u8))
      (result (result (error $stream-error)))))))
  (alias export $streams "output-stream" (type $output-stream))
  (import "wasi:cli/stdout@0.2.0" (instance $stdout
    (alias outer 1 $output-stream (type $outer-stream))
    (export "output-stream" (type $output-stream (eq $outer-stream)))
    (export "get-stdout" (func (result (own $output-stream))))))
  (import "wasi:cli/environment@0.2.0" (instance $environment
    (export "get-arguments" (func (result (list string))))
    (export "get-environment" (func (result (list (tuple string string)))))))
  (import "wasi:sockets/network@0.2.0" (instance $network
    (type $codes (enum "unknown" "access-denied" "not-supported" "invalid-argument"
      "out-of-memory" "timeout" "concurrency-conflict" "not-in-progress" "would-block"
      "invalid-state" "new-socket-limit" "address-not-bindable" "address-in-use"
      "remote-unreachable" "connection-refused" "connection-reset" "connection-aborted"
      "datagram-too-large" "name-unresolvable" "temporary-resolver-failure"
      "permanent-resolver-failure"))
    (export "error-code" (type (eq $codes)))
    (type $families (enum "ipv4" "ipv6"))
    (export "ip-address-family" (type (eq $families)))))
  (alias export $network "error-code" (type $error-code))
  (alias export $network "ip-address-family" (type $ip-address-family))
  (import "wasi:sockets/tcp@0.2.0" (instance $tcp (export "tcp-socket" (type (sub resource)))))
  (alias export $tcp "tcp-socket" (type $tcp-socket))
  (import "wasi:sockets/tcp-create-socket@0.2.0" (instance $create-tcp-socket
    (alias outer 1 $error-code (type $outer-code))
    (export "error-code" (type $error-code (eq $outer-code)))
    (alias outer 1 $ip-address-family (type $outer-family))
    (export "ip-address-family" (type $ip-address-family (eq $outer-family)))
    (alias outer 1 $tcp-socket (type $outer-socket))
    (export "tcp-socket" (type $tcp-socket (eq $outer-socket)))
    (export "create-tcp-socket" (func
      (param "address-family" $ip-address-family)
      (result (result (own $tcp-socket) (error $error-code)))))))
"#;
