// The types of elements that a module's kernels compute with. The CPU's read no half types: Python widens
// those.
#pragma once

#include <type_traits>

#include "core/bind.h"
#include "core/element.h"

namespace pyifcn {

#if defined(PYIFCN_CUDA_MODULE) || defined(PYIFCN_CUDA_EMULATION)
inline constexpr bool kReadsHalf = true;
#else
inline constexpr bool kReadsHalf = false;
#endif

inline void check_elements(const Array& array) {
  const Dtype d = array.dtype;
  const bool is_half = d == Dtype::float16 || d == Dtype::bfloat16;
  if (d != Dtype::float32 && d != Dtype::float64 && !(kReadsHalf && is_half))
    throw type_error(
        sentence(array.name, " is ", array.dtype_name(), ", expected float16, bfloat16, float32 or float64"));
}

// Calls `work` with the type of an element in memory, as std::type_identity, and without the GIL.
template <class Work>
void by_element(const Array& array, Work work) {
  const GilReleased released;
  if constexpr (kReadsHalf) {
    if (array.dtype == Dtype::float16) return work(std::type_identity<Float16>());
    if (array.dtype == Dtype::bfloat16) return work(std::type_identity<Bfloat16>());
  }
  if (array.dtype == Dtype::float64) return work(std::type_identity<double>());
  work(std::type_identity<float>());
}

}  // namespace pyifcn
