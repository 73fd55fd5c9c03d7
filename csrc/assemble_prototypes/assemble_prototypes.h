// Assembling instance masks from prototypes (Bolya et al. 2019, YOLACT, section 3.1).
//
// Inside the box of detection n, pixel (y, x) is the sigmoid, or plainly the value, of the sum over k of
// coefficients[n, k] prototypes[image, k, y, x]; outside it is 0. All sums start at 0 and are made in a fixed
// order, each operation rounded once.
#pragma once

#include <cstdint>

#include "core/target.h"
#include "core/view.h"

namespace pyifcn {

// Pixels [x1, x2) of rows [y1, y2), inside the prototypes; empty: all 0.
struct Crop {
  int32_t x1, y1, x2, y2;
};

// Detections by image: those of image b are order[starts[b]] to order[starts[b + 1] - 1], by number.
struct Detections {
  const Crop* crops;      // (N,)
  const int64_t* images;  // (N,)
  const int64_t* order;   // (N,)
  const int64_t* starts;  // (B + 1,)
};

template <class E>
struct PrototypesJob {
  View<const E, 4> prototypes;    // (B, K, H, W)
  View<const E, 2> coefficients;  // (N, K)
  Detections detections;
  bool sigmoid;
  E* out;  // (N, H, W)
};

// A task is a row of an image: b H + y.
template <Target T, class E>
void assemble_prototypes(const PrototypesJob<E>& job, int64_t begin, int64_t end);

// Sums of a coefficient's gradient: pixel (y, x) goes to kColumnSums (y - y1) % kRowSums + (x - x1) %
// kColumnSums, row by row; then, from the most to one, the upper half of them is added to the lower.
constexpr int kColumnSums = 16, kRowSums = 4, kSums = kColumnSums * kRowSums;

template <class E>
struct PrototypesBackwardJob {
  View<const E, 4> prototypes;
  View<const E, 2> coefficients;
  Detections detections;
  const E* grad_out;     // (N, H, W)
  const E* out;          // (N, H, W), or nullptr: without sigmoid
  E* grad_prototypes;    // (B, K, H, W), zeros
  E* grad_coefficients;  // (N, K)
};

// Tasks as above; each pixel's sum in the order of the detections. `row` has room for W.
template <Target T, class E>
void assemble_prototypes_backward(const PrototypesBackwardJob<E>& job, E* row, int64_t begin, int64_t end);

// Detections [begin, end). `row` has room for W, `sums` for K kSums.
template <Target T, class E>
void assemble_coefficients_backward(const PrototypesBackwardJob<E>& job, E* row, E* sums, int64_t begin,
                                    int64_t end);

}  // namespace pyifcn
