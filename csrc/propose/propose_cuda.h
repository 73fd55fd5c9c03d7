// The tight boxes of all windows of one pyramid level on CUDA.
#pragma once

#include <cstdint>

#include "assemble/cells_cuda.h"
#include "core/stream.h"
#include "core/view.h"
#include "propose/propose.h"

namespace pyifcn {

template <class E>
struct ProposeBoxesJob {
  View<const E, 4> maps;  // (B, K K, H, W)
  Cells cells;
  Foreground<E> foreground;
  float stride;
  View<float, 3> boxes;  // (B, N, 4): windows [first, first + H W) are written, row-major
  View<bool, 2> empty;   // (B, N): whether the window's mask has no pixel
  int64_t first;
};

template <class E>
void propose_boxes_cuda(const ProposeBoxesJob<E>& job, const Stream& stream);

}  // namespace pyifcn
