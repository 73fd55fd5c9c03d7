// The whole numbers that votes are counted in.
#pragma once

#include <cfloat>
#include <cmath>
#include <cstdint>

#include "core/target.h"

namespace pyifcn {

// Whether shares of this sum can be told as whole numbers.
PYIFCN_INLINE bool is_countable(double sum) { return sum > 0 && sum <= DBL_MAX; }

// The power of two that makes the sum of shares about 2^30.
PYIFCN_INLINE int weight_scale(double sum) { return 30 - ilogb(sum) - 1; }

PYIFCN_INLINE uint32_t weight_of(double share, int scale) {
  return share > 0 ? uint32_t(lround(scalbn(share, scale))) : 0;
}

// The least weight of votes that reaches `threshold` of all. 2^-20 is more than the product is rounded by: a
// share that is just the threshold reaches it.
PYIFCN_INLINE uint32_t weight_threshold(double threshold, double total) {
  const double least = ceil(threshold * total - 0x1p-20);
  return uint32_t(least > 1 ? least : 1.0);
}

}  // namespace pyifcn
