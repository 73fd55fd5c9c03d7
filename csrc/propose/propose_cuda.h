// The tight boxes of all windows of a pyramid on CUDA, and what is told of the windows that are proposed.
#pragma once

#include <cstdint>

#include "assemble/cells_cuda.h"
#include "core/stream.h"
#include "core/view.h"
#include "propose/propose.h"
#include "propose/pyramid_cuda.h"

namespace pyifcn {

template <class E>
struct ProposeBoxesJob {
  CudaPyramid pyramid;  // of maps of E
  Cells cells;
  Foreground<E> foreground;
  View<float, 3> boxes;  // (B, N, 4): of each window, in image pixels, not clipped
  View<bool, 2> empty;   // (B, N): whether the window's mask has no pixel
};

template <class E>
void propose_boxes_cuda(const ProposeBoxesJob<E>& job, const Stream& stream);

// One image's proposals: the windows `keep` (most,), of which the first *count are there.
template <class E>
struct ProposedJob {
  CudaPyramid pyramid;
  const int64_t *keep, *count;
  View<const E, 1> objectness;  // (N,) logits
  View<const float, 2> boxes;   // (N, 4)
  int64_t height, width;        // to which boxes are clipped
  View<int64_t, 2> windows;     // (most, 3): level, y, x
  View<float, 2> clipped;       // (most, 4)
  View<float, 1> scores;        // (most,): sigmoid of the logit
};

template <class E>  // float or double
void proposed_cuda(const ProposedJob<E>& job, const Stream& stream);

// The logits of one image's windows.
template <class E>
struct ProposeLogitsJob {
  CudaPyramid pyramid;
  View<const int64_t, 2> windows;  // (N, 3): level, y, x
  int64_t image;
  Cells cells;
  E pad;           // outside the maps
  View<E, 3> out;  // (N, size, size)
};

template <class E>
void propose_logits_cuda(const ProposeLogitsJob<E>& job, const Stream& stream);

}  // namespace pyifcn
