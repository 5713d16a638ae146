// The contract "quote" in C, without a library: the total of an order, from its
// quantity and, where the scope has one, its price. ../build.sh compiles it.

#define HOST(name) __attribute__((import_module("affiliate"), import_name(name)))
#define EXPORT(name) __attribute__((export_name(name)))

// Every text crosses as a pointer and a length.
#define TEXT(literal) (literal), sizeof(literal) - 1

HOST("size") long long size(int kind, const char *name, unsigned name_len);
HOST("read") int read(int kind, const char *name, unsigned name_len, char *to, unsigned offset, unsigned len);
HOST("output") void output(const char *from, unsigned len);
HOST("fail") _Noreturn void fail(const char *code, unsigned code_len, const char *msg, unsigned msg_len);
HOST("log") void log_line(int level, const char *from, unsigned len);

enum { INPUT, EXISTING, CONTEXT };
enum { INFO = 1 };

static char text[1024]; // what has been written; every run starts with none
static unsigned length;

// add writes ' as ", which keeps JSON in literals readable.
static void add(const char *s) {
  for (; *s; s++) text[length++] = *s == '\'' ? '"' : *s;
}

static void add_number(unsigned long long n) {
  if (n >= 10) add_number(n / 10);
  text[length++] = '0' + n % 10;
}

// number reads all the JSON that this contract takes: a whole number of one to
// seven digits. It is given at most eight bytes, so one that is longer shows.
static unsigned long long number(const char *s, int len) {
  unsigned long long n = 0;
  int i = 0;
  while (i < len && s[i] >= '0' && s[i] <= '9') n = 10 * n + (s[i++] - '0');
  if (n == 0 || i < len || len > 7) fail(TEXT("QUOTE_NUMBER_INVALID"), TEXT("want a whole number from 1 to 9999999"));
  return n;
}

EXPORT("describe") void describe(void) {
  add("{'abi':1,'name':'quote','version':'1','roles':[{'role':'OWNER'}],"
      "'scope_specifications':[{'id':'71756f74-6500-4000-8000-000000000001','name':'quote','roles':['OWNER']}],"
      "'inputs':[{'name':'quantity','type':'example.Quantity'}],"
      "'existing':[{'name':'price','type':'example.Price','optional':true}],"
      "'functions':[{'name':'quote','role':'OWNER','inputs':['quantity'],'existing':['price'],"
      "'record':{'name':'quote','type':'example.Quote','index':[{'field':'total'}]}}]}");
  output(text, length);
}

EXPORT("invoke") void invoke(int function) {
  static char line[] = "quantity ........", known[8];
  char *quantity_text = line + 9;
  int len = read(INPUT, TEXT("quantity"), quantity_text, 0, 8);
  log_line(INFO, line, 9 + len);
  unsigned long long quantity = number(quantity_text, len), price = 100;
  if (size(EXISTING, TEXT("price")) >= 0) price = number(known, read(EXISTING, TEXT("price"), known, 0, 8));

  add("{'price':");
  add_number(price);
  add(",'quantity':");
  add_number(quantity);
  add(",'time':'");
  length += read(CONTEXT, TEXT("time"), text + length, 0, 64);
  add("','total':");
  add_number(price * quantity);
  add("}");
  output(text, length);
}
