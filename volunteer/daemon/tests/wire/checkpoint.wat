;; Prints its checkpoint if it has one; else writes "kept" as its checkpoint, and runs for ever.
(module
  (import "wasi_snapshot_preview1" "path_open"
    (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_rename"
    (func $path_rename (param i32 i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_close" (func $fd_close (param i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) ".talkoot/checkpoint")
  (data (i32.const 32) ".talkoot/new")
  (data (i32.const 64) "kept\n")
  ;; 96: a buffer of 5 bytes at 64, and how many of it were read; 112: a descriptor
  (data (i32.const 96) "\40\00\00\00\05\00\00\00")
  (func (export "_start")
    ;; Reading: the right fd_read is 2, fd_write 64; 3 is the folder.
    (if (i32.eqz (call $path_open (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 19)
          (i32.const 0) (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 112)))
      (then
        (i32.store (i32.const 64) (i32.const 0))
        (drop (call $fd_read (i32.load (i32.const 112)) (i32.const 96) (i32.const 1) (i32.const 104)))
        (drop (call $fd_write (i32.const 1) (i32.const 96) (i32.const 1) (i32.const 104)))
        (return)))
    (drop (call $path_open (i32.const 3) (i32.const 0) (i32.const 32) (i32.const 12)
      (i32.const 1) (i64.const 64) (i64.const 0) (i32.const 0) (i32.const 112)))
    (drop (call $fd_write (i32.load (i32.const 112)) (i32.const 96) (i32.const 1) (i32.const 104)))
    (drop (call $fd_close (i32.load (i32.const 112))))
    (drop (call $path_rename (i32.const 3) (i32.const 32) (i32.const 12)
      (i32.const 3) (i32.const 0) (i32.const 19)))
    (loop (br 0))))
