// A task is one cell of one image: of all its RoIs, the bins that read this cell's maps. The maps of a block
// of classes are first packed side by side, so that a pixel's classes are vectors, and a bin is added up for
// all of them at once, each lane in the order in which one class alone would be. All maps are read once, in
// order; what is packed stays in the second-level cache. Where there are few classes or the bins are few,
// packing would cost more than it saves and the bins are read from the maps themselves, with one lane.
#include "core/simd.h"
#include "core/transpose.h"
#include "ps_roi/ps_roi.h"

namespace pyifcn {
namespace {

constexpr int kMostVectors = 4;    // sums kept in registers
constexpr int64_t kDearPixel = 8;  // reading a pixel in place costs as much as packing this many
constexpr int64_t kCacheBytes = 1 << 19;

// Maps of one block of classes: in place with one lane and a stride from class to class, or packed.
template <class E>
struct Sheet {
  E* data;
  int64_t top, left, row, pixel, vector;
  PYIFCN_INLINE E* at(int64_t y, int64_t x) const { return data + (y - top) * row + (x - left) * pixel; }
};

// A bin's pixels. `k` counts rows of bins, RoI by RoI, and `l` columns of bins.
struct Rectangle {
  Span rows, columns;
  PYIFCN_INLINE Rectangle(const Rectangles& bins, int64_t k, int64_t l)
      : rows(bins.rows[k]), columns(bins.columns[l]) {}
  PYIFCN_INLINE bool empty() const { return rows.first >= rows.last || columns.first >= columns.last; }
  PYIFCN_INLINE int64_t area() const {
    return int64_t(rows.last - rows.first) * (columns.last - columns.first);
  }
};

template <class V, int kVectors, class E>
PYIFCN_INLINE void read_bin(const Rectangles& bins, int64_t, int64_t k, int64_t l, const Sheet<const E>& maps,
                            E* out) {
  const Rectangle bin(bins, k, l);
  V sums[kVectors];
  for (V& sum : sums) sum = V::all(0);
  if (!bin.empty()) {
    for (int64_t y = bin.rows.first; y < bin.rows.last; ++y) {
      const E* pixel = maps.at(y, bin.columns.first);
      for (int64_t x = bin.columns.first; x < bin.columns.last; ++x, pixel += maps.pixel)
        for (int v = 0; v < kVectors; ++v) sums[v] = sums[v] + V::load(pixel + v * maps.vector);
    }
    for (V& sum : sums) sum = sum / V::all(E(bin.area()));
  }
  for (int v = 0; v < kVectors; ++v) sums[v].store(out + v * V::lanes);
}

template <class V, int kVectors, class E>
PYIFCN_INLINE void add_bin(const Rectangles& bins, int64_t, int64_t k, int64_t l, const E* grad,
                           const Sheet<E>& maps) {
  const Rectangle bin(bins, k, l);
  if (bin.empty()) return;
  V shares[kVectors];
  for (int v = 0; v < kVectors; ++v) shares[v] = V::load(grad + v * V::lanes) / V::all(E(bin.area()));
  for (int64_t y = bin.rows.first; y < bin.rows.last; ++y) {
    E* pixel = maps.at(y, bin.columns.first);
    for (int64_t x = bin.columns.first; x < bin.columns.last; ++x, pixel += maps.pixel)
      for (int v = 0; v < kVectors; ++v) {
        E* to = pixel + v * maps.vector;
        (V::load(to) + shares[v]).store(to);
      }
  }
}

// Calls work(four pixels, their four weights) for each sample of a bin.
template <class E, class Pixel, class Work>
PYIFCN_INLINE void each_sample(const Samples<E>& bins, int64_t k, int64_t l, const Sheet<Pixel>& maps,
                               Work work) {
  const int64_t *ys = bins.row_taps.starts + k, *xs = bins.column_taps.starts + l;
  for (int64_t i = ys[0]; i < ys[1]; ++i) {
    const SampleTap<E> y = bins.row_taps.taps[i];
    for (int64_t j = xs[0]; j < xs[1]; ++j) {
      const SampleTap<E> x = bins.column_taps.taps[j];
      Pixel* const pixels[4] = {maps.at(y.low, x.low), maps.at(y.low, x.high), maps.at(y.high, x.low),
                                maps.at(y.high, x.high)};
      const E weights[4] = {y.low_weight * x.low_weight, y.low_weight * x.high_weight,
                            y.high_weight * x.low_weight, y.high_weight * x.high_weight};
      work(pixels, weights);
    }
  }
}

template <class V, int kVectors, class E>
PYIFCN_INLINE void read_bin(const Samples<E>& bins, int64_t roi, int64_t k, int64_t l,
                            const Sheet<const E>& maps, E* out) {
  V sums[kVectors];
  for (V& sum : sums) sum = V::all(0);
  each_sample(bins, k, l, maps, [&](const E* const* pixels, const E* weights) {
    for (int v = 0; v < kVectors; ++v) {
      const int64_t step = v * maps.vector;
      V value = V::all(weights[0]) * V::load(pixels[0] + step);
      for (int i = 1; i < 4; ++i) value = value + V::all(weights[i]) * V::load(pixels[i] + step);
      sums[v] = sums[v] + value;
    }
  });
  const V count = V::all(bins.counts[roi]);
  for (int v = 0; v < kVectors; ++v) (sums[v] / count).store(out + v * V::lanes);
}

template <class V, int kVectors, class E>
PYIFCN_INLINE void add_bin(const Samples<E>& bins, int64_t roi, int64_t k, int64_t l, const E* grad,
                           const Sheet<E>& maps) {
  const V count = V::all(bins.counts[roi]);
  each_sample(bins, k, l, maps, [&](E* const* pixels, const E* weights) {
    for (int v = 0; v < kVectors; ++v) {
      const V g = V::load(grad + v * V::lanes);
      for (int i = 0; i < 4; ++i) {
        E* to = pixels[i] + v * maps.vector;
        (V::load(to) + g * V::all(weights[i]) / count).store(to);
      }
    }
  });
}

// One cell of one image.
struct Cell {
  int64_t row, column;            // of the grid
  int64_t rows, columns;          // bins of a RoI in this cell
  int64_t first_roi, last_roi;    // in the order by image
  int64_t first_map, map_stride;  // of class 0, and from class to class; in maps
  Cell(const RoiLayout& g, int64_t task)
      : row(task / g.grid_width % g.grid_height),
        column(task % g.grid_width),
        rows(g.pooled_height / g.grid_height),
        columns(g.pooled_width / g.grid_width) {
    const int64_t cells = g.grid_height * g.grid_width, image = task / cells;
    first_roi = g.starts[image];
    last_roi = g.starts[image + 1];
    first_map = image * g.classes * cells + task % cells;
    map_stride = cells;
  }
};

// Calls work(roi, row of bins, column of bins, bin of the RoI) for each bin of a cell, in the order of the
// sums.
template <class Work>
PYIFCN_INLINE void each_bin(const RoiLayout& g, const Cell& cell, Work work) {
  for (int64_t r = cell.first_roi; r < cell.last_roi; ++r) {
    const int64_t roi = g.order[r];
    for (int64_t i = cell.row * cell.rows; i < (cell.row + 1) * cell.rows; ++i)
      for (int64_t j = cell.column * cell.columns; j < (cell.column + 1) * cell.columns; ++j)
        work(roi, roi * g.pooled_height + i, roi * g.pooled_width + j, i * g.pooled_width + j);
  }
}

// The pixels that a cell's bins read: a rectangle about all of them, and how many, each bin counted by
// itself.
struct Reach {
  Span rows{INT32_MAX, 0}, columns{INT32_MAX, 0};
  int64_t pixels = 0;
  template <class Bins>
  PYIFCN_INLINE Reach(const RoiLayout& g, const Bins& bins, const Cell& cell) {
    each_bin(g, cell, [&](int64_t, int64_t k, int64_t l, int64_t) {
      const Rectangle bin({bins.rows, bins.columns}, k, l);
      if (bin.empty()) return;
      include(rows, bin.rows);
      include(columns, bin.columns);
      pixels += bin.area();
    });
  }
  PYIFCN_INLINE int64_t height() const { return rows.last - rows.first; }
  PYIFCN_INLINE int64_t width() const { return columns.last - columns.first; }
  PYIFCN_INLINE bool worth_packing(int64_t classes, int lanes) const {
    return lanes > 1 && classes >= kFewestPacked && pixels > 0 && kDearPixel * pixels >= height() * width();
  }

private:
  PYIFCN_INLINE static void include(Span& span, Span other) {
    if (other.first < span.first) span.first = other.first;
    if (other.last > span.last) span.last = other.last;
  }
};

// The maps of classes [first, first + count) of a cell, in place; one lane.
template <class E>
PYIFCN_INLINE Sheet<E> in_place(const View<E, 4>& maps, const Cell& cell, int64_t first) {
  const int64_t map = maps.shape[2] * maps.shape[3];
  return {maps.data + (cell.first_map + first * cell.map_stride) * map,
          0,
          0,
          maps.shape[3],
          1,
          cell.map_stride * map};
}

// The same classes' pixels within reach, packed into vectors.
template <class V, class E>
PYIFCN_INLINE Sheet<E> packed(E* buffer, const Reach& reach, int vectors) {
  const int64_t pixel = int64_t(vectors) * V::lanes;
  return {buffer, reach.rows.first, reach.columns.first, reach.width() * pixel, pixel, V::lanes};
}

// Lanes beyond the classes hold anything.
template <class E>
PYIFCN_INLINE void pack(const Reach& reach, int64_t classes, const Sheet<const E>& maps,
                        const Sheet<E>& buffer) {
  for (int64_t y = reach.rows.first; y < reach.rows.last; ++y)
    transpose(maps.at(y, reach.columns.first), maps.vector, classes, reach.width(),
              buffer.at(y, reach.columns.first), buffer.pixel);
}

template <class E>
PYIFCN_INLINE void unpack(const Reach& reach, int64_t classes, const Sheet<E>& buffer, const Sheet<E>& maps) {
  for (int64_t y = reach.rows.first; y < reach.rows.last; ++y)
    transpose(static_cast<const E*>(buffer.at(y, reach.columns.first)), buffer.pixel, reach.width(), classes,
              maps.at(y, reach.columns.first), maps.vector);
}

// Calls work<vectors>(first class, classes) for blocks of classes that together are all, each of at most
// `most` vectors.
template <int kLanes, class Work>
PYIFCN_INLINE void each_block(int64_t classes, int64_t most, Work work) {
  for (int64_t first = 0; first < classes; first += kLanes * most) {
    const int64_t left = classes - first, count = left < kLanes * most ? left : kLanes * most;
    if (count <= kLanes)
      work.template operator()<1>(first, count);
    else if (count <= 2 * kLanes)
      work.template operator()<2>(first, count);
    else if (count <= 3 * kLanes)
      work.template operator()<3>(first, count);
    else
      work.template operator()<4>(first, count);
  }
}

// How many vectors of each pixel within reach the cache holds.
template <class V>
PYIFCN_INLINE int64_t vectors_in_cache(const Reach& reach) {
  const int64_t bytes = reach.height() * reach.width() * V::lanes * int64_t(sizeof(typename V::T));
  const int64_t vectors = kCacheBytes / bytes;
  return vectors < 1 ? 1 : vectors > kMostVectors ? kMostVectors : vectors;
}

template <class V, int kVectors, class E, class Bins>
PYIFCN_INLINE void read_bins(const PsRoiJob<E, Bins>& job, const Cell& cell, const Sheet<const E>& maps,
                             int64_t first) {
  each_bin(job.layout, cell, [&](int64_t roi, int64_t k, int64_t l, int64_t bin) {
    E* out = job.pooled.data + (roi * job.pooled.shape[1] + bin) * job.pooled.shape[2] + first;
    read_bin<V, kVectors, E>(job.bins, roi, k, l, maps, out);
  });
}

template <class E, class Bins>
PYIFCN_INLINE void run(const PsRoiJob<E, Bins>& job, E* buffer, int64_t task) {
  const Cell cell(job.layout, task);
  const Reach reach(job.layout, job.bins, cell);
  if (reach.worth_packing(job.layout.classes, Vec<E>::lanes))
    each_block<Vec<E>::lanes>(
        job.layout.classes, vectors_in_cache<Vec<E>>(reach), [&]<int kVectors>(int64_t first, int64_t count) {
          const Sheet<E> sheet = packed<Vec<E>>(buffer, reach, kVectors);
          pack<E>(reach, count, in_place(job.maps, cell, first), sheet);
          read_bins<Vec<E>, kVectors>(
              job, cell, {sheet.data, sheet.top, sheet.left, sheet.row, sheet.pixel, sheet.vector}, first);
        });
  else
    each_block<1>(job.layout.classes, kMostVectors, [&]<int kVectors>(int64_t first, int64_t) {
      read_bins<Scalar<E>, kVectors>(job, cell, in_place(job.maps, cell, first), first);
    });
}

template <class V, int kVectors, class E, class Bins>
PYIFCN_INLINE void add_bins(const PsRoiBackwardJob<E, Bins>& job, const Cell& cell, const Sheet<E>& maps,
                            int64_t first) {
  each_bin(job.layout, cell, [&](int64_t roi, int64_t k, int64_t l, int64_t bin) {
    const E* grad =
        job.grad_pooled.data + (roi * job.grad_pooled.shape[1] + bin) * job.grad_pooled.shape[2] + first;
    add_bin<V, kVectors, E>(job.bins, roi, k, l, grad, maps);
  });
}

template <class E, class Bins>
PYIFCN_INLINE void run(const PsRoiBackwardJob<E, Bins>& job, E* buffer, int64_t task) {
  const Cell cell(job.layout, task);
  const Reach reach(job.layout, job.bins, cell);
  if (reach.worth_packing(job.layout.classes, Vec<E>::lanes))
    each_block<Vec<E>::lanes>(job.layout.classes, vectors_in_cache<Vec<E>>(reach),
                              [&]<int kVectors>(int64_t first, int64_t count) {
                                const Sheet<E> sheet = packed<Vec<E>>(buffer, reach, kVectors);
                                const int64_t elements = reach.height() * sheet.row;
                                for (int64_t i = 0; i < elements; ++i) buffer[i] = 0;
                                add_bins<Vec<E>, kVectors>(job, cell, sheet, first);
                                unpack(reach, count, sheet, in_place(job.grad_maps, cell, first));
                              });
  else
    each_block<1>(job.layout.classes, kMostVectors, [&]<int kVectors>(int64_t first, int64_t) {
      add_bins<Scalar<E>, kVectors>(job, cell, in_place(job.grad_maps, cell, first), first);
    });
}

}  // namespace

#define PYIFCN_TURN(E)                                                                            \
  template <>                                                                                     \
  void turn<kTarget, E>(const E* from, int64_t from_stride, int64_t rows, int64_t columns, E* to, \
                        int64_t to_stride) {                                                      \
    transpose(from, from_stride, rows, columns, to, to_stride);                                   \
  }
PYIFCN_TURN(float)
PYIFCN_TURN(double)

#define PYIFCN_PS_ROI(E, Bins)                                                                           \
  template <>                                                                                            \
  void ps_roi<kTarget, E, Bins>(const PsRoiJob<E, Bins>& job, E* buffer, int64_t begin, int64_t end) {   \
    for (int64_t task = begin; task < end; ++task) run(job, buffer, task);                               \
  }                                                                                                      \
  template <>                                                                                            \
  void ps_roi_backward<kTarget, E, Bins>(const PsRoiBackwardJob<E, Bins>& job, E* buffer, int64_t begin, \
                                         int64_t end) {                                                  \
    for (int64_t task = begin; task < end; ++task) run(job, buffer, task);                               \
  }
PYIFCN_PS_ROI(float, Rectangles)
PYIFCN_PS_ROI(double, Rectangles)
PYIFCN_PS_ROI(float, Samples<float>)
PYIFCN_PS_ROI(double, Samples<double>)

}  // namespace pyifcn
