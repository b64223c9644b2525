/* Hopper GH100: the H200 SXM, every rate measured on one. XOR and int4 mma are emulated there and absent from the
 * table. PTX 8.0 is the first that knows sm_90a. */
#include "../ir/graph.h"
#include "../ir/target.h"

extern const Target target_sm_90a;

static const MmaRate mma_rates[] = {
    {"m16n8k256_b1", ENGINE_MMA_B1, 10200, true},  {"m16n8k32_s8_s8", ENGINE_MMA_S8, 1260, true},
    {"m16n8k32_s8_u8", ENGINE_MMA_S8, 1260, true}, {"m16n8k32_u8_s8", ENGINE_MMA_S8, 1260, true},
    {"m16n8k32_u8_u8", ENGINE_MMA_S8, 1260, true}, {"m64k256_b1", ENGINE_WGMMA_B1, 15000, true},
    {"m64k32_s8_s8", ENGINE_WGMMA_S8, 1880, true}, {"m64k32_s8_u8", ENGINE_WGMMA_S8, 1880, true},
    {"m64k32_u8_s8", ENGINE_WGMMA_S8, 1880, true}, {"m64k32_u8_u8", ENGINE_WGMMA_S8, 1880, true},
};

const Target target_sm_90a = {
    .name = "sm_90a",
    .arch = 90,
    .ptx_version = "8.0",
    .sm_count = 132,
    .shared_bytes = 232448,
    .sm_shared_bytes = 233472,
    .copy_gb_per_s = 4300,
    .cuda_core_tera_ops = 260,
    .launch_us = 0.78f,
    .overlaps_launches = true,
    .mma = mma_rates,
    .mma_count = sizeof mma_rates / sizeof mma_rates[0],
};
