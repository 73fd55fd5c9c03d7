// A thread walks down a column of a mask's box, its neighbours down those beside it, so that a warp reads the
// same word or two and no bit is moved between threads. Most rows change nothing: what limits this is reading
// the words, from the first-level cache but for large masks.
#include "core/cuda.cuh"
#include "rle/rle_cuda.h"

namespace pyifcn {
namespace {

constexpr int kThreads = 128;

// Columns [begin, end) of a mask, those of a block.
struct Columns {
  int64_t i;
  CudaMask mask;
  int64_t begin, end;
  bool last;  // of the mask
};

__device__ Columns columns_of_block(const CudaMasks& masks, int64_t blocks) {
  const int64_t block = blockIdx.x, i = block / blocks, share = block % blocks;
  const CudaMask mask = masks[i];
  const int64_t width = mask.x2 - mask.x1;
  return {i, mask, mask.x1 + width * share / blocks, mask.x1 + width * (share + 1) / blocks,
          share == blocks - 1};
}

// Calls visit(y) for each pixel of column x that differs from the one before it, which is the last of the
// column before where y is 0. y is the image's height where the pixel is the next column's first and lies
// outside the mask's box.
template <class Visit>
__device__ void visit_changes(const RleJob& job, const CudaMask& mask, int64_t x, Visit visit) {
  const int64_t across = mask.across(), rows = mask.rows();
  const uint64_t* words = mask.words + x / 64 - mask.x1 / 64;
  const int bit = int(x % 64);
  const bool goes_on = rows == job.height;  // at the top of the next column
  bool before = goes_on && x > mask.x1 && (mask.word(mask.y2 - 1, (x - 1) / 64) >> (x - 1) % 64 & 1);
  for (int64_t row = 0; row < rows; ++row) {
    const bool here = words[row * across] >> bit & 1;
    if (here != before) visit(mask.y1 + row);
    before = here;
  }
  const bool image_ends = x + 1 == job.width && mask.y2 == job.height;
  if (before && !image_ends && !(goes_on && x + 1 < mask.x2)) visit(mask.y2);
}

__global__ void __launch_bounds__(kThreads)
    count_kernel(const RleJob job, const View<int64_t, 1> counts, int64_t blocks) {
  __shared__ unsigned long long sum;
  if (threadIdx.x == 0) sum = 0;
  __syncthreads();
  const Columns columns = columns_of_block(job.masks, blocks);
  unsigned long long mine = 0;
  for (int64_t x = columns.begin + threadIdx.x; x < columns.end; x += kThreads)
    visit_changes(job, columns.mask, x, [&](int64_t) { ++mine; });
  if (mine > 0) atomicAdd(&sum, mine);
  __syncthreads();
  if (threadIdx.x == 0) counts.data[blockIdx.x] = int64_t(sum) + columns.last;
}

__global__ void __launch_bounds__(kThreads) find_kernel(const RleJob job, const View<const int64_t, 1> starts,
                                                        const View<int32_t, 1> ends, int64_t blocks) {
  __shared__ int64_t counts[kThreads];
  const int me = int(threadIdx.x);
  const Columns columns = columns_of_block(job.masks, blocks);
  const uint64_t pixels = uint64_t(job.height) * uint64_t(job.width), first = uint64_t(columns.i) * pixels;
  int64_t start = starts.data[blockIdx.x];
  for (int64_t left = columns.begin; left < columns.end; left += kThreads) {
    const int64_t x = left + me;
    int64_t mine = 0;
    if (x < columns.end) visit_changes(job, columns.mask, x, [&](int64_t) { ++mine; });
    __syncthreads();
    counts[me] = mine;
    __syncthreads();
    int64_t at = start;
    for (int i = 0; i < kThreads; ++i) {
      if (i < me) at += counts[i];
      start += counts[i];
    }
    if (mine == 0) continue;
    const uint64_t top = first + uint64_t(x) * uint64_t(job.height);
    visit_changes(job, columns.mask, x, [&](int64_t y) { ends.data[at++] = int32_t(top + uint64_t(y)); });
  }
  if (columns.last && me == 0) ends.data[starts.data[blockIdx.x + 1] - 1] = int32_t(first + pixels);
}

}  // namespace

int64_t rle_blocks_per_mask(int64_t count, int64_t width) {
  constexpr int64_t kEnough = 4096;
  const int64_t useful = ceil_div<int64_t>(width, kThreads);
  const int64_t wanted = ceil_div<int64_t>(kEnough, count > 0 ? count : 1);
  const int64_t blocks = useful < wanted ? useful : wanted;
  return blocks < 1 ? 1 : blocks;
}

void count_runs_cuda(const RleJob& job, const View<int64_t, 1>& counts, const Stream& stream) {
  const OnDevice guard(stream.device);
  const int64_t blocks = rle_blocks_per_mask(job.masks.count(), job.width);
  launch(count_kernel, {job.masks.count() * blocks, kThreads}, stream, job, counts, blocks);
}

void find_runs_cuda(const RleJob& job, const View<const int64_t, 1>& starts, const View<int32_t, 1>& ends,
                    const Stream& stream) {
  const OnDevice guard(stream.device);
  const int64_t blocks = rle_blocks_per_mask(job.masks.count(), job.width);
  launch(find_kernel, {job.masks.count() * blocks, kThreads}, stream, job, starts, ends, blocks);
}

}  // namespace pyifcn
