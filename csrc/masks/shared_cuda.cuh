// The pixels that masks share, counted by a warp: its lanes take the words where the boxes meet.
#pragma once

#include "core/cuda.cuh"
#include "masks/masks_cuda.h"

namespace pyifcn {
namespace {

// Where two boxes meet. Half-open, with x1 >= x2 or y1 >= y2 where they do not.
struct Meeting {
  int32_t x1, y1, x2, y2;

  __device__ bool empty() const { return x1 >= x2 || y1 >= y2; }
  // No two masks in such boxes share more pixels.
  __device__ int64_t area() const { return empty() ? 0 : int64_t(x2 - x1) * (y2 - y1); }
  __device__ int64_t across() const { return grid_words(x1, x2); }
};

__device__ inline Meeting meeting_of(const CudaMask& a, const CudaMask& b) {
  return {::max(a.x1, b.x1), ::max(a.y1, b.y1), ::min(a.x2, b.x2), ::min(a.y2, b.y2)};
}

// One of `count` slices of rows.
struct Slice {
  int64_t index = 0, count = 1;

  __device__ int64_t begin(int64_t rows) const { return count == 1 ? 0 : rows * index / count; }
  __device__ int64_t end(int64_t rows) const { return count == 1 ? rows : rows * (index + 1) / count; }
};

// The pixels that two masks share in the words that fall to a lane, in a slice of where they meet.
__device__ inline int64_t shared_by_lane(const CudaMask& a, const CudaMask& b, const Slice& slice, int lane) {
  const Meeting meeting = meeting_of(a, b);
  const int64_t rows = meeting.y2 - meeting.y1, end = slice.end(rows);
  const int across = int(meeting.across()), rows_on = kWarp / across, words_on = kWarp % across;
  const int64_t a_across = a.across(), b_across = b.across();
  int64_t row = slice.begin(rows) + lane / across;
  int k = lane % across;
  int64_t i = (meeting.y1 - a.y1 + row) * a_across + (meeting.x1 / 64 - a.x1 / 64 + k);
  int64_t j = (meeting.y1 - b.y1 + row) * b_across + (meeting.x1 / 64 - b.x1 / 64 + k);
  int64_t shared = 0;
  while (row < end) {
    shared += __popcll(a.words[i] & b.words[j]);
    row += rows_on, k += words_on;
    i += rows_on * a_across + words_on, j += rows_on * b_across + words_on;
    if (k >= across) ++row, k -= across, i += a_across - across, j += b_across - across;
  }
  return shared;
}

// One warp's sums in shared memory, in two parts that 32 lanes cannot make overflow.
struct WarpSums {
  static constexpr int kLowBits = 24;
  unsigned low[kWarp], high[kWarp];

  __device__ void clear(int lane) { low[lane] = high[lane] = 0; }
  __device__ void add(int which, int64_t value) {
    atomicAdd(&low[which], unsigned(value & ((1 << kLowBits) - 1)));
    if (value >> kLowBits) atomicAdd(&high[which], unsigned(value >> kLowBits));
  }
  __device__ int64_t operator[](int lane) const { return (int64_t(high[lane]) << kLowBits) + low[lane]; }
};

struct Pair {
  CudaMask a, b;
};

// For each lane with `wanted` the pixels that its pair of masks, which meet, share; 0 for the others.
// `pair_of(lane)` gives the pair of any lane. All lanes of the warp call it.
template <class PairOf>
__device__ int64_t count_shared(bool wanted, WarpSums& sums, const PairOf& pair_of, const Slice& slice = {}) {
  const int lane = int(threadIdx.x) % kWarp;
  const unsigned votes = __ballot_sync(kAllLanes, wanted);
  if (votes == 0) return 0;
  sums.clear(lane);
  __syncwarp();
  for (unsigned left = votes; left; left &= left - 1) {
    const int which = __ffs(int(left)) - 1;
    const Pair pair = pair_of(which);
    const int64_t mine = shared_by_lane(pair.a, pair.b, slice, lane);
    if (mine > 0) sums.add(which, mine);
  }
  __syncwarp();
  return sums[lane];
}

}  // namespace
}  // namespace pyifcn
