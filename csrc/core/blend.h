// Bilinear interpolation of values of which some may be NaN or infinite.
#pragma once

#include "core/target.h"

namespace pyifcn {

// NaN counts as the lowest value, and the difference of two values is no infinity.
PYIFCN_INLINE float finite(float value) {
  constexpr float kMost = 8.5e37f;
  const float low = value > -kMost ? value : -kMost;
  return low < kMost ? low : kMost;
}
PYIFCN_INLINE double finite(double value) {
  constexpr double kMost = 4.4e307;
  const double low = value > -kMost ? value : -kMost;
  return low < kMost ? low : kMost;
}

// V is a number or a vector of them.
template <class V>
PYIFCN_INLINE V blend(V a, V b, V weight) {
  return a + weight * (b - a);
}

}  // namespace pyifcn
