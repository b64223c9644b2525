/* Ampere GA10x: the GeForce RTX 3090. Dense s8 rate and memory from the GA102 white paper, which gives no one-bit rate:
 * 8 times s8, the ratio of the same tensor-core generation on the A100. CUDA cores: popc at 16 a cycle and SM, 32 bits
 * each, 1.7 GHz. launch_us is what an H200 shows, for want of a figure. PTX 7.1 is the first that knows sm_86. */
#include "../ir/graph.h"
#include "../ir/target.h"

extern const Target target_sm_86;

static const MmaRate mma_rates[] = {
    {"m16n8k256_b1", ENGINE_MMA_B1, 2272, true},  {"m16n8k32_s8_s8", ENGINE_MMA_S8, 284, true},
    {"m16n8k32_s8_u8", ENGINE_MMA_S8, 284, true}, {"m16n8k32_u8_s8", ENGINE_MMA_S8, 284, true},
    {"m16n8k32_u8_u8", ENGINE_MMA_S8, 284, true},
};

const Target target_sm_86 = {
    .name = "sm_86",
    .arch = 86,
    .ptx_version = "7.1",
    .sm_count = 82,
    .shared_bytes = 101376,
    .sm_shared_bytes = 102400,
    .copy_gb_per_s = 936,
    .cuda_core_tera_ops = 142,
    .launch_us = 1.04f,
    .mma = mma_rates,
    .mma_count = sizeof mma_rates / sizeof mma_rates[0],
};
