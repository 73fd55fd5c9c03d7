// Forward: a thread owns a bin of a RoI for a few classes, works out once where the bin lies and adds up each
// class's pixels in order. Neighbouring threads own neighbouring bins, so that a warp writes consecutive
// elements; what they read lies in different maps. What limits it is reading those.
//
// Backward: a thread owns a pixel of the maps of a cell for a few classes and sums what the RoIs read from
// it, in the order of the RoIs, as the CPU does: no atomics, the same bits. A block first picks the RoIs
// whose bins in this cell meet its tile, so that the others cost a test for each tile and not for each pixel.
#include <limits>

#include "core/cuda.cuh"
#include "ps_roi/ps_roi_cuda.h"

namespace pyifcn {
namespace {

constexpr int kClasses = 4;  // of a thread
constexpr int kThreads = 128;
constexpr int kTileWidth = 32, kTileHeight = 8, kTile = kTileWidth * kTileHeight;

template <class E>
constexpr E kNan = std::numeric_limits<E>::quiet_NaN();

__device__ bool holds(Span span, int32_t pixel) { return pixel >= span.first && pixel < span.last; }
__device__ bool is_empty(Span span) { return span.first >= span.last; }

// A bin of a RoI along both axes.
template <class Rule>
struct Bin {
  const Rule &down, &across;
  const Axis &vertical, &horizontal;
  int32_t row, column;

  __device__ Span rows() const { return down.span(vertical, row); }
  __device__ Span columns() const { return across.span(horizontal, column); }
};

// What divides the sum of samples.
template <class E>
__device__ E sample_count(const Bin<SampledBins<E>>& bin) {
  const int64_t count = int64_t(bin.down.samples()) * bin.across.samples();
  return count ? E(count) : E(1);
}

// Calls work(y, x, weight) for the four pixels of a sample.
template <class E, class Work>
__device__ void each_corner(const SampleTap<E>& y, const SampleTap<E>& x, Work work) {
  work(y.low, x.low, y.low_weight * x.low_weight);
  work(y.low, x.high, y.low_weight * x.high_weight);
  work(y.high, x.low, y.high_weight * x.low_weight);
  work(y.high, x.high, y.high_weight * x.high_weight);
}

// Some classes' maps of one cell, or what is pooled from them: class c is `stride` elements further on.
template <class S>
struct Sheets {
  S* data;
  int64_t stride;
  int classes;

  // Calls work(c, element) at one place of all sheets.
  template <class Work>
  __device__ void each(int64_t place, Work work) const {
#pragma unroll
    for (int c = 0; c < kClasses; ++c)
      if (c < classes) work(c, data[c * stride + place]);
  }
};

template <class Rule, class S, class E>
__device__ void read_bin(const Bin<Rule>& bin, const Sheets<const S>& maps, int32_t width, E* sums) {
  const Span rows = bin.rows(), columns = bin.columns();
  if (is_empty(rows) || is_empty(columns)) return;
  for (int32_t y = rows.first; y < rows.last; ++y)
    for (int32_t x = columns.first; x < columns.last; ++x)
      maps.each(int64_t(y) * width + x, [&](int c, const S& pixel) { sums[c] += computed(pixel); });
  const E area = E(int64_t(rows.last - rows.first) * (columns.last - columns.first));
  for (int c = 0; c < kClasses; ++c) sums[c] /= area;
}

template <class S, class E>
__device__ void read_bin(const Bin<SampledBins<E>>& bin, const Sheets<const S>& maps, int32_t width,
                         E* sums) {
  const SampleRange rows = bin.down.samples_at(bin.vertical, bin.row),
                    columns = bin.across.samples_at(bin.horizontal, bin.column);
  for (uint32_t i = rows.first; i < rows.last; ++i) {
    const SampleTap<E> y = bin.down.tap(bin.vertical, bin.row, i);
    for (uint32_t j = columns.first; j < columns.last; ++j) {
      const SampleTap<E> x = bin.across.tap(bin.horizontal, bin.column, j);
      E values[kClasses] = {};
      each_corner(y, x, [&](int32_t row, int32_t column, E weight) {
        maps.each(int64_t(row) * width + column,
                  [&](int c, const S& pixel) { values[c] += weight * computed(pixel); });
      });
      for (int c = 0; c < kClasses; ++c) sums[c] += values[c];
    }
  }
  const E count = sample_count(bin);
  for (int c = 0; c < kClasses; ++c) sums[c] /= count;
}

template <class Rule, class S>
__global__ void __launch_bounds__(kThreads) ps_roi_kernel(const PsRoiCudaJob<S> job, int64_t blocks_of_roi) {
  using E = Computed<S>;
  const int64_t n = blockIdx.x / blocks_of_roi, images = job.maps.shape[0];
  const int64_t thread = blockIdx.x % blocks_of_roi * kThreads + threadIdx.x;
  const int64_t classes = job.pooled.shape[1], height = job.pooled.shape[2], width = job.pooled.shape[3];
  const uint32_t bins = uint32_t(height * width), place = uint32_t(thread) % bins;
  const int64_t first_class = int64_t(uint32_t(thread) / bins) * kClasses;
  if (first_class >= classes) return;
  const int here = int(::min(classes - first_class, int64_t(kClasses)));
  const int32_t row = int32_t(place / uint32_t(width)), column = int32_t(place % uint32_t(width));
  const int64_t map = job.maps.shape[2] * job.maps.shape[3];

  E sums[kClasses] = {};
  if (!job.rois.has_image(n, images)) {
    for (E& sum : sums) sum = kNan<E>;
  } else if (!job.rois.has_nan(n) && map > 0) {
    const Rule down(job.rois.down(n), job.rois.scale, job.rois.vertical);
    const Rule across(job.rois.across(n), job.rois.scale, job.rois.horizontal);
    const int64_t cells = job.grid_height * job.grid_width;
    const int64_t cell = row * job.grid_height / height * job.grid_width + column * job.grid_width / width;
    const int64_t image = int64_t(job.rois.rows.data[5 * n]);
    const Sheets<const S> maps{job.maps.data + ((image * classes + first_class) * cells + cell) * map,
                               cells * map, here};
    read_bin(Bin<Rule>{down, across, job.rois.vertical, job.rois.horizontal, row, column}, maps,
             int32_t(job.maps.shape[3]), sums);
  }
  S* out = job.pooled.data + (n * classes + first_class) * bins + place;
#pragma unroll
  for (int c = 0; c < kClasses; ++c)
    if (c < here) out[c * int64_t(bins)] = stored<S>(sums[c]);
}

// A pixel of a cell's maps.
struct Pixel {
  int32_t y, x;
};

template <class Rule, class S, class E>
__device__ void add_bin(const Bin<Rule>& bin, Pixel pixel, const Sheets<const S>& grad, int64_t place,
                        E* sums) {
  const Span rows = bin.rows(), columns = bin.columns();
  if (!holds(rows, pixel.y) || !holds(columns, pixel.x)) return;
  const E area = E(int64_t(rows.last - rows.first) * (columns.last - columns.first));
  grad.each(place, [&](int c, const S& g) { sums[c] += computed(g) / area; });
}

template <class S, class E>
__device__ void add_bin(const Bin<SampledBins<E>>& bin, Pixel pixel, const Sheets<const S>& grad,
                        int64_t place, E* sums) {
  // A sample reads its low pixel and the one after.
  const SampleRange rows = bin.down.samples_at(bin.vertical, bin.row, {pixel.y - 1, pixel.y + 1}),
                    columns = bin.across.samples_at(bin.horizontal, bin.column, {pixel.x - 1, pixel.x + 1});
  const E count = sample_count(bin);
  for (uint32_t i = rows.first; i < rows.last; ++i) {
    const SampleTap<E> y = bin.down.tap(bin.vertical, bin.row, i);
    for (uint32_t j = columns.first; j < columns.last; ++j) {
      const SampleTap<E> x = bin.across.tap(bin.horizontal, bin.column, j);
      each_corner(y, x, [&](int32_t row, int32_t column, E weight) {
        if (row != pixel.y || column != pixel.x) return;
        grad.each(place, [&](int c, const S& g) { sums[c] += computed(g) * weight / count; });
      });
    }
  }
}

// Bins [first, last) of a RoI along one axis that lie in one cell.
struct CellBins {
  int32_t first, last;
};

// The pixels that some of them read.
template <class Rule>
__device__ Span reach(const Rule& rule, const Axis& axis, CellBins bins) {
  Span all{INT32_MAX, 0};
  for (int32_t i = bins.first; i < bins.last; ++i) {
    const Span span = rule.span(axis, i);
    if (is_empty(span)) continue;
    all.first = ::min(all.first, span.first);
    all.last = ::max(all.last, span.last);
  }
  return all;
}

// A RoI that a tile's pixels have to look at.
template <class Rule>
struct Near {
  int64_t n;
  Rule down, across;
  Span rows, columns;
};

// What a block works on.
struct Tile {
  int64_t image, first_class, cell;
  Pixel corner;
  CellBins rows, columns;

  template <class S>
  __device__ Tile(const PsRoiBackwardCudaJob<S>& job, int64_t block) {
    const int64_t cells = job.grid_height * job.grid_width;
    const int64_t across = ceil_div<int64_t>(job.grad_maps.shape[3], kTileWidth),
                  down = ceil_div<int64_t>(job.grad_maps.shape[2], kTileHeight);
    corner = {int32_t(block / across % down) * kTileHeight, int32_t(block % across) * kTileWidth};
    block /= across * down;
    cell = block % cells;
    block /= cells;
    const int64_t chunks = ceil_div<int64_t>(job.grad_pooled.shape[1], kClasses);
    first_class = block % chunks * kClasses;
    image = block / chunks;
    const int32_t height = int32_t(job.rois.vertical.bins / job.grid_height),
                  width = int32_t(job.rois.horizontal.bins / job.grid_width);
    const int32_t row = int32_t(cell / job.grid_width), column = int32_t(cell % job.grid_width);
    rows = {row * height, (row + 1) * height};
    columns = {column * width, (column + 1) * width};
  }

  __device__ bool meets(Span y, Span x) const {
    return y.first < corner.y + kTileHeight && y.last > corner.y && x.first < corner.x + kTileWidth &&
           x.last > corner.x;
  }
};

// Whether RoI n reads from the tile, and then what the threads must know of it.
template <class Rule, class S>
__device__ bool look_at(const PsRoiBackwardCudaJob<S>& job, const Tile& tile, int64_t n, Near<Rule>& roi) {
  const Rois<Computed<S>>& rois = job.rois;
  if (n >= rois.count() || rois.rows.data[5 * n] != Computed<S>(tile.image) || rois.has_nan(n)) return false;
  roi.n = n;
  roi.down = Rule(rois.down(n), rois.scale, rois.vertical);
  roi.across = Rule(rois.across(n), rois.scale, rois.horizontal);
  roi.rows = reach(roi.down, rois.vertical, tile.rows);
  roi.columns = reach(roi.across, rois.horizontal, tile.columns);
  return tile.meets(roi.rows, roi.columns);
}

template <class Rule, class S>
__global__ void __launch_bounds__(kTile) backward_kernel(const PsRoiBackwardCudaJob<S> job) {
  using E = Computed<S>;
  __shared__ Near<Rule> near[kTile];
  __shared__ int votes[kTile / kWarp];
  const Tile tile(job, blockIdx.x);
  const int thread = int(threadIdx.x);
  const Pixel pixel{tile.corner.y + thread / kTileWidth, tile.corner.x + thread % kTileWidth};
  const int64_t classes = job.grad_pooled.shape[1], cells = job.grid_height * job.grid_width;
  const int64_t bins = job.rois.vertical.bins * job.rois.horizontal.bins;
  const int here = int(::min(classes - tile.first_class, int64_t(kClasses)));

  E sums[kClasses] = {};
  for (int64_t begin = 0; begin < job.rois.count(); begin += kTile) {
    Near<Rule> roi;
    const bool meets = look_at(job, tile, begin + thread, roi);
    const Rank rank = rank_among(meets, votes);
    if (meets) near[rank.before] = roi;
    __syncthreads();
    for (int k = 0; k < rank.total; ++k) {
      if (!holds(near[k].rows, pixel.y) || !holds(near[k].columns, pixel.x)) continue;
      const Sheets<const S> grad{job.grad_pooled.data + (near[k].n * classes + tile.first_class) * bins, bins,
                                 here};
      for (int32_t i = tile.rows.first; i < tile.rows.last; ++i)
        for (int32_t j = tile.columns.first; j < tile.columns.last; ++j)
          add_bin(Bin<Rule>{near[k].down, near[k].across, job.rois.vertical, job.rois.horizontal, i, j},
                  pixel, grad, i * job.rois.horizontal.bins + j, sums);
    }
    __syncthreads();
  }

  const int64_t height = job.grad_maps.shape[2], width = job.grad_maps.shape[3];
  if (pixel.y >= height || pixel.x >= width) return;
  S* out = job.grad_maps.data +
           ((tile.image * classes + tile.first_class) * cells + tile.cell) * height * width +
           pixel.y * width + pixel.x;
#pragma unroll
  for (int c = 0; c < kClasses; ++c)
    if (c < here) out[c * cells * height * width] = stored<S>(sums[c]);
}

}  // namespace

template <class Rule, class S>
void ps_roi_cuda(const PsRoiCudaJob<S>& job, const Stream& stream) {
  const OnDevice guard(stream.device);
  const int64_t bins = job.pooled.shape[2] * job.pooled.shape[3];
  const int64_t threads = bins * ceil_div<int64_t>(job.pooled.shape[1], kClasses);
  const int64_t blocks = ceil_div<int64_t>(threads, kThreads);
  launch(ps_roi_kernel<Rule, S>, {job.pooled.shape[0] * blocks, kThreads}, stream, job, blocks);
}

template <class Rule, class S>
void ps_roi_backward_cuda(const PsRoiBackwardCudaJob<S>& job, const Stream& stream) {
  const OnDevice guard(stream.device);
  const View<S, 4>& maps = job.grad_maps;
  const int64_t tiles =
      ceil_div<int64_t>(maps.shape[2], kTileHeight) * ceil_div<int64_t>(maps.shape[3], kTileWidth);
  const int64_t chunks = ceil_div<int64_t>(job.grad_pooled.shape[1], kClasses);
  launch(backward_kernel<Rule, S>, {maps.shape[0] * chunks * job.grid_height * job.grid_width * tiles, kTile},
         stream, job);
}

#define PYIFCN_PS_ROI_RULE(Rule, S)                                       \
  template void ps_roi_cuda<Rule>(const PsRoiCudaJob<S>&, const Stream&); \
  template void ps_roi_backward_cuda<Rule>(const PsRoiBackwardCudaJob<S>&, const Stream&);
#define PYIFCN_PS_ROI(S)                           \
  PYIFCN_PS_ROI_RULE(PoolBins<Computed<S>>, S)     \
  PYIFCN_PS_ROI_RULE(AssembleBins<Computed<S>>, S) \
  PYIFCN_PS_ROI_RULE(SampledBins<Computed<S>>, S)
PYIFCN_PS_ROI(Float16)
PYIFCN_PS_ROI(Bfloat16)
PYIFCN_PS_ROI(float)
PYIFCN_PS_ROI(double)

}  // namespace pyifcn
