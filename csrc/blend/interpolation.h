// Where torch's bilinear interpolate with align_corners=False reads along one axis, for the CPU and for CUDA.
#pragma once

#include <cstdint>

#include "core/target.h"

namespace pyifcn {

// The two elements about a pixel and their weights; at the far end both are the same one.
template <class E>
struct BlendTap {
  int32_t low, high;
  E low_weight, high_weight;
};

// Of pixel i of `pixels`, among `size` elements.
template <class E>
PYIFCN_INLINE BlendTap<E> tap_of(int64_t i, int64_t pixels, int64_t size) {
  const E at = E(size) / E(pixels) * (E(i) + E(0.5)) - E(0.5), inside = at < 0 ? E(0) : at;
  const int32_t last = int32_t(size - 1);
  const int32_t low = int32_t(inside) < last ? int32_t(inside) : last;
  const E high_weight = inside - E(low);
  return {low, low < last ? low + 1 : last, E(1) - high_weight, high_weight};
}

}  // namespace pyifcn
