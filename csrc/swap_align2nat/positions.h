// Where swap_align2nat reads along each axis, for the CPU and for CUDA. Along every axis a sample is a mix of
// two neighbours.
#pragma once

#include <cstdint>

#include "core/target.h"

namespace pyifcn {

// Elements `low` and low + 1, either of which may lie outside. The second is not read if its weight is 0.
template <class E>
struct Neighbours {
  int64_t low;
  E low_weight, high_weight;
};

// Sizes of the input: `side` units of the window along each of its axes, V = U; and how many pixels a unit
// has.
struct SwapShape {
  int64_t side, lambda, height, width;

  PYIFCN_INLINE int64_t out_side() const { return side * lambda; }
  PYIFCN_INLINE int64_t out_height() const { return (height + lambda - 1) / lambda; }
  PYIFCN_INLINE int64_t out_width() const { return (width + lambda - 1) / lambda; }

  // Of the output's unit v, at (v + 1/2) / lambda - 1/2.
  template <class E>
  PYIFCN_INLINE Neighbours<E> unit(int64_t v) const {
    const int64_t at = 2 * v + 1 - lambda, low = at < 0 ? -1 : at / (2 * lambda);
    const E high_weight = E(at - low * 2 * lambda) / E(2 * lambda);
    return {low, E(1) - high_weight, high_weight};
  }

  // Of the output's pixel y in its unit v, at lambda y + v - out_side / 2 + 1/2. Weights depend on the sizes
  // alone.
  template <class E>
  PYIFCN_INLINE Neighbours<E> pixel(int64_t y, int64_t v) const {
    const E high_weight = out_side() % 2 == 0 ? E(0.5) : E(0);
    return {lambda * y + v - out_side() / 2, E(1) - high_weight, high_weight};
  }

  // Calls work(v, weight) for the output's units that read unit `own` and have a pixel whose `low` is at
  // `pixel`, by rising v: there are at most two.
  template <class E, class Work>
  PYIFCN_INLINE void each_reader(int64_t own, int64_t pixel, Work work) const {
    const int64_t nearest = (2 * lambda * own - lambda + 1) / 2, first = nearest < 0 ? 0 : nearest;
    const int64_t end = (2 * lambda * own + 3 * lambda) / 2, last = end < out_side() ? end : out_side();
    const int64_t distance = (pixel + out_side() / 2 - first) % lambda;
    for (int64_t v = first + (distance < 0 ? distance + lambda : distance); v < last; v += lambda) {
      const Neighbours<E> pair = unit<E>(v);
      work(v, pair.low == own ? pair.low_weight : pair.high_weight);
    }
  }
};

}  // namespace pyifcn
