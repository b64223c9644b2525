/* Broken text and failing memory: no crash, no leak, and always a report. */
#include "frontend_sample.h"

static const char *const sources[] = {
    "const w = [3, 5]\nblock f(x, c, s=1) {\n  a = conv2d(x, c, kernel=w, stride=s, pad=[1, 2], w=bipolar) | "
    "batchnorm(name=\"bn\")\n"
    "  return a | relu | quantize(u2(zero=1/2)), a\n}\nnetwork n {\n  input x : u4[8, 8, 3](scale=1/15)\n  p, q = f(x, "
    "8, name=\"l.0\")\n"
    "  output y = concat(q, q, axis=2) | global_avgpool | flatten\n  output z = p\n}\n",
    "network m { # comment\n  input a : i8[16]\n  b = a | linear(8, w=i4(scale=0.5), bias=true)\n      | softmax\n"
    "  output c = argmax(b)\n  output d = reshape(b, [2, 2, 2]) | upsample(2) | maxpool(kernel=2, pad=\"same\")\n}\n",
};

static void load_and_print(const char *text, size_t length) {
  Context *c = context_new(NULL);
  FrontendOptions options = {.random_params = true, .seed = 1};
  char *exact = malloc(length ? length : 1);
  memcpy(exact, text, length);
  Graph *g = frontend_load(c, "test.apnn", exact, length, &options);
  assert_int_equal(g == NULL, diag_error_count(c) > 0);
  if (!g) assert_int_not_equal(strlen(reports_of(c)), 0);
  context_free(c);
  free(exact);
}

/* Characters changed, words moved: from a fixed seed. */
static void test_mutations(void **state) {
  (void)state;
  static const char alphabet[] = "()[]{},|=:+-*/%\"#\n .019azuix_\x80\xff\0";
  uint64_t seed = 7;
  for (int i = 0; i < 6000; i++) {
    const char *source = sources[i & 1];
    size_t length = strlen(source);
    char text[2048];
    memcpy(text, source, length);
    for (uint64_t k = random_number(&seed) % 3; k < 3; k++) {
      size_t at = random_number(&seed) % length, from = random_number(&seed) % length;
      size_t most = length - (at > from ? at : from), n = 1 + random_number(&seed) % 12;
      if (random_number(&seed) & 1)
        memmove(text + at, text + from, n < most ? n : most);
      else
        text[at] = alphabet[random_number(&seed) % (sizeof alphabet - 1)];
    }
    load_and_print(text, length - (random_number(&seed) & 3 ? 0 : random_number(&seed) % length));
  }
}

/* An allocator that fails from the n-th call on. */
typedef struct Failing {
  long left;
  long blocks;
} Failing;

static void *allocate(void *user, void *old, size_t old_size, size_t new_size) {
  Failing *f = user;
  (void)old_size;
  if (!new_size) {
    f->blocks -= old != NULL;
    free(old);
    return NULL;
  }
  if (f->left-- <= 0) return NULL;
  void *block = realloc(old, new_size);
  f->blocks += block && !old;
  return block;
}

static void test_memory_runs_out(void **state) {
  (void)state;
  bool finished = false;
  for (long calls = 0; !finished && calls < 100000; calls++) {
    Failing f = {.left = calls};
    Context *c = context_new(&(Allocator){allocate, &f});
    if (!c) continue;
    FrontendOptions options = {.random_params = true, .seed = 1};
    finished = frontend_load(c, "test.apnn", sources[0], strlen(sources[0]), &options) != NULL;
    assert_int_equal(finished, diag_error_count(c) == 0);
    context_free(c);
    assert_int_equal(f.blocks, 0);
  }
  assert_true(finished);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_mutations),
      cmocka_unit_test(test_memory_runs_out),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
