// Pooling in RoIs on CUDA, where each thread works out by itself where bins lie: no tables, no workspace.
#pragma once

#include <cstdint>

#include "core/element.h"
#include "core/stream.h"
#include "core/view.h"
#include "ps_roi/bins.h"

namespace pyifcn {

// S is the type of elements in memory: Float16, Bfloat16, float or double.
template <class S>
struct PsRoiCudaJob {
  Rois<Computed<S>> rois;
  int64_t grid_height, grid_width;
  View<const S, 4> maps;  // (B, C cells, H, W)
  View<S, 4> pooled;      // (N, C, pooled height, pooled width): NaN for RoIs of images that are not there
};

template <class S>
struct PsRoiBackwardCudaJob {
  Rois<Computed<S>> rois;
  int64_t grid_height, grid_width;
  View<const S, 4> grad_pooled;  // (N, C, pooled height, pooled width)
  View<S, 4> grad_maps;          // (B, C cells, H, W): all are written
};

// `Rule` is one of bins.h. The sums and their order are the CPU's, and so are the bits.
template <class Rule, class S>
void ps_roi_cuda(const PsRoiCudaJob<S>& job, const Stream& stream);

template <class Rule, class S>
void ps_roi_backward_cuda(const PsRoiBackwardCudaJob<S>& job, const Stream& stream);

}  // namespace pyifcn
