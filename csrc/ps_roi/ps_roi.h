// Pooling in regions of interest, each cell of a grid from its own maps: position-sensitive RoI pooling (Dai
// et al. 2016, R-FCN; Li et al. 2017, FCIS) and position-sensitive RoI align (Li et al. 2017, Light-Head
// R-CNN).
//
// Cell (i, j) of the grid owns map (c grid height + i) grid width + j of each class c, and of each RoI the
// same number of bins. Where the bins lie is what tells the operators apart; bins.h says so, and the kernels
// only add up. The sums of a bin, and in the backward pass those of a pixel, are made in a fixed order: RoI
// by RoI, bin by bin, row by row.
#pragma once

#include <cstdint>

#include "core/target.h"
#include "core/view.h"

namespace pyifcn {

// Pixels [first, last) along one axis.
struct Span {
  int32_t first, last;
};

// Bins that average the pixels of a rectangle; 0 where it is empty.
struct Rectangles {
  const Span* rows;     // (N, pooled height)
  const Span* columns;  // (N, pooled width)
};

// The two pixels about a sample along one axis, and their weights.
template <class E>
struct SampleTap {
  int32_t low, high;
  E low_weight, high_weight;
};

// Taps of RoI n's bin i along one axis: [starts[k], starts[k + 1]) with k = n bins + i.
template <class E>
struct Taps {
  const SampleTap<E>* taps;
  const int64_t* starts;
};

// Bins that average samples, each interpolated between four pixels.
template <class E>
struct Samples {
  const Span *rows, *columns;  // what the taps read, as in Rectangles
  Taps<E> row_taps, column_taps;
  const E* counts;  // (N,) samples of a bin, among them those outside the map, which are 0 and have no taps
};

// What the forward and the backward pass share. A cell's task is (image grid height + i) grid width + j.
struct RoiLayout {
  const int64_t* order;   // (N,) RoIs by image, then by number
  const int64_t* starts;  // (B + 1,) where each image's begin
  int64_t grid_height, grid_width, pooled_height, pooled_width;
  int64_t classes, width;  // `width` is `classes`, from kFewestPacked on rounded up to whole vectors
};

constexpr int64_t kFewestPacked = 4;       // classes that are worth a vector
constexpr int64_t kVectorBytes = 64;       // the longest vector
constexpr int64_t kMostPackedBytes = 256;  // of a pixel in the buffer of a task

template <class E, class Bins>
struct PsRoiJob {
  RoiLayout layout;
  Bins bins;
  View<const E, 4> maps;  // (B, C cells, H, W)
  View<E, 3> pooled;      // (N, bins, width)
};

// Tasks [begin, end). `buffer` has room for H W kMostPackedBytes.
template <Target T, class E, class Bins>
void ps_roi(const PsRoiJob<E, Bins>& job, E* buffer, int64_t begin, int64_t end);

template <class E, class Bins>
struct PsRoiBackwardJob {
  RoiLayout layout;
  Bins bins;
  View<const E, 3> grad_pooled;  // (N, bins, width)
  View<E, 4> grad_maps;          // (B, C cells, H, W), zeros
};

template <Target T, class E, class Bins>
void ps_roi_backward(const PsRoiBackwardJob<E, Bins>& job, E* buffer, int64_t begin, int64_t end);

// to[c to_stride + r] = from[r from_stride + c].
template <Target T, class E>
void turn(const E* from, int64_t from_stride, int64_t rows, int64_t columns, E* to, int64_t to_stride);

}  // namespace pyifcn
