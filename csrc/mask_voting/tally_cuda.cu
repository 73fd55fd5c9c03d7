// A block counts a tile of some rows of a region, each row cut into stretches of 32 pixels. As on the CPU
// each mask adds its weight where a run of its pixels begins and takes it back where the run ends: two
// additions in shared memory for a run, however long. Then a thread sums the steps of one stretch, adds what
// the stretches to its left come to, and has 32 bits of the merged mask. What limits it is reading the
// masks' words, and waiting for them.
#include "core/cuda.cuh"
#include "mask_voting/ballots_cuda.cuh"
#include "masks/build_cuda.cuh"

namespace pyifcn {
namespace {

constexpr int kThreads = 256;
constexpr int kStretch = 32, kPitch = kStretch + 1;  // no two threads of a warp in one bank
constexpr int kMostStretches = 64;                   // of a row in a tile

// Adds the runs of a mask's row to steps of the stretches of words [first, end).
__device__ void add_runs(const CudaMask& mask, int64_t y, int64_t first, int64_t end, uint32_t weight,
                         uint32_t* steps) {
  if (y < mask.y1 || y >= mask.y2) return;
  const int64_t left = mask.x1 / 64, across = mask.across();
  const uint64_t* row = mask.words + (y - mask.y1) * across;
  const auto add = [&](int64_t bit, uint32_t step) {
    atomicAdd(steps + bit / kStretch * kPitch + bit % kStretch, step);
  };
  const int64_t stop = min(end, left + across);
  uint64_t before = 0;
  for (int64_t k = max(first, left); k < stop; ++k) {
    const uint64_t word = row[k - left];
    for (uint64_t edges = word ^ (word << 1 | before); edges != 0; edges &= edges - 1) {
      const int bit = __ffsll(int64_t(edges)) - 1;
      add(64 * (k - first) + bit, word >> bit & 1 ? weight : 0 - weight);
    }
    before = word >> 63;
  }
  if (before != 0 && stop < end) add(64 * (stop - first), 0 - weight);
}

__global__ void __launch_bounds__(kThreads, 4) tally_kernel(const TallyJob job, int64_t blocks) {
  __shared__ uint32_t steps[kThreads * kPitch], sums[kThreads];
  __shared__ CudaRegion tight;
  Election& election = job.elections.data[blockIdx.x / blocks];
  if (election.count == 0 || election.region.empty()) return;
  const CudaRegion region = election.region;
  const int64_t left = region.x1 / 64, all = 2 * region.across();  // stretches in a row
  const int across = int(min(all, int64_t(kMostStretches))), rows = kThreads / across;
  const int64_t columns = ceil_div<int64_t>(all, across);
  const int64_t tiles = columns * ceil_div<int64_t>(region.rows(), rows);
  const int me = int(threadIdx.x), my_row = me / across, my_stretch = me % across;
  // For the runs a thread has a row and every so many masks of it.
  const int run_row = me % rows, run_voter = me / rows, voters_at_once = kThreads / rows;
  if (me == 0) tight = {INT32_MAX, INT32_MAX, 0, 0};
  for (int64_t tile = blockIdx.x % blocks; tile < tiles; tile += blocks) {
    const int64_t first = tile % columns * across, top = region.y1 + tile / columns * rows;
    __syncthreads();
    for (int i = me; i < kThreads * kPitch; i += kThreads) steps[i] = 0;
    __syncthreads();
    for (int64_t v = run_voter; v < election.count && run_voter < voters_at_once; v += voters_at_once) {
      const Voter voter = job.voters.data[election.first + v];
      const int64_t word = left + first / 2;
      add_runs(job.masks[voter.mask], top + run_row, word, word + across / 2, voter.weight,
               steps + run_row * across * kPitch);
    }
    __syncthreads();
    const uint32_t* mine = steps + me * kPitch;
    uint32_t sum = 0;
    for (int i = 0; i < kStretch; ++i) sum += mine[i];
    sums[me] = sum;
    __syncthreads();
    const int64_t y = top + my_row, stretch = first + my_stretch;
    if (my_row >= rows || y >= region.y2 || stretch >= all) continue;
    sum = 0;
    for (int i = me - my_stretch; i < me; ++i) sum += sums[i];
    uint32_t reached = 0;
    for (int i = 0; i < kStretch; ++i) {
      sum += mine[i];
      reached |= uint32_t(sum >= election.threshold) << i;
    }
    if (job.regions.shape[0] > 0)
      reinterpret_cast<uint32_t*>(job.regions.data + election.words)[(y - region.y1) * all + stretch] =
          reached;
    if (reached == 0) continue;
    const int32_t x = int32_t(64 * left + kStretch * stretch);
    atomicMin(&tight.x1, x + __ffs(int(reached)) - 1), atomicMin(&tight.y1, int32_t(y));
    atomicMax(&tight.x2, x + 64 - __clzll(int64_t(reached))), atomicMax(&tight.y2, int32_t(y + 1));
  }
  __syncthreads();
  if (me > 0 || tight.empty()) return;
  atomicMin(&election.tight.x1, tight.x1), atomicMin(&election.tight.y1, tight.y1);
  atomicMax(&election.tight.x2, tight.x2), atomicMax(&election.tight.y2, tight.y2);
}

struct MergedSource {
  MergedMasksJob job;

  __device__ CudaExtent extent(int64_t i) const {
    const int32_t place = job.places.data[i];
    if (place < 0) return {0, 0, 0, 0, true};
    const CudaRegion box = job.elections.data[place].tight;
    return {box.x1, box.y1, box.x2, box.y2, true};
  }
  __device__ uint64_t word(int64_t i, int64_t y, int64_t k) const {
    const Election& election = job.elections.data[job.places.data[i]];
    const CudaRegion& region = election.region;
    return job.regions.data[election.words + (y - region.y1) * region.across() + k - region.x1 / 64];
  }
};

}  // namespace

void tally_cuda(const TallyJob& job, const Stream& stream) {
  const OnDevice guard(stream.device);
  const int64_t blocks = blocks_for_each(job.count, ceil_div<int64_t>(2 * job.largest, kThreads));
  launch(tally_kernel, {job.count * blocks, kThreads}, stream, job, blocks);
}

void box_merged_cuda(const MergedMasksJob& job, const View<int32_t, 2>& boxes,
                     const View<int64_t, 1>& offsets, const Stream& stream) {
  const OnDevice guard(stream.device);
  box_masks(MergedSource{job}, job.largest, boxes, offsets, stream);
}

void fill_merged_cuda(const MergedMasksJob& job, const View<const int32_t, 2>& boxes,
                      const View<const int64_t, 1>& offsets, const View<uint64_t, 1>& words,
                      const Stream& stream) {
  const OnDevice guard(stream.device);
  fill_masks(MergedSource{job}, job.largest, boxes, offsets, words, stream);
}

}  // namespace pyifcn
