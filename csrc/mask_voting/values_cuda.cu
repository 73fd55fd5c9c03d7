// A thread has a column of pixels in a tile of 64 x 64 and its sums in registers; voter after voter adds to
// them. What the threads of a tile have in common, the voters' boxes and where its rows lie in their masks,
// is found once, for some voters at a time. What limits it is arithmetic, about ten operations for each pixel
// and voter.
#include "mask_voting/ballots_cuda.cuh"
#include "mask_voting/values_cuda.cuh"

namespace pyifcn {
namespace {

constexpr int kTile = 64, kThreads = 256, kRows = kTile * kTile / kThreads;  // of a thread
constexpr int kAtOnce = 16;                                                  // voters

constexpr Tap kNoTap{-1, -1, 0, 0};  // of a row that the voter does not reach

// Adds a voter's values in a column of kRows pixels.
__device__ void add(const ValueVoter& voter, const Tap& column, const Tap* rows, float (&sums)[kRows]) {
  Mixture mixture{};  // of no rows yet
  int32_t at = kNoTap.low;
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    const Tap row = rows[r];
    if (row.low == kNoTap.low) continue;
    if (row.low != at) mixture = voter.mixture(column, row), at = row.low;
    sums[r] += voter.share * mixture.at(row);
  }
}

__global__ void __launch_bounds__(kThreads) add_values_kernel(const MergeJob job, int64_t blocks) {
  __shared__ ValueVoter some[kAtOnce];
  __shared__ Tap rows[kAtOnce][kTile];
  __shared__ CudaRegion tight;
  Election& election = job.tally.elections.data[blockIdx.x / blocks];
  if (election.count == 0 || election.region.empty()) return;
  const CudaRegion region = election.region;
  const int64_t across = region.across(), tiles = across * ceil_div<int64_t>(region.rows(), kTile);
  const float threshold = job.in.options.foreground();
  const Voter* voters = job.voters.data + election.first;
  const int me = int(threadIdx.x);
  if (me == 0) tight = {INT32_MAX, INT32_MAX, 0, 0};
  for (int64_t tile = blockIdx.x % blocks; tile < tiles; tile += blocks) {
    const int64_t x = 64 * (region.x1 / 64 + tile % across) + me % kTile;
    const int64_t top = region.y1 + tile / across * kTile;
    const int first = me / kTile * kRows;  // of my rows
    float sums[kRows] = {};
    for (int64_t begin = 0; begin < election.count; begin += kAtOnce) {
      const int size = int(min(election.count - begin, int64_t(kAtOnce)));
      __syncthreads();
      if (me < size) some[me] = ValueVoter(job.in, voters[begin + me]);
      __syncthreads();
      for (int i = me; i < size * kTile; i += kThreads) {
        const ValueVoter& voter = some[i / kTile];
        const int64_t y = top + i % kTile;
        rows[i / kTile][i % kTile] = voter.has_row(y) ? voter.y_tap(y) : kNoTap;
      }
      __syncthreads();
      for (int v = 0; v < size; ++v)
        if (some[v].has_column(x)) add(some[v], some[v].x_tap(x), rows[v] + first, sums);
    }
    if (x < region.x1 || x >= region.x2) continue;
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      if (!(sums[r] > threshold)) continue;
      const int32_t y = int32_t(top + first + r);
      atomicMin(&tight.x1, int32_t(x)), atomicMin(&tight.y1, y);
      atomicMax(&tight.x2, int32_t(x + 1)), atomicMax(&tight.y2, y + 1);
    }
  }
  __syncthreads();
  if (me > 0 || tight.empty()) return;
  atomicMin(&election.tight.x1, tight.x1), atomicMin(&election.tight.y1, tight.y1);
  atomicMax(&election.tight.x2, tight.x2), atomicMax(&election.tight.y2, tight.y2);
}

}  // namespace

void add_values_cuda(const MergeJob& job, const Stream& stream) {
  const int64_t blocks = blocks_for_each(job.found, ceil_div<int64_t>(job.tally.largest, kTile));
  launch(add_values_kernel, {job.found * blocks, kThreads}, stream, job, blocks);
}

}  // namespace pyifcn
