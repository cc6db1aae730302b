;; A parameter sweep: which start below 100 million has the longest Collatz chain?
;;
;; The chain of n halves an even number and takes an odd one to 3n + 1, until it reaches 1. Whether
;; it always does is an open question; up to here it does, and no number on the way needs more than
;; 51 bits. There is no formula for the length of a chain, so that every start has to be tried: work
;; that splits into as many tasks as there are machines, and whose parts are easy to verify.
;;
;; Each task reads from its environment
;;
;;     TALKOOT_TASK_COUNT   how many tasks the sweep is split into, 1 to 1000000
;;     TALKOOT_TASK_INDEX   which of them this is, counted from 0
;;
;; tries the starts in [100000000 * index / count, 100000000 * (index + 1) / count), and leaves its
;; answer twice: as a line for people on standard output, and as `key=value` lines for programs in
;; /work/result.txt. Of several longest chains it reports the one with the smallest start.
;;
;; It exits with 0; with 2 if the environment is wrong; with 3 if it could not write its answer.
;;
;; Only WASI preview 1 is needed. In practice one would write this in C, Rust, or Zig and compile it
;; for wasm32-wasi; written by hand, it can be read here in full, and takes two kilobytes.

(module
  (import "wasi_snapshot_preview1" "environ_sizes_get"
    (func $environ_sizes_get (param $count i32) (param $bytes i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_get"
    (func $environ_get (param $pointers i32) (param $strings i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_open"
    (func $path_open
      (param $folder i32) (param $follow i32) (param $path i32) (param $length i32)
      (param $create i32) (param $rights i64) (param $inherited i64) (param $flags i32)
      (param $file i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write"
    (func $fd_write
      (param $file i32) (param $pieces i32) (param $count i32) (param $written i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_close" (func $fd_close (param $file i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param $code i32)))

  ;; Two pages of 64 KiB:
  ;;
  ;;     0       what system calls answer
  ;;     256     the texts below
  ;;     1024    the output that is being put together
  ;;     4096    pointers to the variables of the environment, 4 bytes each
  ;;     65536   the variables themselves, each ended by a zero byte
  (memory (export "memory") 2)

  (data (i32.const 256) "TALKOOT_TASK_INDEX=")
  (data (i32.const 288) "TALKOOT_TASK_COUNT=")
  (data (i32.const 320) "result.txt")
  (data (i32.const 336) "task ")
  (data (i32.const 352) " of ")
  (data (i32.const 368) ": n in [")
  (data (i32.const 384) ", ")
  (data (i32.const 400) "): longest Collatz chain ")
  (data (i32.const 432) " steps at n = ")
  (data (i32.const 448) "\n")
  (data (i32.const 464) "task=")
  (data (i32.const 480) "\ntasks=")
  (data (i32.const 496) "\nfirst=")
  (data (i32.const 512) "\nend=")
  (data (i32.const 528) "\nsteps=")
  (data (i32.const 544) "\nn=")
  (data (i32.const 560)
    "sweep: TALKOOT_TASK_COUNT must be 1 to 1000000 and TALKOOT_TASK_INDEX below it\n")

  ;; The sweep covers the starts from 1 to here, this one excluded.
  (global $starts i64 (i64.const 100000000))

  ;; The answer: the longest chain so far, and its start.
  (global $best_steps (mut i64) (i64.const 0))
  (global $best_start (mut i64) (i64.const 0))

  ;; Where the next byte of output goes.
  (global $output (mut i32) (i32.const 1024))

  (func (export "_start")
    (local $index i64) (local $count i64) (local $first i64) (local $end i64)
    (call $load_environment)
    (local.set $count (call $variable (i32.const 288)))
    (local.set $index (call $variable (i32.const 256)))
    (if (i32.or
          (i64.gt_u (i64.sub (local.get $count) (i64.const 1)) (i64.const 999999))
          (i64.ge_u (local.get $index) (local.get $count)))
      (then (call $refuse_environment)))

    (local.set $first (call $share (local.get $index) (local.get $count)))
    (local.set $end
      (call $share (i64.add (local.get $index) (i64.const 1)) (local.get $count)))
    (if (i64.eqz (local.get $first))
      (then (local.set $first (i64.const 1))))

    (call $sweep (local.get $first) (local.get $end))

    (call $put_file (local.get $index) (local.get $count) (local.get $first) (local.get $end))
    (call $write_all (call $create_result))
    (call $put_line (local.get $index) (local.get $count) (local.get $first) (local.get $end))
    (call $write_all (i32.const 1)))

  ;; Where the share of task $index begins: rounding down makes the shares meet without a gap.
  (func $share (param $index i64) (param $count i64) (result i64)
    (i64.div_u (i64.mul (global.get $starts) (local.get $index)) (local.get $count)))

  ;; ---- the computation ----------------------------------------------------------------------

  ;; Tries the starts from $n up to $end, which is excluded.
  (func $sweep (param $n i64) (param $end i64)
    (local $steps i64)
    (loop $next
      (if (i64.lt_u (local.get $n) (local.get $end))
        (then
          (local.set $steps (call $chain (local.get $n)))
          (if (i64.gt_u (local.get $steps) (global.get $best_steps))
            (then
              (global.set $best_steps (local.get $steps))
              (global.set $best_start (local.get $n))))
          (local.set $n (i64.add (local.get $n) (i64.const 1)))
          (br $next)))))

  ;; The steps from $n, which is not 0, to 1. The halvings between two odd numbers are as many as
  ;; the zero bits at the end, and are done at once.
  (func $chain (param $n i64) (result i64)
    (local $steps i64) (local $halvings i64)
    (loop $more
      (local.set $halvings (i64.ctz (local.get $n)))
      (local.set $n (i64.shr_u (local.get $n) (local.get $halvings)))
      (local.set $steps (i64.add (local.get $steps) (local.get $halvings)))
      (if (i64.ne (local.get $n) (i64.const 1))
        (then
          (local.set $n (i64.add (i64.mul (local.get $n) (i64.const 3)) (i64.const 1)))
          (local.set $steps (i64.add (local.get $steps) (i64.const 1)))
          (br $more))))
    (local.get $steps))

  ;; ---- the environment ----------------------------------------------------------------------

  ;; Copies the environment to where it belongs, if there is room for it. Address 0 then holds the
  ;; number of variables.
  (func $load_environment
    (if (i32.or
          (call $environ_sizes_get (i32.const 0) (i32.const 4))
          (i32.or
            (i32.gt_u (i32.load (i32.const 0)) (i32.const 15360))
            (i32.gt_u (i32.load (i32.const 4)) (i32.const 65536))))
      (then (call $refuse_environment)))
    (if (call $environ_get (i32.const 4096) (i32.const 65536))
      (then (call $refuse_environment))))

  ;; The value of the variable whose name, of 18 bytes, and "=" are at $name; -1 if it is absent or
  ;; not a number, which is larger than any limit when compared without a sign.
  (func $variable (param $name i32) (result i64)
    (local $entry i32) (local $end i32)
    (local.set $entry (i32.const 4096))
    (local.set $end
      (i32.add (local.get $entry) (i32.mul (i32.load (i32.const 0)) (i32.const 4))))
    (loop $next
      (if (i32.lt_u (local.get $entry) (local.get $end))
        (then
          (if (call $begins_with (i32.load (local.get $entry)) (local.get $name))
            (then
              (return (call $number (i32.add (i32.load (local.get $entry)) (i32.const 19))))))
          (local.set $entry (i32.add (local.get $entry) (i32.const 4)))
          (br $next))))
    (i64.const -1))

  ;; Whether the 19 bytes at $name are also at $text, which ends with a zero byte at the latest.
  (func $begins_with (param $text i32) (param $name i32) (result i32)
    (local $i i32)
    (loop $next
      (if (i32.ne
            (i32.load8_u (i32.add (local.get $text) (local.get $i)))
            (i32.load8_u (i32.add (local.get $name) (local.get $i))))
        (then (return (i32.const 0))))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $i) (i32.const 19))))
    (i32.const 1))

  ;; Reads one to seven decimal digits that end with a zero byte; -1 for anything else.
  (func $number (param $text i32) (result i64)
    (local $value i64) (local $digit i32) (local $digits i32)
    (loop $next
      (local.set $digit
        (i32.sub
          (i32.load8_u (i32.add (local.get $text) (local.get $digits)))
          (i32.const 48)))
      (if (i32.and
            (i32.lt_u (local.get $digit) (i32.const 10))
            (i32.lt_u (local.get $digits) (i32.const 7)))
        (then
          (local.set $value
            (i64.add
              (i64.mul (local.get $value) (i64.const 10))
              (i64.extend_i32_u (local.get $digit))))
          (local.set $digits (i32.add (local.get $digits) (i32.const 1)))
          (br $next))))
    ;; The zero byte, minus 48 as the digits.
    (if (i32.and
          (i32.eq (local.get $digit) (i32.const -48))
          (i32.gt_u (local.get $digits) (i32.const 0)))
      (then (return (local.get $value))))
    (i64.const -1))

  (func $refuse_environment
    (call $put (i32.const 560) (i32.const 79))
    (call $write_all (i32.const 2))
    (call $proc_exit (i32.const 2)))

  ;; ---- the answer ---------------------------------------------------------------------------

  (func $put_line (param $index i64) (param $count i64) (param $first i64) (param $end i64)
    (call $put (i32.const 336) (i32.const 5))
    (call $put_number (local.get $index))
    (call $put (i32.const 352) (i32.const 4))
    (call $put_number (local.get $count))
    (call $put (i32.const 368) (i32.const 8))
    (call $put_number (local.get $first))
    (call $put (i32.const 384) (i32.const 2))
    (call $put_number (local.get $end))
    (call $put (i32.const 400) (i32.const 25))
    (call $put_number (global.get $best_steps))
    (call $put (i32.const 432) (i32.const 14))
    (call $put_number (global.get $best_start))
    (call $put (i32.const 448) (i32.const 1)))

  (func $put_file (param $index i64) (param $count i64) (param $first i64) (param $end i64)
    (call $put (i32.const 464) (i32.const 5))
    (call $put_number (local.get $index))
    (call $put (i32.const 480) (i32.const 7))
    (call $put_number (local.get $count))
    (call $put (i32.const 496) (i32.const 7))
    (call $put_number (local.get $first))
    (call $put (i32.const 512) (i32.const 5))
    (call $put_number (local.get $end))
    (call $put (i32.const 528) (i32.const 7))
    (call $put_number (global.get $best_steps))
    (call $put (i32.const 544) (i32.const 3))
    (call $put_number (global.get $best_start))
    (call $put (i32.const 448) (i32.const 1)))

  ;; Appends $length bytes of $text to the output.
  (func $put (param $text i32) (param $length i32)
    (memory.copy (global.get $output) (local.get $text) (local.get $length))
    (global.set $output (i32.add (global.get $output) (local.get $length))))

  ;; Appends $value in decimal: first what is before the last digit, then the last digit.
  (func $put_number (param $value i64)
    (if (i64.ge_u (local.get $value) (i64.const 10))
      (then (call $put_number (i64.div_u (local.get $value) (i64.const 10)))))
    (i32.store8
      (global.get $output)
      (i32.add
        (i32.wrap_i64 (i64.rem_u (local.get $value) (i64.const 10)))
        (i32.const 48)))
    (global.set $output (i32.add (global.get $output) (i32.const 1))))

  ;; Opens result.txt for writing, new or emptied. Descriptor 3 is /work, the only folder there is.
  (func $create_result (result i32)
    (if (call $path_open
          (i32.const 3)
          (i32.const 0)                      ;; follow no link
          (i32.const 320) (i32.const 10)     ;; the name
          (i32.const 9)                      ;; create 1, truncate 8
          (i64.const 64) (i64.const 0)       ;; the right to write
          (i32.const 0)
          (i32.const 0))                     ;; the descriptor goes to address 0
      (then (call $proc_exit (i32.const 3))))
    (i32.load (i32.const 0)))

  ;; Writes the output to $file, in as many calls as it takes, and empties it.
  (func $write_all (param $file i32)
    (local $from i32)
    (local.set $from (i32.const 1024))
    (loop $more
      ;; One piece, described at address 8 by its address and its length.
      (i32.store (i32.const 8) (local.get $from))
      (i32.store (i32.const 12) (i32.sub (global.get $output) (local.get $from)))
      (if (call $fd_write (local.get $file) (i32.const 8) (i32.const 1) (i32.const 16))
        (then (call $proc_exit (i32.const 3))))
      (local.set $from (i32.add (local.get $from) (i32.load (i32.const 16))))
      (br_if $more (i32.lt_u (local.get $from) (global.get $output))))
    (global.set $output (i32.const 1024))
    ;; The result has to be complete before the task ends; the standard streams stay open.
    (if (i32.gt_u (local.get $file) (i32.const 2))
      (then
        (if (call $fd_close (local.get $file))
          (then (call $proc_exit (i32.const 3))))))))
