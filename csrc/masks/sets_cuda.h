// Union, intersection and difference of masks on CUDA; either pass of masks/build_cuda.h.
#pragma once

#include <cstdint>

#include "core/stream.h"
#include "masks/build_cuda.h"
#include "masks/masks_cuda.h"

namespace pyifcn {

enum class CudaSetOp { unite, intersect, subtract };

// Mask i with mask i, or the only one of either side with each of the other.
void combine_masks_cuda(CudaSetOp op, const CudaMasks& a, const CudaMasks& b, const MasksInMaking& made,
                        const Stream& stream);

// One mask of all. `frame` (4,) is the tight box of their union, or the box that all boxes share; empty where
// there is none. For a union the words are zeros before the second pass.
void merge_masks_cuda(const CudaMasks& masks, const View<const int32_t, 1>& frame, bool intersect,
                      const MasksInMaking& made, const Stream& stream);

}  // namespace pyifcn
