// A warp takes the pairs of 16 masks with 8. Where most of those meet, tensor cores count all 128 at once, AND
// and popcount of 256 bits a step, from the words of the rectangle in which they meet. Where few do, the warp
// takes one pair after the other, and only the words where the boxes of the two meet. Masks of many words are
// cut into slices of rows, each counted by a block of its own, so that the words that its warps share stay in
// the first-level cache; integer atomics add the slices up, and a last pass divides. What limits it is
// reading words out of that cache where many pairs meet, popcount (16 a clock and multiprocessor) where few
// do, and for small masks the tests of boxes and the launches.
#include "core/cuda.cuh"
#include "masks/overlap_cuda.h"
#include "masks/shared_cuda.cuh"

namespace pyifcn {
namespace {

constexpr int kThreads = 256, kWarps = kThreads / kWarp;
constexpr int kTile = 32;            // masks on each side of a block's pairs
constexpr int kRows = 16, kCols = 8;  // of a warp's
constexpr int kPairsEach = kRows * kCols / kWarp;
constexpr int64_t kSliceWords = 512;

#if defined(PYIFCN_CUDA_EMULATION) || __CUDA_ARCH__ >= 800
constexpr bool kHasBitProducts = true;
#else
constexpr bool kHasBitProducts = false;
#endif

// Adds what rows and columns of four words share to a 16 x 8 matrix. Lane 4 g + t gives word t of rows g and
// g + 8 and of column g, and holds columns 2 t and 2 t + 1 of rows g and g + 8. (PTX: mma.m16n8k256.)
__device__ void add_bit_products(int (&sums)[4], uint64_t row, uint64_t row8, uint64_t column) {
  [[maybe_unused]] const unsigned a[4] = {unsigned(row), unsigned(row8), unsigned(row >> 32),
                                          unsigned(row8 >> 32)};
  [[maybe_unused]] const unsigned b[2] = {unsigned(column), unsigned(column >> 32)};
#if defined(PYIFCN_CUDA_EMULATION)
  cuda_emulation::mma_m16n8k256_and_popc(sums, a, b);
#elif __CUDA_ARCH__ >= 800
  asm volatile(
      "mma.sync.aligned.m16n8k256.row.col.s32.b1.b1.s32.and.popc "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+r"(sums[0]), "+r"(sums[1]), "+r"(sums[2]), "+r"(sums[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}

// The pairs of a warp: masks [row, row + kRows) with [col, col + kCols).
struct Tile {
  int64_t row, col;
};

__device__ bool is_wanted(const MasksIouJob& job, int64_t i, int64_t j) {
  return i < job.mine.count() && j < job.yours.count() && !(job.same && j < i);
}

__device__ void add_count(const MasksIouJob& job, int64_t i, int64_t j, int64_t shared) {
  if (shared == 0 || !is_wanted(job, i, j)) return;
  auto* counts = reinterpret_cast<unsigned long long*>(job.out.data);
  atomicAdd(counts + i * job.out.shape[1] + j, static_cast<unsigned long long>(shared));
}

// Where any of a warp's pairs meet, and about how many instructions it takes to count them one by one.
struct Region {
  Meeting box;
  unsigned cost;

  __device__ void clear() { box = {INT32_MAX, INT32_MAX, 0, 0}, cost = 0; }
  __device__ void add(const Meeting& meeting) {
    constexpr int64_t kPair = 150, kWord = 20, kMost = 1 << 20;
    const int64_t words = meeting.across() * (meeting.y2 - meeting.y1);
    atomicMin(&box.x1, meeting.x1), atomicMin(&box.y1, meeting.y1);
    atomicMax(&box.x2, meeting.x2), atomicMax(&box.y2, meeting.y2);
    atomicAdd(&cost, unsigned(min(kMost, kPair + ceil_div<int64_t>(words, kWarp) * kWord)));
  }
  // What it takes to count all of them at once.
  __device__ double cost_of_products() const {
    constexpr double kStart = 300, kStep = 60;
    return kStart + double(box.across()) * double(box.y2 - box.y1) / 4 * kStep;
  }
};

__device__ void count_pairs(const MasksIouJob& job, const Tile& tile, const bool (&meets)[kPairsEach],
                            WarpSums& sums, const Slice& slice) {
  const int lane = int(threadIdx.x) % kWarp;
  for (int n = 0; n < kPairsEach; ++n) {
    const auto row_of = [&](int which) { return tile.row + (n * kWarp + which) / kCols; };
    const auto col_of = [&](int which) { return tile.col + which % kCols; };
    const auto pair_of = [&](int which) {
      return Pair{job.mine[row_of(which)], job.yours[col_of(which)]};
    };
    const int64_t shared = count_shared(meets[n], sums, pair_of, slice);
    add_count(job, row_of(lane), col_of(lane), shared);
  }
}

// A mask's words, 0 outside its box and for masks that are not there.
class Words {
public:
  __device__ Words(const CudaMasks& masks, int64_t i) {
    if (i >= masks.count()) return;
    const CudaMask mask = masks[i];
    words_ = mask.words, top_ = mask.y1, first_ = mask.x1 / 64;
    rows_ = unsigned(mask.y2 - mask.y1), across_ = unsigned(mask.across());
  }
  __device__ uint64_t operator()(int y, int k) const {
    const unsigned row = unsigned(y - top_), column = unsigned(k - first_);
    return row < rows_ && column < across_ ? words_[uint64_t(row) * across_ + column] : 0;
  }

private:
  const uint64_t* words_ = nullptr;
  int top_ = 0, first_ = 0;
  unsigned rows_ = 0, across_ = 0;
};

__device__ void count_products(const MasksIouJob& job, const Tile& tile, const Meeting& box,
                               const Slice& slice) {
  constexpr int64_t kMostSteps = int64_t(1) << 22;  // of 256 pixels: less than 2^31
  const int lane = int(threadIdx.x) % kWarp, group = lane / 4, place = lane % 4;
  const Words row(job.mine, tile.row + group), row8(job.mine, tile.row + group + 8);
  const Words column(job.yours, tile.col + group);
  const int64_t rows = box.y2 - box.y1;
  const unsigned begin = unsigned(slice.begin(rows)), end = unsigned(slice.end(rows));
  const int first = box.x1 / 64, across = int(box.across()), rows_on = 4 / across, words_on = 4 % across;
  unsigned y = begin + unsigned(place / across);
  int k = place % across;
  for (int64_t steps = ceil_div<int64_t>(int64_t(end - begin) * across, 4); steps > 0; steps -= kMostSteps) {
    int sums[4] = {};
    for (int64_t step = min(steps, kMostSteps); step > 0; --step) {
      const int here = y < end ? box.y1 + int(y) : -1;  // no mask has such a row
      add_bit_products(sums, row(here, first + k), row8(here, first + k), column(here, first + k));
      y += unsigned(rows_on), k += words_on;
      if (k >= across) ++y, k -= across;
    }
    for (int n = 0; n < 4; ++n)
      add_count(job, tile.row + group + 8 * (n / 2), tile.col + 2 * place + n % 2, sums[n]);
  }
}

__global__ void __launch_bounds__(kThreads) count_kernel(const MasksIouJob job) {
  __shared__ WarpSums sums[kWarps];
  __shared__ Region regions[kWarps];
  const int warp = int(threadIdx.x) / kWarp, lane = int(threadIdx.x) % kWarp;
  const int64_t tiles = ceil_div<int64_t>(job.yours.count(), kTile), block = blockIdx.x;
  const int row_warp = warp % (kTile / kRows), col_warp = warp / (kTile / kRows);
  const Tile tile{block / tiles * kTile + row_warp * kRows, block % tiles * kTile + col_warp * kCols};
  const Slice slice{blockIdx.y, gridDim.y};
  if (job.same && tile.col + kCols <= tile.row) return;

  Region& region = regions[warp];
  if (lane == 0) region.clear();
  __syncwarp();
  bool meets[kPairsEach];
  for (int n = 0; n < kPairsEach; ++n) {
    const int64_t i = tile.row + (n * kWarp + lane) / kCols, j = tile.col + lane % kCols;
    meets[n] = false;
    if (!is_wanted(job, i, j)) continue;
    const Meeting meeting = meeting_of(job.mine[i], job.yours[j]);
    meets[n] = !meeting.empty();
    if (meets[n]) region.add(meeting);
  }
  __syncwarp();
  if (region.cost == 0) return;
  if (kHasBitProducts && region.cost_of_products() < region.cost)
    return count_products(job, tile, region.box, slice);
  count_pairs(job, tile, meets, sums[warp], slice);
}

__device__ uint64_t bits_of(double value) {
  uint64_t bits;
  __builtin_memcpy(&bits, &value, sizeof(bits));
  return bits;
}

// Turns counts into ratios.
__global__ void __launch_bounds__(kThreads) divide_kernel(const MasksIouJob job) {
  const int64_t place = int64_t(blockIdx.x) * kThreads + threadIdx.x, count = job.out.shape[1];
  if (place >= job.out.shape[0] * count) return;
  const int64_t i = place / count, j = place % count;
  if (job.same && j < i) return;
  const int64_t shared = int64_t(job.out.data[place]);
  if (shared == 0) return;
  const int64_t mine = job.my_areas.data[i], yours = job.your_areas.data[j];
  job.out.data[place] = bits_of(ratio_of(job.kind, mine, yours, shared));
  if (job.same) job.out.data[j * count + i] = bits_of(ratio_of(job.kind, yours, mine, shared));
}

int64_t mean_words(const CudaMasks& masks) { return masks.words.shape[0] / masks.count(); }

}  // namespace

void masks_iou_cuda(const MasksIouJob& job, const Stream& stream) {
  const int64_t rows = job.mine.count(), cols = job.yours.count();
  if (rows == 0 || cols == 0) return;
  const OnDevice guard(stream.device);
  const int64_t words = min(mean_words(job.mine), mean_words(job.yours));
  const int64_t slices = min(ceil_div(words + 1, kSliceWords), int64_t(1024));
  const int64_t tiles = ceil_div<int64_t>(rows, kTile) * ceil_div<int64_t>(cols, kTile);
  launch(count_kernel, {tiles, kThreads, slices}, stream, job);
  launch(divide_kernel, {ceil_div<int64_t>(rows * cols, kThreads), kThreads}, stream, job);
}

}  // namespace pyifcn
