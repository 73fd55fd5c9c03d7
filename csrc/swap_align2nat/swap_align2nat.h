// From the aligned to the natural representation of masks, with the units of windows and pixels swapped (Chen
// et al. 2019, TensorMask, section 4.3).
//
// Output (v, u, y, x) samples the input (v', u', y', x') linearly, at the places that positions.h says: it
// mixes along y', then v', then x', then u', each low + high, each operation rounded once. What lies outside
// is `pad`.
#pragma once

#include <cstdint>

#include "core/target.h"
#include "core/view.h"
#include "swap_align2nat/positions.h"

namespace pyifcn {

template <class E>
struct SwapJob {
  SwapShape shape;
  const E* in;  // (B, V, V, H, W)
  E pad;
  E* out;  // (B, lambda V, lambda V, ceil(H / lambda), ceil(W / lambda))
};

// Elements q * lambda + r of a row (W + 1), for each r.
constexpr int64_t swap_row_length(const SwapShape& shape) { return shape.width / shape.lambda + 1; }

// Elements of scratch memory: a row of each u', one of pads, and one with a pixel on both sides.
constexpr int64_t swap_scratch(const SwapShape& shape) {
  return (shape.side * shape.lambda + 1) * swap_row_length(shape) + shape.width + 2;
}

// A task is a row of the output of all u: (b lambda V + v) ceil(H / lambda) + y.
template <Target T, class E>
void swap_align2nat(const SwapJob<E>& job, E* scratch, int64_t begin, int64_t end);

// The gradient of what is mixed along x' and u', to that of the rows that are: (V, W) of each task. Sums
// start at 0; an element adds up the output's u upwards.
template <class E>
struct SwapColumnsJob {
  SwapShape shape;
  const E* grad_out;
  E* rows;  // (B, lambda V, ceil(H / lambda), V, W)
};

// Tasks as above; `scratch` has swap_scratch elements.
template <Target T, class E>
void swap_align2nat_columns(const SwapColumnsJob<E>& job, E* scratch, int64_t begin, int64_t end);

// The gradient of the rows, to that of the input. Sums start at 0; an element adds up the rows that have it
// as their low one, then those that have it as their high one, each by rising v.
template <class E>
struct SwapRowsJob {
  SwapShape shape;
  const E* rows;
  E* grad_in;
};

// A task is a row of the input of all u': (b V + v') H + y'.
template <Target T, class E>
void swap_align2nat_rows(const SwapRowsJob<E>& job, int64_t begin, int64_t end);

}  // namespace pyifcn
