// Masks from bytes and back, and their areas, on CUDA.
#pragma once

#include <cstdint>

#include "core/stream.h"
#include "masks/build_cuda.h"
#include "masks/masks_cuda.h"

namespace pyifcn {

// Bytes of (N, H, W); a pixel is inside where its byte is not 0.
using DenseMasks = View<const uint8_t, 3>;

void box_dense_cuda(const DenseMasks& dense, const View<int32_t, 2>& boxes, const View<int64_t, 1>& offsets,
                    const Stream& stream);
void fill_dense_cuda(const DenseMasks& dense, const View<const int32_t, 2>& boxes,
                     const View<const int64_t, 1>& offsets, const View<uint64_t, 1>& words,
                     const Stream& stream);

// Writes all of `dense` (N, H, W), bytes of 0 and 1.
void masks_to_dense_cuda(const CudaMasks& masks, const View<uint8_t, 3>& dense, const Stream& stream);

void masks_area_cuda(const CudaMasks& masks, const View<int64_t, 1>& area, const Stream& stream);

}  // namespace pyifcn
