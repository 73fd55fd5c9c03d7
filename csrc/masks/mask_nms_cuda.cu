// Masks by falling score are cut into tiles of 256. First, for all tiles at once, each mask is compared with
// those after it in its tile: 256 bits a mask. Then, tile after tile, one block walks through those bits to
// find out which masks are kept, and a warp for each mask of the later tiles that still stands looks for the
// first of those that suppresses it. Boxes and areas settle most pairs; for the others the warp counts.
// Memory is linear in N; two launches for each tile take the place of barriers between blocks. What limits it
// is, of many masks that hardly meet, N^2 / 2 tests of boxes; of a crowd, popcount; of few, the launches.
#include "core/cuda.cuh"
#include "masks/overlap_cuda.h"
#include "masks/shared_cuda.cuh"

namespace pyifcn {
namespace {

constexpr int kWarps = kMaskTile / kWarp;

struct Candidate {
  CudaMask mask;
  int64_t index, area, category;
};

__device__ Candidate candidate_at(const MaskNmsJob& job, int64_t i) {
  return {job.masks[i], i, job.areas.data[i], job.idxs.data ? job.idxs.data[i] : 0};
}

// Whether boxes and areas leave it open that one of them suppresses the other.
__device__ bool may_suppress(const MaskNmsJob& job, const Candidate& a, const Candidate& b) {
  if (a.category != b.category) return false;
  const int64_t most = min(meeting_of(a.mask, b.mask).area(), min(a.area, b.area));
  return most > 0 && iou_of(a.area, b.area, most) > job.threshold;
}

__global__ void __launch_bounds__(kMaskTile) overlaps_kernel(const MaskNmsJob job) {
  __shared__ WarpSums sums[kWarps];
  const int part = int(threadIdx.x) / kWarp, lane = int(threadIdx.x) % kWarp;
  const int64_t rank = blockIdx.x, first = rank / kMaskTile * kMaskTile + part * kWarp, other = first + lane;
  const Candidate mine = candidate_at(job, job.order.data[rank]);
  Candidate yours{};
  bool open = false;
  if (other > rank && other < job.masks.count()) {
    yours = candidate_at(job, job.order.data[other]);
    open = may_suppress(job, mine, yours);
  }
  const auto pair_of = [&](int which) { return Pair{mine.mask, job.masks[job.order.data[first + which]]}; };
  const int64_t shared = count_shared(open, sums[part], pair_of);
  const unsigned bits =
      __ballot_sync(kAllLanes, open && iou_of(mine.area, yours.area, shared) > job.threshold);
  if (lane == 0) job.overlaps.data[rank * kMaskTileParts + part] = int32_t(bits);
}

struct TileBits {
  unsigned parts[kMaskTileParts];

  __device__ bool operator[](int i) const { return parts[i / 32] >> (i % 32) & 1; }
};

// Which of a tile's masks are kept, given those that are gone: each that is kept takes others with it.
__device__ TileBits kept_in_tile(const TileBits* overlaps, TileBits gone) {
#pragma unroll
  for (int part = 0; part < kMaskTileParts; ++part)
    for (unsigned left = ~gone.parts[part]; left != 0;) {
      const int bit = __ffs(int(left)) - 1;
#pragma unroll
      for (int other = 0; other < kMaskTileParts; ++other)
        gone.parts[other] |= overlaps[32 * part + bit].parts[other];
      left = bit == 31 ? 0 : ~gone.parts[part] & ~0u << (bit + 1);
    }
  for (unsigned& part : gone.parts) part = ~part;
  return gone;
}

// One block writes what is kept of a tile, and what suppresses the others of it.
__global__ void __launch_bounds__(kMaskTile) keep_kernel(const MaskNmsJob job, int64_t tile) {
  __shared__ TileBits overlaps[kMaskTile], gone, kept;
  __shared__ int votes[kWarps];
  const int me = int(threadIdx.x);
  const int64_t first = tile * kMaskTile, rank = first + me;
  const bool exists = rank < job.masks.count();
  const int64_t mask = exists ? job.order.data[rank] : 0;
  const bool am_gone = !exists || job.groups.data[mask] >= 0;
  const unsigned gone_here = __ballot_sync(kAllLanes, am_gone);
  if (me % kWarp == 0) gone.parts[me / kWarp] = gone_here;
  for (int part = 0; part < kMaskTileParts; ++part)
    overlaps[me].parts[part] = exists ? unsigned(job.overlaps.data[rank * kMaskTileParts + part]) : 0;
  __syncthreads();
  if (me == 0) kept = kept_in_tile(overlaps, gone);
  __syncthreads();
  const Rank place = rank_among(kept[me], votes);
  const int64_t before = job.counts.data[tile];
  if (me == 0) job.counts.data[tile + 1] = before + place.total;
  if (kept[me]) {
    job.keep.data[before + place.before] = mask;
    job.groups.data[mask] = mask;
  } else if (!am_gone) {
    int by = 0;
    while (!kept[by] || !overlaps[by][me]) ++by;
    job.groups.data[mask] = job.order.data[first + by];
  }
}

// Writes which of a tile's kept masks suppresses each mask of the later tiles; a warp takes `each` of those.
__global__ void __launch_bounds__(kMaskTile) drop_kernel(const MaskNmsJob job, int64_t tile, int64_t each) {
  __shared__ Candidate kept[kMaskTile];
  __shared__ WarpSums sums[kWarps];
  const int me = int(threadIdx.x), warp = me / kWarp, lane = me % kWarp;
  const int64_t before = job.counts.data[tile];
  const int total = int(job.counts.data[tile + 1] - before);
  if (me < total) kept[me] = candidate_at(job, job.keep.data[before + me]);
  __syncthreads();
  const int64_t begin = (tile + 1) * kMaskTile + (int64_t(blockIdx.x) * kWarps + warp) * each;
  const int64_t end = min(begin + each, job.masks.count());
  for (int64_t rank = begin; rank < end; ++rank) {
    const int64_t mask = job.order.data[rank];
    if (job.groups.data[mask] >= 0) continue;
    const Candidate mine = candidate_at(job, mask);
    unsigned found = 0;
    for (int first = 0; first < total && !found; first += kWarp) {
      const int other = first + lane;
      const bool open = other < total && may_suppress(job, kept[other], mine);
      const auto pair_of = [&](int which) { return Pair{kept[first + which].mask, mine.mask}; };
      const int64_t shared = count_shared(open, sums[warp], pair_of);
      found = __ballot_sync(kAllLanes, open && iou_of(kept[other].area, mine.area, shared) > job.threshold);
      if (found && lane == 0) job.groups.data[mask] = kept[first + __ffs(int(found)) - 1].index;
    }
  }
}

}  // namespace

void mask_nms_cuda(const MaskNmsJob& job, const Stream& stream) {
  const OnDevice guard(stream.device);
  constexpr int64_t kMostEach = 4, kEnoughWarps = 4096;
  const int64_t count = job.masks.count(), tiles = ceil_div<int64_t>(count, kMaskTile);
  launch(overlaps_kernel, {count, kMaskTile}, stream, job);
  for (int64_t tile = 0; tile < tiles; ++tile) {
    launch(keep_kernel, {1, kMaskTile}, stream, job, tile);
    const int64_t later = max(count - (tile + 1) * kMaskTile, int64_t(0));
    const int64_t each = max(int64_t(1), min(kMostEach, later / kEnoughWarps));
    launch(drop_kernel, {ceil_div(later, kWarps * each), kMaskTile}, stream, job, tile, each);
  }
}

}  // namespace pyifcn
