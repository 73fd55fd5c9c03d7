// A thread looks at all pixels of its window, and its neighbours in a warp look at the neighbouring windows,
// whose pixels lie side by side in the same maps. No mask is held; what limits it is the first-level cache.
#include "core/cuda.cuh"
#include "propose/propose_cuda.h"

namespace pyifcn {
namespace {

constexpr int kThreads = 128;

template <class E>
__global__ void __launch_bounds__(kThreads) propose_boxes_kernel(const ProposeBoxesJob<E> job) {
  const int32_t height = int32_t(job.maps.shape[2]), width = int32_t(job.maps.shape[3]);
  const int64_t map = int64_t(height) * width, window = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (window >= map) return;
  const int32_t size = job.cells.size, grid = job.cells.grid;
  const int32_t top = int32_t(window / width) - size / 2, left = int32_t(window % width) - size / 2;
  const int64_t image = blockIdx.y;
  const E* maps = job.maps.data + image * job.maps.shape[1] * map;

  int32_t x1 = INT32_MAX, y1 = INT32_MAX, x2 = INT32_MIN, y2 = INT32_MIN;
  for (int32_t row = 0; row < grid; ++row) {
    const int32_t y_first = max(0, top + job.cells.first(row));
    const int32_t y_last = min(height, top + job.cells.first(row + 1));
    for (int32_t column = 0; column < grid; ++column, maps += map) {
      const int32_t x_first = max(0, left + job.cells.first(column));
      const int32_t x_last = min(width, left + job.cells.first(column + 1));
      for (int32_t y = y_first; y < y_last; ++y)
        for (int32_t x = x_first; x < x_last; ++x) {
          if (!is_foreground(maps[int64_t(y) * width + x], job.foreground)) continue;
          x1 = min(x1, x), x2 = max(x2, x + 1);
          y1 = min(y1, y), y2 = max(y2, y + 1);
        }
    }
  }
  const bool empty = x1 >= x2;
  const int64_t out = image * job.boxes.shape[1] + job.first + window;
  float* box = job.boxes.data + 4 * out;
  box[0] = empty ? 0 : float(x1) * job.stride;
  box[1] = empty ? 0 : float(y1) * job.stride;
  box[2] = empty ? 0 : float(x2) * job.stride;
  box[3] = empty ? 0 : float(y2) * job.stride;
  job.empty.data[out] = empty;
}

}  // namespace

template <class E>
void propose_boxes_cuda(const ProposeBoxesJob<E>& job, const Stream& stream) {
  const OnDevice guard(stream.device);
  const int64_t windows = job.maps.shape[2] * job.maps.shape[3];
  launch(propose_boxes_kernel<E>, {ceil_div<int64_t>(windows, kThreads), kThreads, job.maps.shape[0]}, stream,
         job);
}

template void propose_boxes_cuda(const ProposeBoxesJob<uint16_t>&, const Stream&);
template void propose_boxes_cuda(const ProposeBoxesJob<float>&, const Stream&);
template void propose_boxes_cuda(const ProposeBoxesJob<double>&, const Stream&);

}  // namespace pyifcn
