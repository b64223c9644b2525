/* The search for requantizers (requantize.h).
 *
 * In the coordinate u = x ^ flip every count rises. Corners are points (u, r) where the line must lie at or above, or
 * below, the height i - 1/2 of a rounding step. The margin of a line, its least distance in height from a corner, is a
 * concave function of its slope and of its step per r, made of straight pieces: with both given, the best offset is
 * half way between the highest corner from below and the lowest from above. Its maximum is found by cutting planes: the
 * tangents of two points on either side meet above the maximum, and the function there gives a new tangent (Kelley,
 * "The cutting-plane method for solving convex programs", 1960, in one dimension). This ends after a few pieces. The
 * outer search, over the slope, has the maximum of the inner one as its function.
 */
#include "requantize.h"

#include <math.h>
#include <stddef.h>

enum {
  MOST_CUTS = 100,
  SLOPES_TRIED = 9 /* the rounded slope and its nearest neighbours, in turn on either side */
};

/* Smaller steps per r are none, so that kernels may take a step's 2^32nd part exactly. */
static const float LEAST_OF_OTHER = 0x1p-60f;

typedef struct Corner {
  int32_t u, r, level;
  bool reached; /* counted `level` or more; otherwise less */
} Corner;

typedef struct Fit {
  const ThresholdRows *rows;
  Corner corners[2 * MOST_REQUANTIZED];
  int count;
  double slope; /* of the line that the inner search looks at */
  double step;  /* per r, as the inner search left it */
  double most_step;
} Fit;

/* A concave function at a point, in the variable that is searched and that of the search around it. */
typedef struct Margin {
  double value, slope, outer_slope;
} Margin;

int32_t requantize(const Requantizer *q, int levels, int32_t first, int32_t x, int32_t r) {
  float y = fmaf((float)x, q->slope, fmaf((float)r, q->of_other, q->offset));
  y = y > 0 ? (y < 1 ? y : 1) : 0;
  return (int32_t)(fmaf(y, (float)levels, REQUANTIZE_MAGIC + (float)first) - REQUANTIZE_MAGIC);
}

/* --- corners --- */

static bool is_ordered(const ThresholdRows *rows) {
  for (int r = 0; r < rows->numbers; r++)
    for (int i = 1; i < rows->levels; i++)
      if (rows->t[r * rows->levels + i] < rows->t[r * rows->levels + i - 1]) return false;
  return rows->flip == 0 || rows->flip == -1;
}

static void add_corner(Fit *f, int32_t u, int32_t r, int32_t level, bool reached) {
  f->corners[f->count++] = (Corner){u, r, level, reached};
}

/* The two corners of each threshold, or the one that x can come to. Returns how many are of the reached kind. */
static int add_corners(Fit *f) {
  const ThresholdRows *rows = f->rows;
  int32_t least = rows->flip ? ~rows->most : rows->least, most = rows->flip ? ~rows->least : rows->most;
  int reached = 0;
  for (int r = 0; r < rows->numbers; r++)
    for (int i = 0; i < rows->levels; i++) {
      int32_t t = rows->t[r * rows->levels + i];
      if (t > least) add_corner(f, t > most ? most : t - 1, r, i + 1, false);
      if (t > most) continue;
      add_corner(f, t < least ? least : t, r, i + 1, true);
      reached++;
    }
  return reached;
}

static bool is_right(const Fit *f, const Requantizer *q) {
  const ThresholdRows *rows = f->rows;
  for (int i = 0; i < f->count; i++) {
    const Corner *c = &f->corners[i];
    int32_t counted = requantize(q, rows->levels, rows->first, c->u ^ rows->flip, c->r) - rows->first;
    if ((counted >= c->level) != c->reached) return false;
  }
  return true;
}

/* --- the line farthest from them --- */

/* Half the room for the offset of the line of f->slope and `step`; `offset`: the middle of the room. */
static Margin room(const Fit *f, double step, double *offset) {
  double low = -INFINITY, high = INFINITY;
  const Corner *lowest = NULL, *highest = NULL; /* that bound the room from below and from above */
  for (int i = 0; i < f->count; i++) {
    const Corner *c = &f->corners[i];
    double left = c->level - 0.5 - f->slope * c->u - step * c->r;
    if (c->reached && left > low) low = left, lowest = c;
    if (!c->reached && left < high) high = left, highest = c;
  }
  *offset = (low + high) / 2;
  double by_step = (double)lowest->r - highest->r, by_slope = (double)lowest->u - highest->u;
  return (Margin){(high - low) / 2, by_step / 2, by_slope / 2};
}

static Margin margin_of_step(Fit *f, double step) {
  double unused;
  return room(f, step, &unused);
}

/* Where a concave function is greatest between two ends. Its slope in the outer variable is that mean of those of the
 * pieces that meet there whose slope in its own variable is none. */
static Margin maximize(Fit *f, Margin (*at)(Fit *f, double x), double low, double high, double *where) {
  Margin l = at(f, low), h = at(f, high);
  *where = l.slope <= 0 ? low : high;
  if (l.slope <= 0 || h.slope >= 0) return l.slope <= 0 ? l : h;
  for (int cuts = 0; cuts < MOST_CUTS; cuts++) {
    double rise = (h.value - h.slope * (high - low) - l.value) / (l.slope - h.slope), x = low + rise;
    if (!(x > low && x < high)) break; /* one of them is the top */
    Margin m = at(f, x);
    *where = x;
    if (m.slope == 0) return m;
    bool is_top = m.value >= l.value + l.slope * rise - 1e-12;
    if (m.slope > 0)
      low = x, l = m;
    else
      high = x, h = m;
    if (is_top) break;
  }
  double weight = -h.slope / (l.slope - h.slope);
  *where = l.value > h.value ? low : high;
  return (Margin){fmax(l.value, h.value), 0, weight * l.outer_slope + (1 - weight) * h.outer_slope};
}

/* Of the best step; f->step is left at it. */
static Margin margin_of_slope(Fit *f, double slope) {
  f->slope = slope;
  f->step = 0;
  bool has_other = f->rows->numbers > 1;
  Margin m = has_other ? maximize(f, margin_of_step, -f->most_step, f->most_step, &f->step) : margin_of_step(f, 0);
  return (Margin){m.value, m.outer_slope, 0};
}

/* --- in binary32 --- */

static float neighbour(float x, int steps) {
  for (; steps > 0; steps--) x = nextafterf(x, INFINITY);
  for (; steps < 0; steps++) x = nextafterf(x, -INFINITY);
  return x;
}

/* 0, 1, -1, 2, -2, ... */
static int alternating(int i) {
  return i % 2 ? (i + 1) / 2 : -i / 2;
}

/* The best line with this slope. */
static bool try_slope(Fit *f, float slope, Requantizer *out) {
  const ThresholdRows *rows = f->rows;
  double levels = rows->levels, offset;
  if (slope < 0) return false;
  margin_of_slope(f, slope * levels);
  *out = (Requantizer){.slope = rows->flip ? -slope : slope, .of_other = (float)(f->step / levels)};
  if (fabsf(out->of_other) < LEAST_OF_OTHER) out->of_other = 0;
  room(f, out->of_other * levels, &offset);
  if (rows->flip) offset -= slope * levels; /* slope * ~x = -slope * x - slope */
  out->offset = (float)(offset / levels);
  return is_right(f, out);
}

static bool fit_line(Fit *f, Requantizer *out) {
  const ThresholdRows *rows = f->rows;
  double slope, span = (double)rows->most - rows->least;
  f->most_step = rows->levels * (1 + span);
  Margin best = maximize(f, margin_of_slope, 0, rows->levels * rows->numbers, &slope); /* all at one x: steep enough */
  for (int i = 0; i < SLOPES_TRIED && best.value > 0; i++)
    if (try_slope(f, neighbour((float)(slope / rows->levels), alternating(i)), out)) return true;
  return false;
}

bool requantizer_find(const ThresholdRows *rows, Requantizer *out) {
  if (rows->numbers * rows->levels > MOST_REQUANTIZED || !is_ordered(rows)) return false;
  Fit f;
  f.rows = rows;
  f.count = 0;
  int reached = add_corners(&f);
  *out = (Requantizer){.offset = reached ? 1 : 0}; /* where no corner is of the other kind */
  if (!reached || reached == f.count) return true;
  return fit_line(&f, out);
}
