// The workloads of the engine's benchmark in C, without a library: the same
// functions, inputs and records as bench-go. ../build.sh compiles it.

#define HOST(name) __attribute__((import_module("affiliate"), import_name(name)))
#define EXPORT(name) __attribute__((export_name(name)))
#define TEXT(literal) (literal), sizeof(literal) - 1

HOST("size") long long size(int kind, const char *name, unsigned name_len);
HOST("read") int read(int kind, const char *name, unsigned name_len, void *to, unsigned offset, unsigned len);
HOST("output") void output(const char *from, unsigned len);
HOST("fail") _Noreturn void fail(const char *code, unsigned code_len, const char *msg, unsigned msg_len);

enum { INPUT };
enum { MAX_ROUNDS = 1000000, MAX_COUNT = 1000000000, MAX_LENGTH = 262144, MAX_DATA = 1 << 20, MAX_VALUES = 4096, MAX_DEPTH = 128 };

typedef unsigned char byte;
typedef unsigned int word;
typedef unsigned long long u64;

static _Noreturn void invalid(void) { fail(TEXT("BENCH_INPUT_INVALID"), TEXT("an input isn't what the benchmark takes")); }

static char text[2 * MAX_DATA]; // what is written
static word length;

static void add(const char *s, word n) {
  if (n > sizeof text - length) invalid();
  __builtin_memcpy(text + length, s, n);
  length += n;
}

// add_json writes ' as ", which keeps JSON in literals readable.
static void add_json(const char *s) {
  for (; *s; s++) add(*s == '\'' ? "\"" : s, 1);
}

static void add_number(long long n) {
  if (n < 0) add("-", 1), n = -n;
  if (n >= 10) add_number(n / 10);
  add(&"0123456789"[n % 10], 1);
}

static char data[MAX_DATA]; // the input

// load reads an input whole; -1 says that there is none.
static int load(const char *name, word name_len) {
  long long n = size(INPUT, name, name_len);
  if (n > (long long)sizeof data) invalid();
  return n < 0 ? -1 : read(INPUT, name, name_len, data, 0, n);
}

static word number(const char *name, word name_len, word if_absent, word most) {
  int n = load(name, name_len), i = 0;
  u64 value = 0;
  if (n < 0) return if_absent;
  while (i < n && i < 10 && data[i] >= '0' && data[i] <= '9') value = 10 * value + (data[i++] - '0');
  if (i < n || value < 1 || value > most) invalid();
  return value;
}

// JSON: a scanner that makes a tree. Texts stay as the document spells them,
// so the host's canonical form is what is compared and copied.
enum kind { OBJECT, ARRAY, STRING, NUMBER, OTHER };

struct value {
  enum kind kind;
  const char *name, *from; // of the member; of a text
  word name_len, len;
  long long number;
  struct value *first, *next;
};

static struct value values[MAX_VALUES];
static word used;
static const char *at, *end;

static char peek(void) {
  while (at < end && (*at == ' ' || *at == '\n' || *at == '\r' || *at == '\t')) at++;
  return at < end ? *at : 0;
}

static void expect(char c) {
  if (peek() != c) invalid();
  at++;
}

static word scan_text(const char **from) {
  expect('"');
  *from = at;
  while (at < end && *at != '"') at += *at == '\\' ? 2 : 1;
  if (at >= end) invalid();
  return at++ - *from;
}

static long long scan_number(void) {
  int negative = *at == '-', digits = 0;
  long long n = 0;
  for (at += negative; at < end && *at >= '0' && *at <= '9'; at++, digits++) n = 10 * n + (*at - '0');
  if (digits == 0 || digits > 16) invalid();
  return negative ? -n : n;
}

static struct value *scan(int depth);

static void scan_members(struct value *v, int depth) {
  struct value **place = &v->first;
  char close = v->kind == OBJECT ? '}' : ']';
  at++;
  if (peek() == close) {
    at++;
    return;
  }
  for (;;) {
    const char *name = 0;
    word name_len = 0;
    if (v->kind == OBJECT) {
      name_len = scan_text(&name);
      expect(':');
    }
    struct value *member = scan(depth + 1);
    member->name = name, member->name_len = name_len;
    *place = member, place = &member->next;
    if (peek() != ',') break;
    at++;
  }
  expect(close);
}

static void scan_word(void) {
  const char *from = at;
  while (at < end && *at >= 'a' && *at <= 'z') at++;
  if (at == from) invalid();
}

static struct value *scan(int depth) {
  if (used == MAX_VALUES || depth == MAX_DEPTH) invalid();
  struct value *v = &values[used++];
  *v = (struct value){0};
  switch (peek()) {
  case '{': v->kind = OBJECT, scan_members(v, depth); break;
  case '[': v->kind = ARRAY, scan_members(v, depth); break;
  case '"': v->kind = STRING, v->len = scan_text(&v->from); break;
  case '-': case '0': case '1': case '2': case '3': case '4': case '5': case '6': case '7': case '8': case '9':
    v->kind = NUMBER, v->number = scan_number(); break;
  default: v->kind = OTHER, scan_word();
  }
  return v;
}

static int same(const char *a, const char *b, word n) {
  while (n > 0 && *a == *b) a++, b++, n--;
  return n == 0;
}

static struct value *member(const struct value *object, const char *name, word name_len, enum kind kind) {
  for (struct value *v = object->first; v; v = v->next)
    if (v->kind == kind && v->name_len == name_len && same(v->name, name, name_len)) return v;
  invalid();
}

static void add_text(const struct value *v) { add(v->from, v->len); }

static void add_balance(const struct value *payment, long long outstanding) {
  add_json("{'date':'");
  add_text(member(payment, TEXT("date"), STRING));
  add_json("','outstanding':");
  add_number(outstanding);
  add_json(",'reference':'");
  add_text(member(payment, TEXT("reference"), STRING));
  add_json("'}");
}

static void transform_once(word n) {
  used = length = 0;
  at = data, end = data + n;
  struct value *r = scan(0), *borrower = member(r, TEXT("borrower"), OBJECT);
  if (peek()) invalid();
  long long outstanding = member(r, TEXT("principal"), NUMBER)->number;

  add_json("{'borrower':'");
  add_text(member(borrower, TEXT("name"), STRING));
  add(TEXT(", "));
  add_text(member(borrower, TEXT("country"), STRING));
  add_json("','currency':'");
  add_text(member(r, TEXT("currency"), STRING));
  add_json("','history':[");
  for (struct value *p = member(r, TEXT("payments"), ARRAY)->first; p; p = p->next) {
    outstanding -= member(p, TEXT("amount"), NUMBER)->number;
    add_balance(p, outstanding);
    if (p->next) add(",", 1);
  }
  add_json("],'loan_id':'");
  add_text(member(r, TEXT("loan_id"), STRING));
  add_json("','outstanding':");
  add_number(outstanding);
  add_json("}");
}

static void transform(void) {
  word rounds = number(TEXT("rounds"), 1, MAX_ROUNDS);
  int n = load(TEXT("record"));
  if (n < 0) add_number(0);
  else while (rounds--) transform_once(n);
}

// SHA-256 as FIPS 180-4 describes it.
static const word first_state[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};

static const word constants[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

static word rotate(word x, int n) { return x >> n | x << (32 - n); }

static void hash_block(word state[8], const byte *block) {
  word w[64], s[8];
  for (int i = 0; i < 16; i++) w[i] = (word)block[4 * i] << 24 | block[4 * i + 1] << 16 | block[4 * i + 2] << 8 | block[4 * i + 3];
  for (int i = 16; i < 64; i++) {
    word a = w[i - 15], b = w[i - 2];
    w[i] = w[i - 16] + (rotate(a, 7) ^ rotate(a, 18) ^ a >> 3) + w[i - 7] + (rotate(b, 17) ^ rotate(b, 19) ^ b >> 10);
  }
  for (int i = 0; i < 8; i++) s[i] = state[i];
  for (int i = 0; i < 64; i++) {
    word t = s[7] + (rotate(s[4], 6) ^ rotate(s[4], 11) ^ rotate(s[4], 25)) + ((s[4] & s[5]) ^ (~s[4] & s[6])) + constants[i] + w[i];
    word u = (rotate(s[0], 2) ^ rotate(s[0], 13) ^ rotate(s[0], 22)) + ((s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]));
    s[7] = s[6], s[6] = s[5], s[5] = s[4], s[4] = s[3] + t, s[3] = s[2], s[2] = s[1], s[1] = s[0], s[0] = t + u;
  }
  for (int i = 0; i < 8; i++) state[i] += s[i];
}

// hash_once covers the data and the hash before, and replaces that.
static void hash_once(const byte *p, word n, byte sum[32]) {
  byte rest[192] = {0};
  word state[8], whole = n / 64, left = n % 64, tail = left + 32 + 9 > 64 ? 128 : 64;
  u64 bits = (n + 32ull) * 8;
  for (int i = 0; i < 8; i++) state[i] = first_state[i];
  for (word i = 0; i < whole; i++) hash_block(state, p + 64 * i);
  for (word i = 0; i < left; i++) rest[i] = p[64 * whole + i];
  for (word i = 0; i < 32; i++) rest[left + i] = sum[i];
  rest[left + 32] = 0x80;
  for (word i = 0; i < 8; i++) rest[tail - 1 - i] = bits >> 8 * i;
  for (word i = 0; i < tail; i += 64) hash_block(state, rest + i);
  for (word i = 0; i < 32; i++) sum[i] = state[i / 4] >> (24 - 8 * (i % 4));
}

static void hash(void) {
  byte sum[32] = {0};
  word rounds = number(TEXT("rounds"), 1, MAX_ROUNDS);
  int n = load(TEXT("data"));
  if (n < 0) {
    add_number(0);
    return;
  }
  while (rounds--) hash_once((const byte *)data, n, sum);
  add("\"", 1);
  for (int i = 0; i < 32; i++) add(&"0123456789abcdef"[sum[i] >> 4], 1), add(&"0123456789abcdef"[sum[i] & 15], 1);
  add("\"", 1);
}

static void loop(void) {
  word count = number(TEXT("count"), 0, MAX_COUNT), sum = 0;
  u64 x = 88172645463325252;
  for (word i = 0; i < count; i++) {
    x ^= x << 13, x ^= x >> 7, x ^= x << 17;
    if ((x & 1) == 0) sum += x >> 32;
    else sum ^= (word)x;
  }
  add_number(sum);
}

static int numbers[MAX_LENGTH];

// sort is quicksort down to short runs, which insertion finishes.
static void sort(int *from, int *to) {
  while (to - from > 16) {
    int pivot = from[(to - from) / 2], *low = from, *high = to - 1;
    while (low <= high) {
      while (*low < pivot) low++;
      while (*high > pivot) high--;
      if (low > high) break;
      int t = *low;
      *low++ = *high, *high-- = t;
    }
    if (high - from < to - low) sort(from, high + 1), from = low;
    else sort(low, to), to = high + 1;
  }
  for (int *i = from + 1; i < to; i++) {
    int v = *i, *j = i;
    for (; j > from && j[-1] > v; j--) *j = j[-1];
    *j = v;
  }
}

static void sort_numbers(void) {
  word count = number(TEXT("length"), 0, MAX_LENGTH), x = 2463534242, sum = 0;
  for (word i = 0; i < count; i++) x ^= x << 13, x ^= x >> 17, x ^= x << 5, numbers[i] = x;
  sort(numbers, numbers + count);
  for (word i = 0; i < count; i++) sum = sum * 31 + (word)numbers[i];
  add_number(sum);
}

EXPORT("describe") void describe(void) {
  add_json("{'abi':1,'name':'bench','version':'1','roles':[{'role':'OWNER'}],"
           "'scope_specifications':[{'id':'62656e63-6800-4000-8000-000000000001','name':'bench','roles':['OWNER']}],"
           "'inputs':[{'name':'record','type':'bench.Record','optional':true},"
           "{'name':'data','type':'bench.Data','media_type':'application/octet-stream','optional':true},"
           "{'name':'count','type':'bench.Count','optional':true},"
           "{'name':'length','type':'bench.Length','optional':true},"
           "{'name':'rounds','type':'bench.Rounds','optional':true}],"
           "'functions':[{'name':'json','role':'OWNER','inputs':['record','rounds'],'record':{'name':'json','type':'bench.Loan'}},"
           "{'name':'sha256','role':'OWNER','inputs':['data','rounds'],'record':{'name':'sha256','type':'bench.Hash'}},"
           "{'name':'loop','role':'OWNER','inputs':['count'],'record':{'name':'loop','type':'bench.Sum'}},"
           "{'name':'sort','role':'OWNER','inputs':['length'],'record':{'name':'sort','type':'bench.Sum'}}]}");
  output(text, length);
}

EXPORT("invoke") void invoke(int function) {
  switch (function) {
  case 0: transform(); break;
  case 1: hash(); break;
  case 2: loop(); break;
  case 3: sort_numbers(); break;
  }
  output(text, length);
}
