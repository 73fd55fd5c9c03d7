// Boxes by falling score are cut into tiles of 256. First, for all tiles at once, each box is compared with
// those after it in its tile: 256 bits a box. Then, tile after tile, every block of threads finds out for
// itself which of the tile's boxes stand (a walk through those bits) and drops the boxes of one later tile
// that overlap one of them. Memory is linear in N; a launch for each tile takes the place of a barrier
// between blocks. What limits it is arithmetic, N^2 / 2 comparisons where nothing is suppressed, and for a
// small N the launches.
#include "core/cuda.cuh"
#include "core/simd_scalar.h"
#include "nms/iou.h"
#include "nms/nms_cuda.h"

namespace pyifcn {
namespace {

template <class E>
using Box = Boxes<Scalar<E>>;

template <class E>
__device__ Box<E> box_at(const NmsCudaJob<E>& job, int64_t row) {
  using S = Scalar<E>;
  const E* b = job.boxes.data + 4 * row;
  const S x1{b[0]}, y1{b[1]}, x2{b[2]}, y2{b[3]};
  return {x1, y1, x2, y2, (x2 - x1) * (y2 - y1)};
}

template <class E>
__device__ int64_t group_at(const NmsCudaJob<E>& job, int64_t row) {
  return job.groups.data ? job.groups.data[row] : 0;
}

// A tile's boxes, or some of them.
template <class E>
struct Tile {
  Box<E> boxes[kNmsTile];
  int64_t groups[kNmsTile];
};

template <class E>
__device__ bool suppresses(const Tile<E>& tile, int kept, const Box<E>& other, int64_t group, E threshold) {
  return tile.groups[kept] == group && iou(tile.boxes[kept], other, Scalar<E>{0}).v > threshold;
}

__device__ int boxes_in_tile(int64_t count, int64_t tile) {
  const int64_t left = count - tile * kNmsTile;
  return left < kNmsTile ? int(left) : kNmsTile;
}

// The row of a box in `boxes`, `groups` and `gone`, by its rank in its image.
template <class E>
__device__ int64_t row_of(const NmsCudaJob<E>& job, int64_t image, int64_t rank) {
  const int64_t first = image * job.boxes.shape[1];
  return first + job.order.data[first + rank];
}

template <class E>
__global__ void __launch_bounds__(kNmsTile) overlaps_kernel(const NmsCudaJob<E> job) {
  __shared__ Tile<E> tile;
  const int64_t count = job.boxes.shape[1], image = blockIdx.y;
  const int size = boxes_in_tile(count, blockIdx.x), me = int(threadIdx.x);
  const int64_t rank = int64_t(blockIdx.x) * kNmsTile + me;
  if (me < size) {
    const int64_t row = row_of(job, image, rank);
    tile.boxes[me] = box_at(job, row);
    tile.groups[me] = group_at(job, row);
  }
  __syncthreads();
  if (me >= size) return;
  for (int word = 0; word < kNmsTileWords; ++word) {
    uint64_t bits = 0;
    const int begin = ::max(64 * word, me + 1), end = ::min(64 * word + 64, size);
    for (int other = begin; other < end; ++other)
      if (suppresses(tile, me, tile.boxes[other], tile.groups[other], job.threshold))
        bits |= uint64_t(1) << (other - 64 * word);
    job.overlaps.data[(image * count + rank) * kNmsTileWords + word] = bits;
  }
}

struct TileBits {
  uint64_t words[kNmsTileWords];
};

// Which of a tile's boxes stand, given those that are gone already: each that stands takes others with it.
__device__ TileBits standing_in_tile(const TileBits* overlaps, TileBits gone, int size) {
#pragma unroll
  for (int word = 0; word < kNmsTileWords; ++word) {
    const int end = ::min(64, size - 64 * word);
    for (int bit = 0; bit < end; ++bit) {
      if (gone.words[word] >> bit & 1) continue;
#pragma unroll
      for (int other = 0; other < kNmsTileWords; ++other)
        gone.words[other] |= overlaps[64 * word + bit].words[other];
    }
  }
  for (uint64_t& word : gone.words) word = ~word;
  return gone;
}

// Block 0 writes what is kept of tile `step`; block k drops boxes of tile step + k.
template <class E>
__global__ void __launch_bounds__(kNmsTile) suppress_kernel(const NmsCudaJob<E> job, int64_t step) {
  __shared__ Tile<E> standing;
  __shared__ TileBits overlaps[kNmsTile], stands;
  __shared__ unsigned gone[kNmsTile / kWarp];
  const int64_t count = job.boxes.shape[1], image = blockIdx.y, most = job.keep.shape[1];
  int64_t* kept = job.counts.data + image * job.counts.shape[1] + step;
  if (*kept >= most) {
    if (blockIdx.x == 0 && threadIdx.x == 0) kept[1] = *kept;
    return;
  }
  const int size = boxes_in_tile(count, step), me = int(threadIdx.x), lane = me % kWarp;
  const int64_t my_rank = step * kNmsTile + me, my_row = me < size ? row_of(job, image, my_rank) : 0;
  const unsigned votes = __ballot_sync(kAllLanes, me >= size || job.gone.data[my_row]);
  if (lane == 0) gone[me / kWarp] = votes;
  if (me < size)
    for (int word = 0; word < kNmsTileWords; ++word)
      overlaps[me].words[word] = job.overlaps.data[(image * count + my_rank) * kNmsTileWords + word];
  __syncthreads();
  if (me == 0) {
    TileBits before;
    for (int word = 0; word < kNmsTileWords; ++word)
      before.words[word] = gone[2 * word] | uint64_t(gone[2 * word + 1]) << 32;
    stands = standing_in_tile(overlaps, before, size);
  }
  __syncthreads();

  int before_me = 0, total = 0;  // standing
  for (int word = 0; word < kNmsTileWords; ++word) {
    const int bit = me - 64 * word;
    const uint64_t below = bit >= 64 ? ~uint64_t(0) : bit <= 0 ? 0 : (uint64_t(1) << bit) - 1;
    before_me += __popcll(stands.words[word] & below);
    total += __popcll(stands.words[word]);
  }
  const bool i_stand = stands.words[me / 64] >> (me % 64) & 1;
  if (blockIdx.x == 0) {
    const int64_t place = *kept + before_me;
    if (i_stand && place < most) job.keep.data[image * most + place] = my_row - image * count;
    if (me == 0) kept[1] = *kept + total;
    return;
  }
  if (i_stand) {
    standing.boxes[before_me] = box_at(job, my_row);
    standing.groups[before_me] = group_at(job, my_row);
  }
  __syncthreads();
  const int64_t rank = my_rank + int64_t(blockIdx.x) * kNmsTile;
  if (rank >= count) return;
  const int64_t row = row_of(job, image, rank);
  if (job.gone.data[row]) return;
  const Box<E> box = box_at(job, row);
  const int64_t group = group_at(job, row);
  for (int i = 0; i < total; ++i)
    if (suppresses(standing, i, box, group, job.threshold)) {
      job.gone.data[row] = true;
      return;
    }
}

}  // namespace

template <class E>
void nms_cuda(const NmsCudaJob<E>& job, const Stream& stream) {
  const OnDevice guard(stream.device);
  const int64_t images = job.boxes.shape[0];
  const int64_t tiles = ceil_div<int64_t>(job.boxes.shape[1], kNmsTile);
  launch(overlaps_kernel<E>, {tiles, kNmsTile, images}, stream, job);
  for (int64_t step = 0; step < tiles; ++step)
    launch(suppress_kernel<E>, {tiles - step, kNmsTile, images}, stream, job, step);
}

template void nms_cuda(const NmsCudaJob<float>&, const Stream&);
template void nms_cuda(const NmsCudaJob<double>&, const Stream&);

}  // namespace pyifcn
