/* Ampere GA100: the A100 SXM 80 GB. Chip figures from its data sheet; the one-bit rate is 8 times s8, as measured. CUDA
 * cores: popc at 16 a cycle and SM, 32 bits each, 1.41 GHz. launch_us is what an H200 shows, for want of a figure.
 * PTX 7.1 is the first with m16n8k256 .and.popc. */
#include "../ir/graph.h"
#include "../ir/target.h"

extern const Target target_sm_80;

static const MmaRate mma_rates[] = {
    {"m16n8k256_b1", ENGINE_MMA_B1, 4950, true},  {"m16n8k32_s8_s8", ENGINE_MMA_S8, 624, true},
    {"m16n8k32_s8_u8", ENGINE_MMA_S8, 624, true}, {"m16n8k32_u8_s8", ENGINE_MMA_S8, 624, true},
    {"m16n8k32_u8_u8", ENGINE_MMA_S8, 624, true},
};

const Target target_sm_80 = {
    .name = "sm_80",
    .arch = 80,
    .ptx_version = "7.1",
    .sm_count = 108,
    .shared_bytes = 166912,
    .sm_shared_bytes = 167936,
    .copy_gb_per_s = 2039,
    .cuda_core_tera_ops = 156,
    .launch_us = 1.04f,
    .mma = mma_rates,
    .mma_count = sizeof mma_rates / sizeof mma_rates[0],
};
