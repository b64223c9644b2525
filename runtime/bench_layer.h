/* `apnn-bench layer`: one matrix product or convolution, compiled, checked and timed. */
#ifndef RUNTIME_BENCH_LAYER_H
#define RUNTIME_BENCH_LAYER_H

/* argv[0] is "layer". The program's exit status. */
int bench_layer(int argc, char **argv);

#endif
