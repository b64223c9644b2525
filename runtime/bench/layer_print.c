/* What `apnn-bench layer` says of a layer that it has measured. */
#include "layer_command.h"

#include <stdio.h>

/* "" on CUDA cores. */
static const char *own_tile(const LayerNetwork *n, char text[TILE_TEXT]) {
  return n->tile.m ? tile_text(&n->tile, text) : "";
}

static void print_candidates(const LayerNetwork *n) {
  printf(", \"engines\": [");
  for (uint32_t i = 0; i < n->engines.count; i++)
    printf("%s{\"engine\": \"%s\", \"estimate_us\": %.3f}", i ? ", " : "", engine_name[n->engines.engines[i]],
           n->engines.microseconds[i]);
  printf("], \"tiles\": [");
  for (uint32_t i = 0; i < n->tiles.count; i++) {
    char tile[TILE_TEXT];
    printf("%s{\"tile\": \"%s\", \"estimate_us\": %.3f}", i ? ", " : "", tile_text(&n->tiles.tiles[i], tile),
           n->tiles.microseconds[i]);
  }
  putchar(']');
}

static void print_json(const LayerOptions *o, const LayerNetwork *n, const LayerResult *r) {
  static const char *const exact[] = {"false", "true", "\"sampled\""};
  const LayerSpec *s = &o->spec;
  char text[TILE_TEXT];
  const char *tile = own_tile(n, text);
  double tops = r->us > 0 ? r->ops / r->us / 1e6 : 0, machine = tops * (n->planes ? n->planes : 1);
  printf("{\"op\": \"%s\", \"shape\": [", s->conv ? "conv" : "gemm");
  for (int i = 0; i < o->size_count; i++) printf("%s%d", i ? ", " : "", o->sizes[i]);
  printf("], \"w\": \"%s\", \"a\": \"%s\", \"out\": \"%s\", \"target\": \"%s\", \"device\": \"%s\", ", s->w, s->a,
         s->out, s->target->name, r->device);
  printf("\"engine\": \"%s\", \"tile\": \"%s\", \"us\": %.3f, \"tops\": %.6g, ", engine_name[n->engine], tile, r->us,
         tops);
  if (n->planes)
    printf("\"bit_tops\": %.6g, ", machine);
  else
    printf("\"bit_tops\": null, ");
  printf("\"peak_share\": %.6g, \"bytes\": %llu, \"exact\": %s, \"l2\": \"%s\", "
         "\"image\": \"%s\", \"outputs\": \"%016llx\"",
         n->tera_ops > 0 ? machine / n->tera_ops : 0, (unsigned long long)r->bytes, exact[r->exact],
         o->cold ? "cold" : "warm", n->assembled ? "cubin" : "ptx", (unsigned long long)r->hash);
  if (o->candidates) print_candidates(n);
  puts("}");
}

static void print_text(const LayerOptions *o, const LayerNetwork *n, const LayerResult *r) {
  static const char *const exact[] = {"NOT EXACT", "exact", "exact (sampled)"};
  const LayerSpec *s = &o->spec;
  char text[TILE_TEXT];
  const char *tile = own_tile(n, text);
  double tops = r->us > 0 ? r->ops / r->us / 1e6 : 0;
  printf("%s", s->conv ? "conv" : "gemm");
  for (int i = 0; i < o->size_count; i++) printf("%s%d", i ? "x" : " ", o->sizes[i]);
  printf(" %sx%s to %s on %s (%s): %.2f us, %.1f Top/s, %s%s%s, L2 %s, %s\n", s->w, s->a, s->out, r->device,
         s->target->name, r->us, tops, engine_name[n->engine], tile[0] ? " " : "", tile, o->cold ? "cold" : "warm",
         exact[r->exact]);
  for (uint32_t i = 0; i < n->engines.count; i++)
    printf("  %s: about %.2f us\n", engine_name[n->engines.engines[i]], n->engines.microseconds[i]);
  for (uint32_t i = 0; i < n->tiles.count; i++)
    printf("  %s %s: about %.2f us\n", engine_name[n->engine], tile_text(&n->tiles.tiles[i], text),
           n->tiles.microseconds[i]);
}

void layer_print(const LayerOptions *o, const LayerNetwork *n, const LayerResult *r) {
  (o->json ? print_json : print_text)(o, n, r);
}
