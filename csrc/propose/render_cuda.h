// The masks of windows at the image's resolution on CUDA.
#pragma once

#include <cstdint>

#include "core/stream.h"
#include "core/view.h"
#include "propose/pyramid_cuda.h"

namespace pyifcn {

struct RenderCudaJob {
  struct Level {
    double stride;
    int32_t height, width;
  };
  View<const float, 3> logits;     // (N, size, size)
  View<const int64_t, 2> windows;  // (N, 3): level, y, x
  int64_t height, width;           // of the image, in pixels
  float threshold;                 // a pixel is set where the interpolated logit is above
  int64_t levels_count;
  Level levels[CudaPyramid::kMost];
};

// The two passes of masks/build_cuda.h.
void render_boxes_cuda(const RenderCudaJob& job, const View<int32_t, 2>& boxes,
                       const View<int64_t, 1>& offsets, const Stream& stream);
void render_words_cuda(const RenderCudaJob& job, const View<const int32_t, 2>& boxes,
                       const View<const int64_t, 1>& offsets, const View<uint64_t, 1>& words,
                       const Stream& stream);

}  // namespace pyifcn
