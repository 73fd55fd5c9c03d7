// The levels of a pyramid, as they are handed to a kernel.
#pragma once

#include <cstdint>

#include "core/target.h"

namespace pyifcn {

struct CudaLevel {
  const void* maps;  // (B, K K, height, width)
  int64_t first;     // its first window: windows are counted over all levels, row-major
  int32_t height, width;
  float stride;  // in pixels of the image
};

struct CudaPyramid {
  static constexpr int kMost = 64;
  int32_t count;
  CudaLevel levels[kMost];

  PYIFCN_INLINE int32_t level_of(int64_t window) const {
    int32_t level = count - 1;
    while (level > 0 && window < levels[level].first) --level;
    return level;
  }
};

}  // namespace pyifcn
