;; The contract "quote" by hand: the total of an order, from its quantity and,
;; where the scope has one, its price. ../build.sh assembles it.
(module
  (import "affiliate" "size" (func $size (param $kind i32) (param $name i32) (param $name_len i32) (result i64)))
  (import "affiliate" "read" (func $read
    (param $kind i32) (param $name i32) (param $name_len i32) (param $to i32) (param $offset i32) (param $len i32) (result i32)))
  (import "affiliate" "output" (func $output (param $from i32) (param $len i32)))
  (import "affiliate" "fail" (func $fail (param $code i32) (param $code_len i32) (param $msg i32) (param $msg_len i32)))
  (import "affiliate" "log" (func $log (param $level i32) (param $from i32) (param $len i32)))

  (memory (export "memory") 1)
  (data (i32.const 0) "quantity ")    ;; 9: the name, and the log's line with 8 bytes of the value behind it
  (data (i32.const 32) "price")       ;; 5
  (data (i32.const 48) "time")        ;; 4
  (data (i32.const 64) "QUOTE_NUMBER_INVALID")                   ;; 20
  (data (i32.const 96) "want a whole number from 1 to 9999999")  ;; 37
  (data (i32.const 160) "{\"price\":")      ;; 9
  (data (i32.const 176) ",\"quantity\":")   ;; 12
  (data (i32.const 192) ",\"time\":\"")     ;; 9
  (data (i32.const 208) "\",\"total\":")    ;; 10
  (data (i32.const 224) "}")                ;; 1
  ;; 240: 8 bytes of the price; 256: the record
  (data (i32.const 1024)
    "{\"abi\":1,\"name\":\"quote\",\"version\":\"1\",\"roles\":[{\"role\":\"OWNER\"}],"
    "\"scope_specifications\":[{\"id\":\"71756f74-6500-4000-8000-000000000001\",\"name\":\"quote\",\"roles\":[\"OWNER\"]}],"
    "\"inputs\":[{\"name\":\"quantity\",\"type\":\"example.Quantity\"}],"
    "\"existing\":[{\"name\":\"price\",\"type\":\"example.Price\",\"optional\":true}],"
    "\"functions\":[{\"name\":\"quote\",\"role\":\"OWNER\",\"inputs\":[\"quantity\"],\"existing\":[\"price\"],"
    "\"record\":{\"name\":\"quote\",\"type\":\"example.Quote\",\"index\":[{\"field\":\"total\"}]}}]}")  ;; 461

  (global $end (mut i32) (i32.const 256)) ;; of the record so far

  (func $add (param $from i32) (param $len i32)
    (memory.copy (global.get $end) (local.get $from) (local.get $len))
    (global.set $end (i32.add (global.get $end) (local.get $len))))

  (func $add_number (param $n i64)
    (if (i64.ge_u (local.get $n) (i64.const 10))
      (then (call $add_number (i64.div_u (local.get $n) (i64.const 10)))))
    (i32.store8 (global.get $end)
      (i32.add (i32.const 48) (i32.wrap_i64 (i64.rem_u (local.get $n) (i64.const 10)))))
    (global.set $end (i32.add (global.get $end) (i32.const 1))))

  ;; number reads a whole number of one to seven digits. It is given at most
  ;; eight bytes, so one that is longer shows.
  (func $number (param $from i32) (param $len i32) (result i64)
    (local $i i32) (local $digit i32) (local $n i64)
    (block $stop
      (loop $next
        (br_if $stop (i32.ge_s (local.get $i) (local.get $len)))
        (local.set $digit (i32.sub (i32.load8_u (i32.add (local.get $from) (local.get $i))) (i32.const 48)))
        (br_if $stop (i32.gt_u (local.get $digit) (i32.const 9)))
        (local.set $n (i64.add (i64.mul (local.get $n) (i64.const 10)) (i64.extend_i32_u (local.get $digit))))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br $next)))
    (if (i32.or
          (i64.eqz (local.get $n))
          (i32.or (i32.lt_s (local.get $i) (local.get $len)) (i32.gt_s (local.get $len) (i32.const 7))))
      (then (call $fail (i32.const 64) (i32.const 20) (i32.const 96) (i32.const 37)) unreachable))
    (local.get $n))

  (func (export "describe")
    (call $output (i32.const 1024) (i32.const 461)))

  (func (export "invoke") (param $function i32)
    (local $len i32) (local $quantity i64) (local $price i64)
    (local.set $len (call $read (i32.const 0) (i32.const 0) (i32.const 8) (i32.const 9) (i32.const 0) (i32.const 8)))
    (call $log (i32.const 1) (i32.const 0) (i32.add (i32.const 9) (local.get $len)))
    (local.set $quantity (call $number (i32.const 9) (local.get $len)))
    (local.set $price (i64.const 100))
    (if (i64.ge_s (call $size (i32.const 1) (i32.const 32) (i32.const 5)) (i64.const 0))
      (then (local.set $price (call $number (i32.const 240)
        (call $read (i32.const 1) (i32.const 32) (i32.const 5) (i32.const 240) (i32.const 0) (i32.const 8))))))

    (call $add (i32.const 160) (i32.const 9))
    (call $add_number (local.get $price))
    (call $add (i32.const 176) (i32.const 12))
    (call $add_number (local.get $quantity))
    (call $add (i32.const 192) (i32.const 9))
    (global.set $end (i32.add (global.get $end)
      (call $read (i32.const 2) (i32.const 48) (i32.const 4) (global.get $end) (i32.const 0) (i32.const 64))))
    (call $add (i32.const 208) (i32.const 10))
    (call $add_number (i64.mul (local.get $price) (local.get $quantity)))
    (call $add (i32.const 224) (i32.const 1))
    (call $output (i32.const 256) (i32.sub (global.get $end) (i32.const 256)))))
