// Greedy non-maximum suppression on a matrix of similarities on CUDA.
#pragma once

#include "core/element.h"
#include "core/stream.h"
#include "core/view.h"
#include "nms/greedy_cuda.h"

namespace pyifcn {

template <class S>
struct IouCudaJob {
  GreedyCudaJob greedy;   // of one image
  View<const S, 2> iou;   // (N, N)
  Computed<S> threshold;  // the largest not above the threshold: decides as the double would
};

// S: float, double, Float16 or Bfloat16.
template <class S>
void nms_from_iou_cuda(const IouCudaJob<S>& job, const Stream& stream);

}  // namespace pyifcn
