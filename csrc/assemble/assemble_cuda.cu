// Forward: a thread owns a few pixels of the window and copies them for each window of its block, so that
// what the pixel's place in the maps costs is paid once for kWindows windows, and a warp writes consecutive
// elements. What limits it is writing.
//
// Backward: a thread owns one element of the maps and sums what the windows read from it, in the order of the
// windows, as the CPU does: no atomics, the same bits. Of a list of windows, a block picks those that meet
// its tile first.
#include "assemble/assemble_cuda.h"
#include "core/cuda.cuh"

namespace pyifcn {
namespace {

constexpr int kWindows = 16;  // of a block
constexpr int kMostThreads = 512;
constexpr int kTileWidth = 32, kTileHeight = 8, kTile = kTileWidth * kTileHeight;

struct Window {
  int64_t image;
  int32_t top, left;
  bool holds;  // its centre lies inside the maps
};

// Window n of the list, or of all there are when there is no list.
__device__ Window window_at(const View<const int64_t, 2>& windows, int64_t n, int32_t size, int64_t images,
                            int64_t height, int64_t width) {
  int64_t image, y, x;
  if (windows.data) {
    image = windows.data[3 * n], y = windows.data[3 * n + 1], x = windows.data[3 * n + 2];
  } else {
    image = n / (height * width), y = n / width % height, x = n % width;
  }
  const bool holds = image >= 0 && image < images && y >= 0 && y < height && x >= 0 && x < width;
  if (!holds) return {0, 0, 0, false};
  return {image, int32_t(y) - size / 2, int32_t(x) - size / 2, true};
}

template <class E>
struct Corner {
  int64_t offset;  // of the window's first pixel in its image's first map
  int32_t top, left;
  E fill;  // what pixels outside the map read
};

template <class E>
__global__ void __launch_bounds__(kMostThreads) assemble_kernel(const AssembleCudaJob<E> job) {
  __shared__ Corner<E> corners[kWindows];
  const int32_t height = int32_t(job.maps.shape[2]), width = int32_t(job.maps.shape[3]);
  const int64_t map_stride = int64_t(height) * width;
  const int32_t size = job.cells.size, area = size * size;
  const int64_t first = int64_t(blockIdx.x) * kWindows, left_over = job.out.shape[0] - first;
  const int windows = left_over < kWindows ? int(left_over) : kWindows;
  const int thread = int(threadIdx.x);
  if (thread < windows) {
    const Window w = window_at(job.windows, first + thread, size, job.maps.shape[0], height, width);
    Corner<E>& corner = corners[thread];
    corner.offset = w.image * job.maps.shape[1] * map_stride + int64_t(w.top) * width + w.left;
    corner.top = w.holds ? w.top : height;
    corner.left = w.left;
    corner.fill = w.holds ? job.pad : job.outside;
  }
  __syncthreads();
  for (int32_t e = thread; e < area; e += int32_t(blockDim.x)) {
    const int32_t i = e / size, j = e - i * size;
    const E* maps = job.maps.data + (int64_t(job.cells(i)) * job.cells.grid + job.cells(j)) * map_stride +
                    int64_t(i) * width + j;
    E* out = job.out.data + first * area + e;
    for (int n = 0; n < windows; ++n, out += area) {
      const Corner<E> corner = corners[n];
      const bool inside =
          uint32_t(corner.top + i) < uint32_t(height) && uint32_t(corner.left + j) < uint32_t(width);
      *out = inside ? maps[corner.offset] : corner.fill;
    }
  }
}

// An element of the maps and the window pixels that read from its map.
struct Element {
  int64_t image;
  int32_t y, x;
  int32_t first_row, last_row, first_column, last_column;  // pixels of the window, half-open
};

template <class E>
__device__ Element element_of(const AssembleBackwardCudaJob<E>& job, int32_t tile_y, int32_t tile_x,
                              int64_t map) {
  const int32_t grid = job.cells.grid, channel = int32_t(map % (int64_t(grid) * grid));
  const int32_t row = channel / grid, column = channel % grid;
  return {map / (int64_t(grid) * grid),
          tile_y + int32_t(threadIdx.x) / kTileWidth,
          tile_x + int32_t(threadIdx.x) % kTileWidth,
          job.cells.first(row),
          job.cells.first(row + 1),
          job.cells.first(column),
          job.cells.first(column + 1)};
}

template <class E>
__device__ E sum_every_window(const AssembleBackwardCudaJob<E>& job, const Element& element) {
  const int32_t height = int32_t(job.grad_maps.shape[2]), width = int32_t(job.grad_maps.shape[3]);
  const int32_t size = job.cells.size, area = size * size, y = element.y + size / 2, x = element.x + size / 2;
  const int32_t y_first = max(0, y - element.last_row + 1), y_last = min(height, y - element.first_row + 1);
  const int32_t x_first = max(0, x - element.last_column + 1),
                x_last = min(width, x - element.first_column + 1);
  E sum = 0;
  for (int32_t wy = y_first; wy < y_last; ++wy) {
    const E* grad =
        job.grad_out.data + ((element.image * height + wy) * width + x_first) * area + (y - wy) * size + x;
    for (int32_t wx = x_first; wx < x_last; ++wx, grad += area) sum += grad[-wx];
  }
  return sum;
}

struct Near {
  int64_t n;
  int32_t top, left;
};

template <class E>
__device__ E sum_listed_windows(const AssembleBackwardCudaJob<E>& job, const Element& element, int32_t tile_y,
                                int32_t tile_x) {
  __shared__ Near near[kTile];
  __shared__ int votes[kTile / kWarp];
  const int32_t size = job.cells.size;
  const int64_t area = int64_t(size) * size;
  E sum = 0;
  for (int64_t begin = 0; begin < job.windows.shape[0]; begin += kTile) {
    const int64_t n = begin + threadIdx.x;
    Window w{};
    if (n < job.windows.shape[0])
      w = window_at(job.windows, n, size, job.grad_maps.shape[0], job.grad_maps.shape[2],
                    job.grad_maps.shape[3]);
    const bool meets =
        w.holds && w.image == element.image && w.top + element.first_row < tile_y + kTileHeight &&
        w.top + element.last_row > tile_y && w.left + element.first_column < tile_x + kTileWidth &&
        w.left + element.last_column > tile_x;
    const Rank rank = rank_among(meets, votes);
    if (meets) near[rank.before] = {n, w.top, w.left};
    __syncthreads();
    for (int k = 0; k < rank.total; ++k) {
      const int32_t i = element.y - near[k].top, j = element.x - near[k].left;
      if (i >= element.first_row && i < element.last_row && j >= element.first_column &&
          j < element.last_column)
        sum += job.grad_out.data[near[k].n * area + i * size + j];
    }
    __syncthreads();
  }
  return sum;
}

template <class E>
__global__ void __launch_bounds__(kTile) backward_kernel(const AssembleBackwardCudaJob<E> job) {
  const int32_t height = int32_t(job.grad_maps.shape[2]), width = int32_t(job.grad_maps.shape[3]);
  const int32_t across = ceil_div(width, kTileWidth), down = ceil_div(height, kTileHeight);
  const int32_t tile = int32_t(blockIdx.x % (int64_t(across) * down));
  const int64_t map = blockIdx.x / (int64_t(across) * down);
  const int32_t tile_y = tile / across * kTileHeight, tile_x = tile % across * kTileWidth;
  const Element element = element_of(job, tile_y, tile_x, map);
  const bool inside = element.y < height && element.x < width;
  E sum = 0;
  if (job.windows.data)  // the same for all threads: there are barriers inside
    sum = sum_listed_windows(job, element, tile_y, tile_x);
  else if (inside)
    sum = sum_every_window(job, element);
  if (inside) job.grad_maps.data[(map * height + element.y) * width + element.x] = sum;
}

}  // namespace

template <class E>
void assemble_cuda(const AssembleCudaJob<E>& job, const Stream& stream) {
  const OnDevice guard(stream.device);
  const int64_t area = int64_t(job.cells.size) * job.cells.size;
  const int threads = int(area < kMostThreads ? ceil_div<int64_t>(area, kWarp) * kWarp : kMostThreads);
  launch(assemble_kernel<E>, {ceil_div<int64_t>(job.out.shape[0], kWindows), threads}, stream, job);
}

template <class E>
void assemble_backward_cuda(const AssembleBackwardCudaJob<E>& job, const Stream& stream) {
  const OnDevice guard(stream.device);
  const auto& shape = job.grad_maps.shape;
  const int64_t tiles = ceil_div<int64_t>(shape[2], kTileHeight) * ceil_div<int64_t>(shape[3], kTileWidth);
  launch(backward_kernel<E>, {shape[0] * shape[1] * tiles, kTile}, stream, job);
}

template void assemble_cuda(const AssembleCudaJob<uint16_t>&, const Stream&);
template void assemble_cuda(const AssembleCudaJob<uint32_t>&, const Stream&);
template void assemble_cuda(const AssembleCudaJob<uint64_t>&, const Stream&);
template void assemble_backward_cuda(const AssembleBackwardCudaJob<float>&, const Stream&);
template void assemble_backward_cuda(const AssembleBackwardCudaJob<double>&, const Stream&);

}  // namespace pyifcn
