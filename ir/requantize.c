/* The search for requantizers (requantize.h).
 *
 * In the coordinate u = x ^ flip every count rises. Corners are points (u, r) where the line must lie at or above, or
 * below, the height i - 1/2 of a rounding step. The margin of a line, its least distance in height from a corner, is a
 * concave function of its slope and of its step per r, made of straight pieces: with both given, the best offset is
 * half way between the highest corner from below and the lowest from above. Its maximum is found by cutting planes: the
 * tangents of two points on either side meet above the maximum, and the function there gives a new tangent (Kelley,
 * "The cutting-plane method for solving convex programs", 1960, in one dimension). This ends after a few pieces. The
 * outer search, over the slope, has the maximum of the inner one as its function.
 *
 * Requantizers that are not plain: with slope, offset and of_other given, v is a number known at each corner, and gain
 * and lift are a line over v. Their search is that of a plain one without a second activation.
 */
#include "requantize.h"

#include <math.h>
#include <stddef.h>

enum {
  MOST_CUTS = 100,
  SLOPES_TRIED = 9,        /* the rounded slope and its nearest neighbours, in turn on either side */
  MOST_LOOKED_AT = 1 << 17 /* corners of all v that are drawn, so that giving up takes a few milliseconds */
};

/* Smaller steps per r are none, so that kernels may take a step's 2^32nd part exactly. */
static float noticed(float step) {
  return fabsf(step) < 0x1p-60f ? 0 : step;
}

typedef struct Corner {
  int32_t u, r, level;
  bool reached; /* counted `level` or more; otherwise less */
  double at;    /* u, or v where the line is over v */
} Corner;

typedef struct Fit {
  const ThresholdRows *rows;
  Corner corners[2 * MOST_REQUANTIZED];
  int count;
  bool is_over_value; /* the line is over this v, not over x */
  Requantizer of_value;
  bool has_step; /* the line has a step per r */
  double slope;  /* of the line that the inner search looks at */
  double step;   /* per r, as the inner search left it */
  double most_step;
  double best_margin, best_slope; /* of the best line */
} Fit;

/* A concave function at a point, in the variable that is searched and that of the search around it. */
typedef struct Margin {
  double value, slope, outer_slope;
} Margin;

static float value(const Requantizer *q, int32_t x, int32_t r) {
  return fmaf((float)x, q->slope, fmaf((float)r, q->of_other, q->offset));
}

bool requantizer_is_plain(const Requantizer *q) {
  return q->gain == 1 && q->lift == 0;
}

int32_t requantize(const Requantizer *q, int levels, int32_t first, int32_t x, int32_t r) {
  float y = fmaf(value(q, x, r), q->gain, q->lift);
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
  f->corners[f->count++] = (Corner){u, r, level, reached, u};
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
    double left = c->level - 0.5 - f->slope * c->at - step * c->r;
    if (c->reached && left > low) low = left, lowest = c;
    if (!c->reached && left < high) high = left, highest = c;
  }
  *offset = (low + high) / 2;
  double by_step = (double)lowest->r - highest->r, by_slope = lowest->at - highest->at;
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
  Margin m = f->has_step ? maximize(f, margin_of_step, -f->most_step, f->most_step, &f->step) : margin_of_step(f, 0);
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
  float step = noticed((float)(f->step / levels));
  room(f, step * levels, &offset);
  if (f->is_over_value) {
    *out = f->of_value;
    out->gain = slope;
    out->lift = (float)(offset / levels);
    return is_right(f, out);
  }
  if (rows->flip) offset -= slope * levels; /* slope * ~x = -slope * x - slope */
  *out = (Requantizer){rows->flip ? -slope : slope, (float)(offset / levels), step, 1, 0};
  return is_right(f, out);
}

static bool fit_line(Fit *f, Requantizer *out) {
  double levels = f->rows->levels, steep = levels * f->rows->numbers; /* enough for all at one x */
  f->best_margin = maximize(f, margin_of_slope, 0, steep, &f->best_slope).value;
  for (int i = 0; i < SLOPES_TRIED && f->best_margin > 0; i++)
    if (try_slope(f, neighbour((float)(f->best_slope / levels), alternating(i)), out)) return true;
  return false;
}

/* --- with a gain --- */

/* In 0 .. 1, evenly spread over i = 1, 2, ... where the ratio is far from rational. */
static double spread(int i, double ratio) {
  return i * ratio - floor(i * ratio);
}

/* The i-th v to look at: it rises with the count. Its slope is of any digits; its offset sets what v is rounded to,
 * from what `reach`, the greatest of the corners' x, is rounded to up to 16 times that. */
static Requantizer draw_value(const Fit *f, int i, double step, double reach) {
  double slope = 1 + spread(i, 0.6180339887498949), shift = (4 * spread(i, 0.7548776662466927) - 2) * (1 << i % 4);
  return (Requantizer){.slope = (float)(f->rows->flip ? -slope : slope),
                       .offset = (float)(shift * reach * slope),
                       .of_other = noticed((float)(step * slope))};
}

static double reach_of(const Fit *f) {
  double reach = 0;
  for (int i = 0; i < f->count; i++) reach = fmax(reach, fabs((double)f->corners[i].u));
  return reach;
}

/* After fit_line over x. */
static bool fit_with_gain(Fit *f, Requantizer *out) {
  if (!(f->best_slope > 0)) return false;
  margin_of_slope(f, f->best_slope);
  double step = f->step / f->best_slope, reach = reach_of(f);       /* in x */
  double error = (reach + fabs(step) * f->rows->numbers) * 0x1p-18; /* of v is less */
  if (f->best_margin < -f->best_slope * error || error > 0x1p20) return false;
  f->has_step = false;
  f->is_over_value = true;
  for (int i = 1; i * f->count <= MOST_LOOKED_AT; i++) {
    f->of_value = draw_value(f, i, step, reach);
    for (int c = 0; c < f->count; c++) {
      Corner *corner = &f->corners[c];
      corner->at = value(&f->of_value, corner->u ^ f->rows->flip, corner->r);
    }
    if (fit_line(f, out)) return true;
  }
  return false;
}

bool requantizer_find(const ThresholdRows *rows, Requantizer *out) {
  if (rows->numbers * rows->levels > MOST_REQUANTIZED || !is_ordered(rows)) return false;
  Fit f = {.rows = rows, .has_step = rows->numbers > 1};
  f.most_step = rows->levels * (1 + (double)rows->most - rows->least);
  int reached = add_corners(&f);
  *out = (Requantizer){.offset = reached ? 1 : 0, .gain = 1}; /* where no corner is of the other kind */
  if (!reached || reached == f.count) return true;
  return fit_line(&f, out) || fit_with_gain(&f, out);
}
