// The arrays of a Masks in device memory, read from Python's tensors.
#pragma once

#include "core/bind.h"
#include "masks/build_cuda.h"
#include "masks/masks_cuda.h"

namespace pyifcn {

// They have been checked when the Masks was made.
inline CudaMasks masks_on_device(py::handle boxes, py::handle offsets, py::handle words) {
  return {as_array(boxes, "boxes").view<const int32_t, 2>(),
          as_array(offsets, "offsets").view<const int64_t, 1>(),
          as_array(words, "words").view<const uint64_t, 1>()};
}

// Masks that are made; `words` is None in the first pass.
inline MasksInMaking masks_in_making(py::handle boxes, py::handle offsets, py::handle words) {
  MasksInMaking made{as_array(boxes, "boxes").view<int32_t, 2>(),
                     as_array(offsets, "offsets").view<int64_t, 1>(),
                     {nullptr, {0}},
                     !words.is_none()};
  if (made.are_placed) made.words = as_array(words, "words").view<uint64_t, 1>();
  return made;
}

}  // namespace pyifcn
