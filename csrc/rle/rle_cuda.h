// Run-length codes of masks on CUDA.
//
// A mask's columns are shared out among as many blocks as each mask has. The first pass counts what each
// block finds; from the running sum the second knows where to write.
#pragma once

#include <cstdint>

#include "core/stream.h"
#include "masks/masks_cuda.h"

namespace pyifcn {

// Blocks for each of `count` masks of an image.
int64_t rle_blocks_per_mask(int64_t count, int64_t width);

// Masks of an image of less than 2^32 pixels.
struct RleJob {
  CudaMasks masks;
  int64_t height, width;
};

// Writes how many runs of each mask each block finds: `counts` is (N blocks,).
void count_runs_cuda(const RleJob& job, const View<int64_t, 1>& counts, const Stream& stream);

// Writes where each run ends, in pixels from the first mask's first, down the columns of one mask after the
// other, modulo 2^32: the runs are the differences. `starts` (N blocks + 1,) is the running sum of the
// counts.
void find_runs_cuda(const RleJob& job, const View<const int64_t, 1>& starts, const View<int32_t, 1>& ends,
                    const Stream& stream);

}  // namespace pyifcn
