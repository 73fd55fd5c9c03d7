// Assembling on CUDA, where the maps are not padded and the cells are computed rather than looked up.
#pragma once

#include <cstdint>

#include "core/stream.h"
#include "core/target.h"
#include "core/view.h"

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

template <class E>
struct AssembleCudaJob {
  View<const E, 4> maps;           // (B, K K, H, W)
  View<const int64_t, 2> windows;  // (N, 3), or data == nullptr: every window, row-major
  View<E, 3> out;                  // (N, size, size)
  Cells cells;
  E pad;
  E outside;  // what all pixels of a window centred outside the maps read
};

template <class E>
void assemble_cuda(const AssembleCudaJob<E>& job, const Stream& stream);

template <class E>  // float or double
struct AssembleBackwardCudaJob {
  View<const E, 3> grad_out;       // (N, size, size)
  View<const int64_t, 2> windows;  // as above; windows centred outside the maps add nothing
  View<E, 4> grad_maps;            // (B, K K, H, W), all are written
  Cells cells;
};

template <class E>
void assemble_backward_cuda(const AssembleBackwardCudaJob<E>& job, const Stream& stream);

}  // namespace pyifcn
