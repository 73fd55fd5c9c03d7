// Assembling on CUDA, where the maps are not padded and the cells are computed rather than looked up.
#pragma once

#include <cstdint>

#include "assemble/cells_cuda.h"
#include "core/stream.h"
#include "core/view.h"

namespace pyifcn {

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
