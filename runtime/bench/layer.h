/* `apnn-bench layer`: one matrix product or convolution, compiled, checked and timed. */
#ifndef BENCH_LAYER_H
#define BENCH_LAYER_H

/* argv[0] is "layer". The program's exit status. */
int bench_layer(int argc, char **argv);

/* layer_list.c: a command for each line of a file, "-" for standard input; words[0] is "layer", words[count] NULL. The
 * greatest of the exit statuses. */
typedef int (*BenchCommand)(void *user, int count, char **words);
int bench_list(const char *path, const char *tool, BenchCommand run, void *user);

#endif
