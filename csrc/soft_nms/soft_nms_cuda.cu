// The boxes of a category are one block's of threads. They lie in cells of 32, in an order that keeps alike
// ones together; a warp has every so many cells, and its lanes the cells' bounds and best scores. To keep a
// box, the warps find the best of all, one barrier; lanes look which bounds it meets; and the warp goes
// through the boxes of these cells, a lane for each. So a kept box costs a few cells and the bounds of all,
// N / 32. What limits it is latency: some thousand cycles from one kept box to the next, one after the other
// in a category. Categories run side by side.
#include "soft_nms/soft_nms_cuda.h"

#include "core/cuda.cuh"
#include "core/exp.h"
#include "nms/box.h"
#include "nms/falling.h"
#include "nms/iou.h"

namespace pyifcn {
namespace {

constexpr int kMostThreads = 1024, kMostWarps = kMostThreads / kWarp;
constexpr int kThreadsOfCategory = 256;  // where there may be many categories
constexpr int64_t kMostBlocks = 4096;    // they share more categories
static_assert(kSoftCell == kWarp);

template <class E>
__device__ E infinity() {
  return E(__builtin_huge_val());
}
template <class E>
__device__ E none() {
  return infinity<E>() - infinity<E>();
}

// A score that rises as a key, 0 for none, and the box that has it.
template <class E>
struct Best {
  ScoreKey<E> key;
  unsigned index;

  __device__ static Best of(E score, unsigned index) {
    return {score == score ? ScoreKey<E>(~falling(score)) : ScoreKey<E>(0), index};
  }
  __device__ bool operator<(const Best& other) const {
    return key < other.key || (key == other.key && index > other.index);
  }
};

__device__ inline uint32_t largest_key(uint32_t key) { return largest_in_warp(key); }
__device__ inline uint64_t largest_key(uint64_t key) {
  const unsigned high = largest_in_warp(unsigned(key >> 32));
  return uint64_t(high) << 32 | largest_in_warp(key >> 32 == high ? unsigned(key) : 0);
}

template <class E>
__device__ Best<E> best_in_warp(const Best<E>& mine) {
  const auto key = largest_key(mine.key);
  return {key, ~largest_in_warp(mine.key == key ? ~mine.index : 0)};
}

template <class E>
__device__ Boxes<Scalar<E>> with_area(const E* box) {
  const Scalar<E> x1{box[0]}, y1{box[1]}, x2{box[2]}, y2{box[3]};
  return {x1, y1, x2, y2, (x2 - x1) * (y2 - y1)};
}

// How much of its score a box retains, by its IoU with the kept one.
template <class E>
__device__ E weight(const SoftNmsRuleIn<E>& rule, Scalar<E> overlap) {
  if (!rule.gaussian) return overlap.v >= rule.threshold ? 1 - overlap.v : 1;
  return overlap.v > 0 ? exp(Scalar<E>{0} - overlap * overlap / Scalar<E>{rule.sigma}).v : 1;
}

// A category's boxes as its block sees them.
template <class E>
struct Category {
  const SoftNmsCudaJob<E>& job;
  int64_t begin, end;    // places
  int64_t cells, first;  // how many, and where they lie in the workspace
  int warp, warps, lane;

  __device__ Category(const SoftNmsCudaJob<E>& job_, int64_t c)
      : job(job_),
        begin(job.starts.data[c]),
        end(job.starts.data[c + 1]),
        cells(ceil_div<int64_t>(end - begin, kWarp)),
        first(begin / kWarp + c),
        warp(int(threadIdx.x) / kWarp),
        warps(int(blockDim.x) / kWarp),
        lane(int(threadIdx.x) % kWarp) {}

  // Neighbouring cells, which are met together, are different warps'.
  __device__ int64_t cell_at(int64_t n) const { return warp + warps * n; }

  __device__ void store_best(int64_t cell, const Best<E>& best) const {
    job.best[first + cell] = best.key;
    job.best_index[first + cell] = best.index;
    if (best.key == 0) job.bounds[4 * (first + cell)] = infinity<E>();  // nothing meets these
  }

  __device__ void fill(int64_t cell) const {
    Box<E> bounds{infinity<E>(), infinity<E>(), -infinity<E>(), -infinity<E>()};
    Best<E> best{0, 0};
    const int64_t cell_end = ::min(end, begin + kWarp * (cell + 1));
    for (int64_t place = begin + kWarp * cell; place < cell_end; ++place) {
      const int64_t index = job.places.data[place];
      const E *b = job.boxes.data + 4 * index, score = job.scores.data[index];
      const Box<E> box{b[0], b[1], b[2], b[3]};
      for (int i = 0; i < 4; ++i) job.placed[4 * place + i] = b[i];
      const bool there = score >= job.rule.min_score, meets_any = can_overlap(box);
      job.left[place] = there && meets_any ? score : none<E>();
      if (there && !meets_any) job.kept[index] = score;
      if (!there || !meets_any) continue;
      bounds.x1 = ::min(bounds.x1, box.x1), bounds.y1 = ::min(bounds.y1, box.y1);
      bounds.x2 = ::max(bounds.x2, box.x2), bounds.y2 = ::max(bounds.y2, box.y2);
      const Best<E> mine = Best<E>::of(score, unsigned(index));
      if (best < mine) best = mine;
    }
    E* out = job.bounds + 4 * (first + cell);
    out[0] = bounds.x1, out[1] = bounds.y1, out[2] = bounds.x2, out[3] = bounds.y2;
    store_best(cell, best);
  }

  // The best of all; all threads call it. `bests` is free again after the next barrier.
  __device__ Best<E> best_of_all(Best<E>* bests) const {
    Best<E> mine{0, 0};
    for (int64_t cell = cell_at(lane); cell < cells; cell += int64_t(warps) * kWarp) {
      const Best<E> best{job.best[first + cell], unsigned(job.best_index[first + cell])};
      if (mine < best) mine = best;
    }
    mine = best_in_warp(mine);
    if (lane == 0) bests[warp] = mine;
    __syncthreads();
    return best_in_warp(lane < warps ? bests[lane] : Best<E>{0, 0});
  }

  __device__ bool is_met(int64_t cell, const Boxes<Scalar<E>>& box) const {
    if (cell >= cells) return false;
    const E* bounds = job.bounds + 4 * (first + cell);
    return ::max(bounds[0], box.x1.v) < ::min(bounds[2], box.x2.v) &&
           ::max(bounds[1], box.y1.v) < ::min(bounds[3], box.y2.v);
  }

  // Takes box `index` out of a cell and lowers the scores of the others; `holder` is the lane that knows it.
  __device__ void decay(int64_t cell, int holder, const Boxes<Scalar<E>>& kept, unsigned index) const {
    const int64_t place = begin + kWarp * cell + lane;
    E score = none<E>();
    unsigned my_index = 0;
    if (place < end && job.left[place] == job.left[place]) {
      const E before = job.left[place];
      my_index = unsigned(job.places.data[place]);
      const E after = before * weight(job.rule, iou(kept, with_area(job.placed + 4 * place), Scalar<E>{0}));
      if (my_index == index)
        job.kept[index] = before;
      else if (after >= job.rule.min_score)
        score = after;
      job.left[place] = score;
    }
    const Best<E> best = best_in_warp(Best<E>::of(score, my_index));
    if (lane == holder) store_best(cell, best);
  }
};

template <class E>
__global__ void __launch_bounds__(kMostThreads) soft_nms_kernel(const SoftNmsCudaJob<E> job) {
  __shared__ Best<E> bests[2][kMostWarps];
  const int64_t count = job.boxes.shape[0], most = job.starts.shape[0] - 1;
  int turn = 0;
  for (int64_t c = blockIdx.x; c < most && job.starts.data[c] < count; c += gridDim.x) {
    const Category<E> category(job, c);
    for (int64_t cell = category.cell_at(category.lane); cell < category.cells;
         cell += int64_t(category.warps) * kWarp)
      category.fill(cell);
    __syncwarp();
    for (;; turn ^= 1) {
      const Best<E> best = category.best_of_all(bests[turn]);
      if (best.key == 0) break;
      const Boxes<Scalar<E>> kept = with_area(job.boxes.data + 4 * int64_t(best.index));
      for (int64_t n = 0; category.cell_at(n) < category.cells; n += kWarp)
        for (unsigned met =
                 __ballot_sync(kAllLanes, category.is_met(category.cell_at(n + category.lane), kept));
             met; met &= met - 1) {
          const int holder = __ffs(int(met)) - 1;
          category.decay(category.cell_at(n + holder), holder, kept, best.index);
        }
    }
    turn ^= 1;
  }
}

// The 27 highest bits of a float's key, with a zero between each two.
__device__ inline uint64_t spread(float value) {
  uint64_t bits = ~falling(value) >> 5;
  bits = (bits | bits << 16) & 0x0000ffff0000ffff;
  bits = (bits | bits << 8) & 0x00ff00ff00ff00ff;
  bits = (bits | bits << 4) & 0x0f0f0f0f0f0f0f0f;
  bits = (bits | bits << 2) & 0x3333333333333333;
  return (bits | bits << 1) & 0x5555555555555555;
}

// The size to a power of two, then along a curve through the centres: large boxes between small ones would
// make all cells large.
template <class E>
__device__ int64_t curve_key(const Box<E>& b) {
  const float side = float(::max(b.x2 - b.x1, b.y2 - b.y1));
  uint32_t exponent;
  __builtin_memcpy(&exponent, &side, 4);
  return int64_t(uint64_t(exponent >> 23) << 54 | spread(float(b.x1 / 2 + b.x2 / 2)) |
                 spread(float(b.y1 / 2 + b.y2 / 2)) << 1);
}

constexpr int kKeyThreads = 256;

template <class E>
__global__ void __launch_bounds__(kKeyThreads)
    curve_keys_kernel(const View<const E, 2> boxes, const E* scores, E min_score, int64_t* keys) {
  const int64_t i = int64_t(blockIdx.x) * kKeyThreads + threadIdx.x;
  if (i >= boxes.shape[0]) return;
  const E* b = boxes.data + 4 * i;
  const Box<E> box{b[0], b[1], b[2], b[3]};
  keys[i] = scores[i] >= min_score && can_overlap(box) ? curve_key(box) : INT64_MAX;
}

}  // namespace

template <class E>
void soft_nms_cuda(const SoftNmsCudaJob<E>& job, const Stream& stream) {
  const OnDevice guard(stream.device);
  const int64_t count = job.boxes.shape[0], cells = ceil_div<int64_t>(count, kSoftCell);
  const int64_t categories = job.starts.shape[0] - 1;
  const int most_threads = categories == 1 ? kMostThreads : kThreadsOfCategory;
  const int threads = cells < most_threads / kWarp ? int(cells) * kWarp : most_threads;
  launch(soft_nms_kernel<E>, {std::min(categories, kMostBlocks), threads}, stream, job);
}

template <class E>
void curve_keys_cuda(const View<const E, 2>& boxes, const E* scores, E min_score, int64_t* keys,
                     const Stream& stream) {
  const OnDevice guard(stream.device);
  launch(curve_keys_kernel<E>, {ceil_div<int64_t>(boxes.shape[0], kKeyThreads), kKeyThreads}, stream, boxes,
         scores, min_score, keys);
}

template void soft_nms_cuda(const SoftNmsCudaJob<float>&, const Stream&);
template void soft_nms_cuda(const SoftNmsCudaJob<double>&, const Stream&);
template void curve_keys_cuda(const View<const float, 2>&, const float*, float, int64_t*, const Stream&);
template void curve_keys_cuda(const View<const double, 2>&, const double*, double, int64_t*, const Stream&);

}  // namespace pyifcn
