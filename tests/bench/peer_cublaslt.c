/* The peer of run.py: D = A x B^T of signed bytes with 32-bit sums, by cuBLASLt.
 *
 *   peer_cublaslt [--cold] M N K [M N K ...]
 *
 * A is M x K and B is N x K, both row-major, of random bytes; D is M x N. Each of the first eight algorithms that
 * cuBLASLt proposes is timed: twenty products in a CUDA graph between two events, the median of some runs, divided by
 * twenty; the least of these is printed, after some elements of that algorithm's D were compared with sums computed
 * here.
 * --cold: copies of the weights, together larger than the L2 cache, take turns.
 *
 * One line a shape: {"op": "gemm", "shape": [M, N, K], "us": 90.3, "algorithms": 8, "exact": true, "l2": "warm"}, or
 * with "error" in place of the results. Exit status: 0 success, 1 where a shape failed, 2 wrong usage. */
#include <cublasLt.h>
#include <cuda_runtime.h>

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { REPEATS = 20, ALGORITHMS = 8, MOST_COPIES = 64, WARM_RUNS = 2, LEAST_RUNS = 5, MOST_RUNS = 30, SAMPLES = 64 };
static const size_t workspace_bytes = (size_t)64 << 20, cold_bytes = (size_t)128 << 20;
static const double budget_us = 2e5; /* of one algorithm */

typedef struct Peer {
  cublasLtHandle_t handle;
  cudaStream_t stream;
  cudaEvent_t start, stop;
  void *workspace;
  bool cold;
} Peer;

typedef struct Product {
  size_t m, n, k;
  int8_t *host_a, *host_b;
  void *a, *b, *d; /* b: `copies` of the weights, one behind the other */
  int copies;
  cublasLtMatmulDesc_t operation;
  cublasLtMatrixLayout_t layout_a, layout_b, layout_d; /* column-major views: K x N, K x M, N x M */
  cublasLtMatmulHeuristicResult_t found[ALGORITHMS];
  int found_count, used;
  double us;
  bool exact;
  const char *error; /* of the first call that failed */
} Product;

/* --- calls that may fail: after the first one that did, the others are not made --- */

static bool cuda_good(Product *p, cudaError_t result) {
  if (result != cudaSuccess && !p->error) p->error = cudaGetErrorString(result);
  return !p->error;
}

static bool blas_good(Product *p, cublasStatus_t result) {
  if (result != CUBLAS_STATUS_SUCCESS && !p->error) p->error = cublasLtGetStatusString(result);
  return !p->error;
}

/* --- operands --- */

static uint64_t next_random(uint64_t *state) { /* xorshift64 */
  *state ^= *state << 13;
  *state ^= *state >> 7;
  *state ^= *state << 17;
  return *state;
}

static int8_t *random_bytes(size_t count, uint64_t seed) {
  uint64_t *words = malloc(count + sizeof *words);
  for (size_t i = 0; words && i <= count / sizeof *words; i++) words[i] = next_random(&seed);
  return (int8_t *)words;
}

static bool to_device(Product *p, void **device, const void *host, size_t bytes) {
  return cuda_good(p, cudaMalloc(device, bytes)) &&
         (!host || cuda_good(p, cudaMemcpy(*device, host, bytes, cudaMemcpyHostToDevice)));
}

static bool make_operands(Product *p) {
  p->host_a = random_bytes(p->m * p->k, UINT64_C(0x9e3779b97f4a7c15));
  p->host_b = random_bytes(p->n * p->k, UINT64_C(0xbf58476d1ce4e5b9));
  if (!p->host_a || !p->host_b) p->error = "out of memory";
  size_t bytes = p->n * p->k;
  bool good = !p->error && to_device(p, &p->a, p->host_a, p->m * p->k) && to_device(p, &p->b, NULL, p->copies * bytes);
  for (int i = 0; i < p->copies && good; i++)
    good = cuda_good(p, cudaMemcpy((char *)p->b + i * bytes, p->host_b, bytes, cudaMemcpyHostToDevice));
  return good && to_device(p, &p->d, NULL, p->m * p->n * sizeof(int32_t));
}

/* In cuBLASLt's column-major words D^T = (B^T)^T x A^T: both operands with K contiguous, "TN". */
static bool make_descriptors(Product *p) {
  cublasOperation_t transposed = CUBLAS_OP_T;
  return blas_good(p, cublasLtMatmulDescCreate(&p->operation, CUBLAS_COMPUTE_32I, CUDA_R_32I)) &&
         blas_good(p, cublasLtMatmulDescSetAttribute(p->operation, CUBLASLT_MATMUL_DESC_TRANSA, &transposed,
                                                     sizeof transposed)) &&
         blas_good(p, cublasLtMatrixLayoutCreate(&p->layout_a, CUDA_R_8I, p->k, p->n, (int64_t)p->k)) &&
         blas_good(p, cublasLtMatrixLayoutCreate(&p->layout_b, CUDA_R_8I, p->k, p->m, (int64_t)p->k)) &&
         blas_good(p, cublasLtMatrixLayoutCreate(&p->layout_d, CUDA_R_32I, p->n, p->m, (int64_t)p->n));
}

static bool find_algorithms(const Peer *peer, Product *p) {
  cublasLtMatmulPreference_t preference = NULL;
  bool good =
      blas_good(p, cublasLtMatmulPreferenceCreate(&preference)) &&
      blas_good(p, cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                                        &workspace_bytes, sizeof workspace_bytes)) &&
      blas_good(p, cublasLtMatmulAlgoGetHeuristic(peer->handle, p->operation, p->layout_a, p->layout_b, p->layout_d,
                                                  p->layout_d, preference, ALGORITHMS, p->found, &p->found_count));
  if (preference) cublasLtMatmulPreferenceDestroy(preference);
  return good;
}

/* --- times --- */

static bool multiply(const Peer *peer, Product *p, int algorithm, int copy) {
  int32_t one = 1, zero = 0;
  const char *b = (const char *)p->b + copy * (p->n * p->k);
  return blas_good(p, cublasLtMatmul(peer->handle, p->operation, &one, b, p->layout_a, p->a, p->layout_b, &zero, p->d,
                                     p->layout_d, p->d, p->layout_d, &p->found[algorithm].algo, peer->workspace,
                                     workspace_bytes, peer->stream));
}

static int repeats_of(const Product *p) {
  return (REPEATS + p->copies - 1) / p->copies * p->copies;
}

/* A graph of the product, its copies of the weights in turn. */
static bool capture(const Peer *peer, Product *p, int algorithm, cudaGraphExec_t *exec) {
  cudaGraph_t graph = NULL;
  if (!cuda_good(p, cudaStreamBeginCapture(peer->stream, cudaStreamCaptureModeThreadLocal))) return false;
  for (int i = 0; i < repeats_of(p) && !p->error; i++) multiply(peer, p, algorithm, i % p->copies);
  cudaError_t ended = cudaStreamEndCapture(peer->stream, &graph);
  if (cuda_good(p, ended)) cuda_good(p, cudaGraphInstantiate(exec, graph, 0));
  if (graph) cudaGraphDestroy(graph);
  return !p->error;
}

static double replay(const Peer *peer, Product *p, cudaGraphExec_t exec) {
  float milliseconds = 0;
  bool good =
      cuda_good(p, cudaEventRecord(peer->start, peer->stream)) && cuda_good(p, cudaGraphLaunch(exec, peer->stream)) &&
      cuda_good(p, cudaEventRecord(peer->stop, peer->stream)) && cuda_good(p, cudaEventSynchronize(peer->stop)) &&
      cuda_good(p, cudaEventElapsedTime(&milliseconds, peer->start, peer->stop));
  return good ? (double)milliseconds * 1e3 / repeats_of(p) : 0;
}

static int compare_times(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

/* Median microseconds of a product. */
static double median_time(const Peer *peer, Product *p, cudaGraphExec_t exec) {
  double times[MOST_RUNS], spent = 0;
  int count = 0;
  for (int i = -WARM_RUNS; i < MOST_RUNS && !p->error && (count < LEAST_RUNS || spent < budget_us); i++) {
    double us = replay(peer, p, exec);
    spent += us * repeats_of(p);
    if (i >= 0) times[count++] = us;
  }
  if (!count) return 0;
  qsort(times, (size_t)count, sizeof *times, compare_times);
  return count % 2 ? times[count / 2] : (times[count / 2 - 1] + times[count / 2]) / 2;
}

/* The best algorithm, whose D is left behind; one that does not run is passed over. */
static void time_algorithms(const Peer *peer, Product *p) {
  const char *failure = "cuBLASLt proposes no algorithm";
  int best = -1;
  for (int i = 0; i < p->found_count; i++) {
    cudaGraphExec_t exec = NULL;
    double us = capture(peer, p, i, &exec) ? median_time(peer, p, exec) : 0;
    if (exec) cudaGraphExecDestroy(exec);
    if (p->error) {
      failure = p->error;
      p->error = NULL;
      cudaGetLastError();
      continue;
    }
    p->used++;
    if (best < 0 || us < p->us) {
      best = i;
      p->us = us;
    }
  }
  if (best < 0)
    p->error = failure;
  else if (multiply(peer, p, best, 0))
    cuda_good(p, cudaStreamSynchronize(peer->stream));
}

/* --- results --- */

static void check_samples(Product *p) {
  uint64_t state = UINT64_C(0x2545f4914f6cdd1d);
  p->exact = true;
  for (int i = 0; i < SAMPLES && !p->error; i++) {
    size_t row = next_random(&state) % p->m, column = next_random(&state) % p->n;
    int32_t sum = 0, seen = 0;
    for (size_t k = 0; k < p->k; k++) sum += p->host_a[row * p->k + k] * p->host_b[column * p->k + k];
    const int32_t *at = (const int32_t *)p->d + row * p->n + column;
    if (cuda_good(p, cudaMemcpy(&seen, at, sizeof seen, cudaMemcpyDeviceToHost))) p->exact = p->exact && seen == sum;
  }
}

static void free_product(Product *p) {
  if (p->layout_a) cublasLtMatrixLayoutDestroy(p->layout_a);
  if (p->layout_b) cublasLtMatrixLayoutDestroy(p->layout_b);
  if (p->layout_d) cublasLtMatrixLayoutDestroy(p->layout_d);
  if (p->operation) cublasLtMatmulDescDestroy(p->operation);
  cudaFree(p->a);
  cudaFree(p->b);
  cudaFree(p->d);
  free(p->host_a);
  free(p->host_b);
}

static bool run_shape(const Peer *peer, size_t m, size_t n, size_t k) {
  Product p = {.m = m, .n = n, .k = k, .copies = 1};
  if (peer->cold) p.copies = n * k < cold_bytes / (MOST_COPIES - 1) ? MOST_COPIES : (int)(cold_bytes / (n * k)) + 2;
  if (make_operands(&p) && make_descriptors(&p) && find_algorithms(peer, &p)) time_algorithms(peer, &p);
  if (!p.error) check_samples(&p);
  printf("{\"op\": \"gemm\", \"shape\": [%zu, %zu, %zu], ", m, n, k);
  if (p.error)
    printf("\"error\": \"%s\"}\n", p.error);
  else
    printf("\"us\": %.3f, \"algorithms\": %d, \"exact\": %s, \"l2\": \"%s\"}\n", p.us, p.used,
           p.exact ? "true" : "false", peer->cold ? "cold" : "warm");
  fflush(stdout);
  free_product(&p);
  return !p.error && p.exact;
}

static bool open_peer(Peer *peer, bool cold) {
  Product calls = {0};
  bool good = cuda_good(&calls, cudaStreamCreate(&peer->stream)) && cuda_good(&calls, cudaEventCreate(&peer->start)) &&
              cuda_good(&calls, cudaEventCreate(&peer->stop)) &&
              cuda_good(&calls, cudaMalloc(&peer->workspace, workspace_bytes)) &&
              blas_good(&calls, cublasLtCreate(&peer->handle));
  if (!good) fprintf(stderr, "peer_cublaslt: %s\n", calls.error);
  return good;
}

int main(int argc, char **argv) {
  bool cold = argc > 1 && !strcmp(argv[1], "--cold"), good = true;
  int first = 1 + cold;
  if (argc == first || (argc - first) % 3) {
    fputs("usage: peer_cublaslt [--cold] M N K [M N K ...]\n", stderr);
    return 2;
  }
  for (int i = first; i < argc; i++)
    if (atol(argv[i]) < 1) {
      fprintf(stderr, "peer_cublaslt: expected a number from 1, got \"%s\"\n", argv[i]);
      return 2;
    }
  Peer peer = {.cold = cold};
  if (!open_peer(&peer, cold)) return 1;
  for (int i = first; i < argc; i += 3)
    good = run_shape(&peer, (size_t)atol(argv[i]), (size_t)atol(argv[i + 1]), (size_t)atol(argv[i + 2])) && good;
  return good ? 0 : 1;
}
