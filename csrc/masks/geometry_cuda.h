// Masks moved, mirrored and resized on CUDA; either pass of masks/build_cuda.h.
#pragma once

#include <cstdint>

#include "core/stream.h"
#include "masks/build_cuda.h"
#include "masks/masks_cuda.h"

namespace pyifcn {

struct CudaImage {
  int64_t height, width;
};

// Moved by (dx, dy) into an image, and cut at its border. Neither is beyond 2^31.
void shift_masks_cuda(const CudaMasks& masks, int64_t dx, int64_t dy, const CudaImage& image,
                      const MasksInMaking& made, const Stream& stream);

// Left and right exchanged, or top and bottom.
void flip_masks_cuda(const CudaMasks& masks, bool horizontal, const CudaImage& image,
                     const MasksInMaking& made, const Stream& stream);

// From one image to another: pixel d of a side comes from pixel floor((2 d + 1) in / (2 out)).
void resize_masks_cuda(const CudaMasks& masks, const CudaImage& from, const CudaImage& to,
                       const MasksInMaking& made, const Stream& stream);

}  // namespace pyifcn
