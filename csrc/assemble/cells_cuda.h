// Cells as the CUDA kernels know them: computed, not looked up.
#pragma once

#include <cstdint>

#include "core/target.h"

namespace pyifcn {

// cell(i) of a row or column, as in assemble/cells.h. 32 bits hold all of it for sizes up to kMostSize.
struct Cells {
  static constexpr int64_t kMostSize = 1 << 15;
  int32_t grid, size;
  bool nearest;

  PYIFCN_INLINE int32_t operator()(int32_t i) const {
    const uint32_t k = uint32_t(grid), m = uint32_t(size), u = uint32_t(i);
    return int32_t(nearest ? (2 * u + 1) * k / (2 * m) : u * k / m);
  }
  // The first row or column of a cell, `size` for cell K.
  PYIFCN_INLINE int32_t first(int32_t cell) const {
    const uint32_t k = uint32_t(grid), m = uint32_t(size), c = uint32_t(cell);
    return int32_t(nearest ? (2 * m * c + k - 1) / (2 * k) : (m * c + k - 1) / k);
  }
};

}  // namespace pyifcn
