// Boxes: a thread looks at all pixels of its window, and its neighbours in a warp look at the neighbouring
// windows, whose pixels lie side by side in the same maps. No mask is held; what limits it is the first-level
// cache, and for small levels that pixels are looked at one after the other, so that all levels share a
// launch.
#include "core/cuda.cuh"
#include "core/sigmoid.h"
#include "propose/propose_cuda.h"

namespace pyifcn {
namespace {

constexpr int kThreads = 128;

template <class E>
__global__ void __launch_bounds__(kThreads) propose_boxes_kernel(const ProposeBoxesJob<E> job) {
  const int64_t n = int64_t(blockIdx.x) * kThreads + threadIdx.x, image = blockIdx.y;
  if (n >= job.boxes.shape[1]) return;
  const CudaLevel& level = job.pyramid.levels[job.pyramid.level_of(n)];
  const int32_t height = level.height, width = level.width;
  const int64_t map = int64_t(height) * width, window = n - level.first;
  const int32_t size = job.cells.size, grid = job.cells.grid;
  const int32_t top = int32_t(window / width) - size / 2, left = int32_t(window % width) - size / 2;
  const E* maps = static_cast<const E*>(level.maps) + image * grid * grid * map;

  int32_t x1 = INT32_MAX, y1 = INT32_MAX, x2 = INT32_MIN, y2 = INT32_MIN;
  for (int32_t row = 0; row < grid; ++row) {
    const int32_t y_first = ::max(0, top + job.cells.first(row));
    const int32_t y_last = ::min(height, top + job.cells.first(row + 1));
    for (int32_t column = 0; column < grid; ++column, maps += map) {
      const int32_t x_first = ::max(0, left + job.cells.first(column));
      const int32_t x_last = ::min(width, left + job.cells.first(column + 1));
      for (int32_t y = y_first; y < y_last; ++y)
        for (int32_t x = x_first; x < x_last; ++x) {
          if (!is_foreground(maps[int64_t(y) * width + x], job.foreground)) continue;
          x1 = ::min(x1, x), x2 = ::max(x2, x + 1);
          y1 = ::min(y1, y), y2 = ::max(y2, y + 1);
        }
    }
  }
  const bool empty = x1 >= x2;
  const int64_t out = image * job.boxes.shape[1] + n;
  float* box = job.boxes.data + 4 * out;
  box[0] = empty ? 0 : float(x1) * level.stride;
  box[1] = empty ? 0 : float(y1) * level.stride;
  box[2] = empty ? 0 : float(x2) * level.stride;
  box[3] = empty ? 0 : float(y2) * level.stride;
  job.empty.data[out] = empty;
}

template <class E>
__global__ void __launch_bounds__(kThreads) proposed_kernel(const ProposedJob<E> job) {
  const int64_t n = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (n >= job.scores.shape[0] || n >= *job.count) return;
  const int64_t kept = job.keep[n];
  const int32_t l = job.pyramid.level_of(kept);
  const CudaLevel& level = job.pyramid.levels[l];
  const int64_t window = kept - level.first;
  int64_t* place = job.windows.data + 3 * n;
  place[0] = l, place[1] = window / level.width, place[2] = window % level.width;
  for (int side = 0; side < 4; ++side) {
    const float most = float(side % 2 ? job.height : job.width);
    job.clipped.data[4 * n + side] = ::min(::max(job.boxes.data[4 * kept + side], 0.0f), most);
  }
  job.scores.data[n] = float(sigmoid(Scalar<double>{double(job.objectness.data[kept])}).v);
}

// A block copies one window.
template <class E>
__global__ void __launch_bounds__(kThreads) propose_logits_kernel(const ProposeLogitsJob<E> job) {
  const int64_t n = blockIdx.x;
  const int64_t* window = job.windows.data + 3 * n;
  const CudaLevel& level = job.pyramid.levels[window[0]];
  const int32_t height = level.height, width = level.width;
  const int32_t size = job.cells.size, grid = job.cells.grid, area = size * size;
  const int32_t top = int32_t(window[1]) - size / 2, left = int32_t(window[2]) - size / 2;
  const E* maps = static_cast<const E*>(level.maps);
  for (int32_t e = int32_t(threadIdx.x); e < area; e += kThreads) {
    const int32_t i = e / size, j = e - i * size, y = top + i, x = left + j;
    const int64_t map = (job.image * grid + job.cells(i)) * grid + job.cells(j);
    const bool inside = uint32_t(y) < uint32_t(height) && uint32_t(x) < uint32_t(width);
    job.out.data[n * area + e] = inside ? maps[(map * height + y) * width + x] : job.pad;
  }
}

}  // namespace

template <class E>
void propose_boxes_cuda(const ProposeBoxesJob<E>& job, const Stream& stream) {
  const OnDevice guard(stream.device);
  launch(propose_boxes_kernel<E>,
         {ceil_div<int64_t>(job.boxes.shape[1], kThreads), kThreads, job.boxes.shape[0]}, stream, job);
}

template <class E>
void proposed_cuda(const ProposedJob<E>& job, const Stream& stream) {
  const OnDevice guard(stream.device);
  launch(proposed_kernel<E>, {ceil_div<int64_t>(job.scores.shape[0], kThreads), kThreads}, stream, job);
}

template <class E>
void propose_logits_cuda(const ProposeLogitsJob<E>& job, const Stream& stream) {
  const OnDevice guard(stream.device);
  launch(propose_logits_kernel<E>, {job.out.shape[0], kThreads}, stream, job);
}

template void propose_boxes_cuda(const ProposeBoxesJob<uint16_t>&, const Stream&);
template void propose_boxes_cuda(const ProposeBoxesJob<float>&, const Stream&);
template void propose_boxes_cuda(const ProposeBoxesJob<double>&, const Stream&);
template void proposed_cuda(const ProposedJob<float>&, const Stream&);
template void proposed_cuda(const ProposedJob<double>&, const Stream&);
template void propose_logits_cuda(const ProposeLogitsJob<uint16_t>&, const Stream&);
template void propose_logits_cuda(const ProposeLogitsJob<uint32_t>&, const Stream&);
template void propose_logits_cuda(const ProposeLogitsJob<uint64_t>&, const Stream&);

}  // namespace pyifcn
