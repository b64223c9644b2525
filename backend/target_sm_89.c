/* Ada AD10x: the GeForce RTX 4090. Dense s8 rate and memory from the Ada white paper, which gives no one-bit rate: 8
 * times s8, the ratio of the A100, whose instructions it shares. CUDA cores: popc at 16 a cycle and SM, 32 bits each,
 * 2.52 GHz. launch_us is what an H200 shows, for want of a figure. PTX 7.8 is the first that knows sm_89. */
#include "../ir/graph.h"
#include "../ir/target.h"

extern const Target target_sm_89;

static const MmaRate mma_rates[] = {
    {"m16n8k256_b1", ENGINE_MMA_B1, 5285, true},     {"m16n8k32_s8_s8", ENGINE_MMA_S8, 660.6f, true},
    {"m16n8k32_s8_u8", ENGINE_MMA_S8, 660.6f, true}, {"m16n8k32_u8_s8", ENGINE_MMA_S8, 660.6f, true},
    {"m16n8k32_u8_u8", ENGINE_MMA_S8, 660.6f, true},
};

const Target target_sm_89 = {
    .name = "sm_89",
    .arch = 89,
    .ptx_version = "7.8",
    .sm_count = 128,
    .shared_bytes = 101376,
    .sm_shared_bytes = 102400,
    .copy_gb_per_s = 1008,
    .cuda_core_tera_ops = 330,
    .launch_us = 1.04f,
    .mma = mma_rates,
    .mma_count = sizeof mma_rates / sizeof mma_rates[0],
};
