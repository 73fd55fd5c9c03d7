// No box waits for what becomes of another. A block of threads holds 256 boxes, one each, and goes over the
// better ones of their categories, 256 at a time through shared memory; where there are few boxes, several
// blocks share these. A thread whose box is gone rests. Memory is linear in N. What limits it is arithmetic,
// N^2 / 2 comparisons at most.
#include "core/cuda.cuh"
#include "fast_nms/fast_nms_cuda.h"
#include "nms/box_rule.cuh"
#include "nms/candidates_cuda.cuh"

namespace pyifcn {
namespace {

constexpr int kThreads = 256;

// The first place of the category of the box at `place`.
template <class E>
__device__ int64_t first_of_category(const FastNmsCudaJob<E>& job, int64_t place) {
  if (!job.idxs) return 0;
  const int64_t category = job.idxs[job.order.data[place]];
  int64_t low = 0, high = place;
  while (low < high) {
    const int64_t middle = (low + high) / 2;
    if (job.idxs[job.order.data[middle]] < category)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

template <class E, bool kCategories>
__global__ void __launch_bounds__(kThreads) fast_nms_kernel(const FastNmsCudaJob<E> job) {
  using Rule = BoxRule<E, kCategories>;
  __shared__ typename Rule::Thing things[kThreads];
  const Rule rule{job.boxes.data, job.idxs, job.threshold};
  const int64_t count = job.order.shape[0], tile = blockIdx.x, place = tile * kThreads + threadIdx.x;
  const int64_t first_tile = first_of_category(job, tile * kThreads) / kThreads;
  const int64_t index = job.order.data[place < count ? place : count - 1];
  const typename Rule::Thing mine = rule.at(index);
  bool gone = place >= count;
  for (int64_t better = first_tile + blockIdx.y; better <= tile; better += gridDim.y) {
    const int64_t there = better * kThreads + threadIdx.x;
    if (there < count) things[threadIdx.x] = rule.at(job.order.data[there]);
    __syncthreads();
    const int known = better < tile ? kThreads : int(threadIdx.x);
    if (!gone && first_suppressor(rule, things, known, mine) >= 0) {
      gone = true;
      atomicOr(job.gone.data + index, 1);
    }
    __syncthreads();
  }
}

}  // namespace

template <class E>
void fast_nms_cuda(const FastNmsCudaJob<E>& job, const Stream& stream) {
  const OnDevice guard(stream.device);
  constexpr int64_t kEnoughBlocks = 4096;
  const int64_t tiles = ceil_div<int64_t>(job.order.shape[0], kThreads);
  const int64_t shares = ::min(tiles, ::max(kEnoughBlocks / ::max(tiles, int64_t(1)), int64_t(1)));
  const auto kernel = job.idxs ? fast_nms_kernel<E, true> : fast_nms_kernel<E, false>;
  launch(kernel, {tiles, kThreads, shares}, stream, job);
}

template void fast_nms_cuda(const FastNmsCudaJob<float>&, const Stream&);
template void fast_nms_cuda(const FastNmsCudaJob<double>&, const Stream&);

}  // namespace pyifcn
