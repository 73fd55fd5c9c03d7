// The arrays of a Masks in device memory, read from Python's tensors.
#pragma once

#include "core/bind.h"
#include "masks/masks_cuda.h"

namespace pyifcn {

// They have been checked when the Masks was made.
inline CudaMasks masks_on_device(py::handle boxes, py::handle offsets, py::handle words) {
  return {as_array(boxes, "boxes").view<const int32_t, 2>(),
          as_array(offsets, "offsets").view<const int64_t, 1>(),
          as_array(words, "words").view<const uint64_t, 1>()};
}

}  // namespace pyifcn
