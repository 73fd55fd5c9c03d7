// Greedy non-maximum suppression of boxes on CUDA, of several images side by side.
#pragma once

#include <cstdint>

#include "core/stream.h"
#include "core/view.h"
#include "nms/greedy_cuda.h"

namespace pyifcn {

// B images of N boxes each.
template <class E>
struct NmsCudaJob {
  GreedyCudaJob greedy;
  View<const E, 3> boxes;  // (B, N, 4)
  const int64_t* idxs;  // (B, N): boxes of different categories leave each other alone; null: all are of one
  E threshold;          // the largest E not above the threshold: decides as the double would
};

template <class E>
void nms_cuda(const NmsCudaJob<E>& job, const Stream& stream);

}  // namespace pyifcn
