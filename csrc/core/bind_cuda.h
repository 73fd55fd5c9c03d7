// What binding adds for CUDA.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>

#include "core/stream.h"

namespace pyifcn {

// (device index, stream handle), what `_array.compiled` gives for a CUDA tensor.
inline Stream stream_of(const pybind11::tuple& execution) {
  return {execution[0].cast<int>(), reinterpret_cast<CUstream_st*>(execution[1].cast<uintptr_t>())};
}

}  // namespace pyifcn
