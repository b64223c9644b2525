/* The known name nearest to an unknown one, by edit distance: insertions, deletions, replacements and swaps of
 * neighbours count one each. */
#include "lower.h"
#include <string.h>

enum { LONGEST = 64 };

static uint32_t least(uint32_t a, uint32_t b) {
  return a < b ? a : b;
}

/* The distance where it is less than `limit`, some number that is not otherwise. */
static uint32_t edit_distance(const char *a, const char *b, uint32_t limit) {
  size_t n = strlen(a), m = strlen(b);
  if (n > LONGEST || m > LONGEST || n >= m + limit || m >= n + limit) return UINT32_MAX;
  uint32_t rows[3][LONGEST + 1]; /* the row before the last, the last, this one */
  for (size_t k = 0; k <= m; k++) rows[1][k] = (uint32_t)k;
  for (size_t i = 1; i <= n; i++) {
    uint32_t nearest = rows[2][0] = (uint32_t)i;
    for (size_t k = 1; k <= m; k++) {
      uint32_t best = rows[1][k - 1] + (a[i - 1] != b[k - 1]);
      best = least(best, least(rows[1][k], rows[2][k - 1]) + 1);
      if (i > 1 && k > 1 && a[i - 1] == b[k - 2] && a[i - 2] == b[k - 1]) best = least(best, rows[0][k - 2] + 1);
      rows[2][k] = best;
      nearest = least(nearest, best);
    }
    if (nearest > limit) return nearest; /* a swap may pass over one row, and adds one */
    memcpy(rows[0], rows[1], sizeof rows[0]);
    memcpy(rows[1], rows[2], sizeof rows[1]);
  }
  return rows[1][m];
}

/* At most a third of the letters may differ, and one of two. */
Suggestion suggestion_for(const char *wanted) {
  return (Suggestion){wanted, NULL, strlen(wanted) > 1 ? (uint32_t)(strlen(wanted) + 2) / 3 + 1 : 0};
}

void suggestion_offer(Suggestion *s, const char *candidate) {
  uint32_t distance = edit_distance(s->wanted, candidate, s->distance);
  if (distance >= s->distance) return;
  s->distance = distance;
  s->best = candidate;
}

void suggestion_hint(Context *c, const Suggestion *s) {
  if (s->best) diag_hint(c, "did you mean '%s'?", s->best);
}
