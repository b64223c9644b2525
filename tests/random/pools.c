/* Pooling of every element type under windows of many shapes: of dense inputs, and between layers whose engines bring
 * bit planes, bytes and pieces with gaps to either side; channels that fill no word, a word, a block and more. */
#include "element.h"
#include "generate.h"
#include <stdio.h>
#include <stdlib.h>

/* On 13 x 14 pixels. */
static const char *const windows[] = {
    "kernel=2, stride=2",
    "kernel=3, stride=2, pad=1",
    "kernel=[2, 3], stride=[1, 2], pad=[1, 0, 0, 2]",
    "kernel=5, stride=4, pad=2", /* taps shared between threads */
    "kernel=[13, 14], stride=1", /* the whole image, in rounds */
    "kernel=[9, 7], stride=3, pad=4",
    "kernel=1, stride=3",
};
enum { WINDOWS = sizeof windows / sizeof *windows };

static const int channel_counts[] = {1, 12, 32, 50, 64, 72, 96, 130};
enum { CHANNEL_COUNTS = sizeof channel_counts / sizeof *channel_counts };

static const char *padding_of(const ElementChoice *e) {
  return element_has_zero(e) ? "" : ", pad_value=1";
}

char *generate_pool(uint32_t index) {
  if (index >= (uint32_t)WINDOWS * ELEMENT_COUNT) return NULL;
  int turn = (int)index, channels = channel_counts[turn % CHANNEL_COUNTS];
  const Element *e = &elements[turn / WINDOWS];
  bool is_wide = e->q_min == 0 && e->q_max > 1;
  ElementChoice x = element_with_zero(e, is_wide && turn % 3 == 0 ? e->q_max : e->zero2);
  const char *window = windows[turn % WINDOWS], *other = windows[(turn + 3) % WINDOWS];
  char *text = NULL;
  size_t size;
  FILE *out = open_memstream(&text, &size);
  fprintf(out, "network pool {\n  input x : %s[13, 14, %d]", e->name, channels);
  if (x.zero2 != e->zero2) fprintf(out, "(zero=%d/2)", x.zero2);
  fprintf(out, "\n  a = conv2d(x, %d, kernel=1, w=bipolar) | batchnorm(name=\"a.bn\") | quantize(%s)\n", channels,
          x.text);
  fprintf(out, "  m = maxpool(a, %s)\n", window);
  fprintf(out, "  s = avgpool(a, %s) | quantize(u3)\n", window);
  fprintf(out, "  output from_max = conv2d(m, 5, kernel=3, pad=1, w=i2%s)\n", padding_of(&x));
  fprintf(out, "  output from_sum = conv2d(s, 4, kernel=3, pad=1, w=bipolar)\n");
  if (turn % 2) fprintf(out, "  output beside = conv2d(a, 3, kernel=3, pad=1, w=bipolar%s)\n", padding_of(&x));
  fprintf(out, "  output max = maxpool(x, %s)\n", window);
  fprintf(out, "  output sum = avgpool(x, %s)\n", window);
  fprintf(out, "  output other_max = maxpool(a, %s)\n", other);
  fprintf(out, "  output other_sum = avgpool(a, %s)\n", other);
  fprintf(out, "  output few = maxpool(x, %s) | batchnorm(name=\"few\") | quantize(u2)\n}\n", other);
  fclose(out);
  return text;
}
