// A warp takes the pairs of 32 masks with 16. Where most of those meet, tensor cores count all 512 at once,
// AND and popcount of 256 bits a step, from the words of the rectangle in which they meet. Where few do, the
// warp takes one pair after the other, and only the words where the boxes of the two meet. So that few masks
// fill the GPU and the words that a block's warps share stay in the first-level cache, blocks are cut into
// slices, of rows or of pairs; integer atomics add them up, and a last pass divides. What limits it is
// reading words out of that cache where most pairs meet, popcount (16 a clock and multiprocessor) where few
// do, and of small masks the tests of boxes and the launches.
#include "core/cuda.cuh"
#include "masks/overlap_cuda.h"
#include "masks/shared_cuda.cuh"

namespace pyifcn {
namespace {

constexpr int kThreads = 256, kWarps = kThreads / kWarp;
constexpr int kTile = 64;              // masks on each side of a block's pairs
constexpr int kRows = 32, kCols = 16;  // of a warp's
constexpr int kRounds = kRows * kCols / kWarp;

// Those before multiply no bits, those after in many instructions.
#if defined(PYIFCN_CUDA_EMULATION) || (__CUDA_ARCH__ >= 800 && __CUDA_ARCH__ < 1000)
#define PYIFCN_BIT_PRODUCTS 1
#else
#define PYIFCN_BIT_PRODUCTS 0
#endif

// Adds what rows and columns of four words share to a 16 x 8 matrix. Lane 4 g + t gives word t of rows g and
// g + 8 and of column g, and holds columns 2 t and 2 t + 1 of rows g and g + 8. (PTX: mma.m16n8k256.)
__device__ void add_bit_products(int (&sums)[4], uint64_t row, uint64_t row8, uint64_t column) {
  [[maybe_unused]] const unsigned a[4] = {unsigned(row), unsigned(row8), unsigned(row >> 32),
                                          unsigned(row8 >> 32)};
  [[maybe_unused]] const unsigned b[2] = {unsigned(column), unsigned(column >> 32)};
#if defined(PYIFCN_CUDA_EMULATION)
  cuda_emulation::mma_m16n8k256_and_popc(sums, a, b);
#elif PYIFCN_BIT_PRODUCTS
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

  __device__ static Region none() { return {{INT32_MAX, INT32_MAX, 0, 0}, 0}; }
  __device__ void add(const Meeting& meeting) {
    constexpr int64_t kPair = 150, kWord = 20, kMost = 1 << 20;
    const int64_t words = meeting.across() * (meeting.y2 - meeting.y1);
    box.x1 = min(box.x1, meeting.x1), box.y1 = min(box.y1, meeting.y1);
    box.x2 = max(box.x2, meeting.x2), box.y2 = max(box.y2, meeting.y2);
    cost += unsigned(min(kMost, kPair + ceil_div<int64_t>(words, kWarp) * kWord));
  }
  // This is shared by lanes, each of which has found some.
  __device__ void join(const Region& other) {
    atomicMin(&box.x1, other.box.x1), atomicMin(&box.y1, other.box.y1);
    atomicMax(&box.x2, other.box.x2), atomicMax(&box.y2, other.box.y2);
    atomicAdd(&cost, other.cost);
  }
  // What it takes to count all of them at once.
  __device__ double cost_of_products() const {
    constexpr double kStart = 500, kStep = 110;
    return kStart + double(box.across()) * double(box.y2 - box.y1) / 4 * kStep;
  }
};

// The pair that falls to a lane in a round.
__device__ int64_t row_of(const Tile& tile, int round, int lane) {
  return tile.row + (round * kWarp + lane) / kCols;
}
__device__ int64_t col_of(const Tile& tile, int lane) { return tile.col + lane % kCols; }

// Bit n of `meets` tells whether the lane's pair of round n meets. Up to kRounds slices are of pairs.
__device__ void count_pairs(const MasksIouJob& job, const Tile& tile, unsigned meets, WarpSums& sums,
                            const Slice& slice) {
  const int lane = int(threadIdx.x) % kWarp;
  const int64_t parts = min(slice.count, int64_t(kRounds));
  const Slice rows{slice.index / parts, slice.count / parts};
  for (int round = int(slice.index % parts); round < kRounds; round += int(parts)) {
    const auto pair_of = [&](int which) {
      return Pair{job.mine[row_of(tile, round, which)], job.yours[col_of(tile, which)]};
    };
    const int64_t shared = count_shared(meets >> round & 1, sums, pair_of, rows);
    add_count(job, row_of(tile, round, lane), col_of(tile, lane), shared);
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
  const auto mine = [&](int n) { return Words(job.mine, tile.row + 8 * n + group); };
  const auto yours = [&](int n) { return Words(job.yours, tile.col + 8 * n + group); };
  const Words rows_of[kRows / 8] = {mine(0), mine(1), mine(2), mine(3)};
  const Words cols_of[kCols / 8] = {yours(0), yours(1)};
  const int64_t rows = box.y2 - box.y1;
  const unsigned begin = unsigned(slice.begin(rows)), end = unsigned(slice.end(rows));
  const int first = box.x1 / 64, across = int(box.across()), rows_on = 4 / across, words_on = 4 % across;
  unsigned y = begin + unsigned(place / across);
  int k = place % across;
  for (int64_t steps = ceil_div<int64_t>(int64_t(end - begin) * across, 4); steps > 0; steps -= kMostSteps) {
    int sums[kRows / 16][kCols / 8][4] = {};
    for (int64_t step = min(steps, kMostSteps); step > 0; --step) {
      const int here = y < end ? box.y1 + int(y) : -1;  // no mask has such a row
      uint64_t row_words[kRows / 8], col_words[kCols / 8];
      for (int n = 0; n < kRows / 8; ++n) row_words[n] = rows_of[n](here, first + k);
      for (int n = 0; n < kCols / 8; ++n) col_words[n] = cols_of[n](here, first + k);
      for (int r = 0; r < kRows / 16; ++r)
        for (int c = 0; c < kCols / 8; ++c)
          add_bit_products(sums[r][c], row_words[2 * r], row_words[2 * r + 1], col_words[c]);
      y += unsigned(rows_on), k += words_on;
      if (k >= across) ++y, k -= across;
    }
    for (int r = 0; r < kRows / 16; ++r)
      for (int c = 0; c < kCols / 8; ++c)
        for (int n = 0; n < 4; ++n)
          add_count(job, tile.row + 16 * r + 8 * (n / 2) + group, tile.col + 8 * c + 2 * place + n % 2,
                    sums[r][c][n]);
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

  unsigned meets = 0;
  Region my_region = Region::none();
  for (int round = 0; round < kRounds; ++round) {
    const int64_t i = row_of(tile, round, lane), j = col_of(tile, lane);
    if (!is_wanted(job, i, j)) continue;
    const Meeting meeting = meeting_of(job.mine[i], job.yours[j]);
    if (meeting.empty()) continue;
    meets |= 1u << round;
    my_region.add(meeting);
  }
  Region& region = regions[warp];
  if (lane == 0) region = Region::none();
  __syncwarp();
  if (meets) region.join(my_region);
  __syncwarp();
  if (region.cost == 0) return;
  // All slices of a tile decide alike.
  if (PYIFCN_BIT_PRODUCTS && region.cost_of_products() < region.cost)
    count_products(job, tile, region.box, slice);
  else
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

// How many slices fill the GPU and leave few words to each.
int64_t slices_of(const MasksIouJob& job, int64_t tiles) {
  constexpr int64_t kEnoughBlocks = 2048, kWords = 512, kMost = 1024;
  const auto mean_words = [](const CudaMasks& masks) { return masks.words.shape[0] / masks.count(); };
  const int64_t words = min(mean_words(job.mine), mean_words(job.yours));
  const int64_t fill = min(int64_t(kRounds), ceil_div(kEnoughBlocks, tiles));
  const int64_t slices = max(fill, min(kMost, words / kWords));
  return slices <= kRounds ? slices : ceil_div<int64_t>(slices, kRounds) * kRounds;
}

}  // namespace

void masks_iou_cuda(const MasksIouJob& job, const Stream& stream) {
  const int64_t rows = job.mine.count(), cols = job.yours.count();
  if (rows == 0 || cols == 0) return;
  const OnDevice guard(stream.device);
  const int64_t tiles = ceil_div<int64_t>(rows, kTile) * ceil_div<int64_t>(cols, kTile);
  launch(count_kernel, {tiles, kThreads, slices_of(job, tiles)}, stream, job);
  launch(divide_kernel, {ceil_div<int64_t>(rows * cols, kThreads), kThreads}, stream, job);
}

}  // namespace pyifcn
