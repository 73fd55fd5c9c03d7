// Where each mask's words start: a running sum by one block, each of whose threads takes a run of masks. What
// limits it is that the threads wait for each other twice and for their boxes.
#include "core/cuda.cuh"
#include "masks/build_cuda.h"
#include "masks/masks_cuda.h"

namespace pyifcn {
namespace {

constexpr int kThreads = 256;

__device__ int64_t limited_sum(int64_t a, int64_t b) {
  return a < kMostMaskWords - b ? a + b : kMostMaskWords;
}

// A mask's words; a box without pixels becomes zeros.
__device__ int64_t words_of(int32_t* box) {
  if (box[0] >= box[2]) box[0] = box[1] = box[2] = box[3] = 0;
  return (box[3] - box[1]) * grid_words(box[0], box[2]);
}

__global__ void __launch_bounds__(kThreads)
    place_kernel(const View<int32_t, 2> boxes, const View<int64_t, 1> offsets) {
  __shared__ int64_t sums[kThreads];
  const int me = int(threadIdx.x);
  const int64_t count = boxes.shape[0], each = ceil_div<int64_t>(count, kThreads);
  const int64_t begin = min(count, me * each), end = min(count, begin + each);
  int64_t mine = 0;
  for (int64_t i = begin; i < end; ++i) {
    mine = limited_sum(mine, words_of(boxes.data + 4 * i));
    offsets.data[i + 1] = mine;
  }
  sums[me] = mine;
  for (int step = 1; step < kThreads; step *= 2) {
    __syncthreads();
    const int64_t before = me >= step ? sums[me - step] : 0;
    __syncthreads();
    sums[me] = limited_sum(sums[me], before);
  }
  __syncthreads();
  if (me == 0) offsets.data[0] = 0;
  const int64_t before = me > 0 ? sums[me - 1] : 0;
  for (int64_t i = begin; i < end; ++i) offsets.data[i + 1] = limited_sum(before, offsets.data[i + 1]);
}

}  // namespace

void place_masks_cuda(const View<int32_t, 2>& boxes, const View<int64_t, 1>& offsets, const Stream& stream) {
  launch(place_kernel, {1, kThreads}, stream, boxes, offsets);
}

}  // namespace pyifcn
