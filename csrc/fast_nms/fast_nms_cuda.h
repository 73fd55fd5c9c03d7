// Fast NMS of boxes on CUDA.
#pragma once

#include <cstdint>

#include "core/stream.h"
#include "core/view.h"

namespace pyifcn {

template <class E>
struct FastNmsCudaJob {
  View<const E, 2> boxes;        // (N, 4)
  const int64_t* idxs;           // (N,), by index, the categories; null: all are of one
  View<const int64_t, 1> order;  // (N,), indices: by category, and in each by falling score
  E threshold;                   // the largest E not above the threshold: decides as the double would
  View<int32_t, 1> gone;         // (N,), by index, zeros: becomes 1 where a box is suppressed
};

template <class E>
void fast_nms_cuda(const FastNmsCudaJob<E>& job, const Stream& stream);

}  // namespace pyifcn
