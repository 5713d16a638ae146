// The contract "quote" in AssemblyScript: the total of an order, from its
// quantity and, where the scope has one, its price. ../build.sh compiles it.

@external("affiliate", "size")
declare function hostSize(kind: i32, name: ArrayBuffer, nameLength: i32): i64;
@external("affiliate", "read")
declare function hostRead(kind: i32, name: ArrayBuffer, nameLength: i32, to: ArrayBuffer, offset: i32, length: i32): i32;
@external("affiliate", "output")
declare function hostOutput(from: ArrayBuffer, length: i32): void;
@external("affiliate", "fail")
declare function hostFail(code: ArrayBuffer, codeLength: i32, message: ArrayBuffer, messageLength: i32): void;
@external("affiliate", "log")
declare function hostLog(level: i32, from: ArrayBuffer, length: i32): void;

const INPUT = 0;
const EXISTING = 1;
const CONTEXT = 2;
const INFO = 1;

// The quantity and the price are whole numbers of one to seven digits. They
// are given at most eight bytes, so one that is longer shows.
const most = 8;

// Evaluated once, in _initialize.
const manifest = String.UTF8.encode(
  '{"abi":1,"name":"quote","version":"1","roles":[{"role":"OWNER"}],' +
  '"scope_specifications":[{"id":"71756f74-6500-4000-8000-000000000001","name":"quote","roles":["OWNER"]}],' +
  '"inputs":[{"name":"quantity","type":"example.Quantity"}],' +
  '"existing":[{"name":"price","type":"example.Price","optional":true}],' +
  '"functions":[{"name":"quote","role":"OWNER","inputs":["quantity"],"existing":["price"],' +
  '"record":{"name":"quote","type":"example.Quote","index":[{"field":"total"}]}}]}');

function has(kind: i32, name: string): bool {
  const n = String.UTF8.encode(name);
  return hostSize(kind, n, n.byteLength) >= 0;
}

function read(kind: i32, name: string, length: i32): string {
  const n = String.UTF8.encode(name);
  const value = new ArrayBuffer(length);
  const got = hostRead(kind, n, n.byteLength, value, 0, length);
  return got < 0 ? "" : String.UTF8.decode(value.slice(0, got));
}

function output(text: string): void {
  const t = String.UTF8.encode(text);
  hostOutput(t, t.byteLength);
}

function fail(code: string, message: string): void {
  const c = String.UTF8.encode(code);
  const m = String.UTF8.encode(message);
  hostFail(c, c.byteLength, m, m.byteLength);
}

function log(text: string): void {
  const t = String.UTF8.encode(text);
  hostLog(INFO, t, t.byteLength);
}

function number(text: string): i64 {
  let n: i64 = 0;
  let i = 0;
  for (; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (c < 48 || c > 57) break;
    n = 10 * n + (c - 48);
  }
  if (n == 0 || i < text.length || text.length >= most) {
    fail("QUOTE_NUMBER_INVALID", "want a whole number from 1 to 9999999");
  }
  return n;
}

export function describe(): void {
  hostOutput(manifest, manifest.byteLength);
}

export function invoke(index: i32): void {
  const text = read(INPUT, "quantity", most);
  log("quantity " + text);
  const quantity = number(text);
  const price: i64 = has(EXISTING, "price") ? number(read(EXISTING, "price", most)) : 100;
  const time = read(CONTEXT, "time", 64);
  const total = price * quantity;
  output(`{"price":${price},"quantity":${quantity},"time":"${time}","total":${total}}`);
}
