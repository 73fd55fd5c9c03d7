// Elements as CUDA kernels read and write them: float16 and bfloat16 in memory, computed in float.
#pragma once

#include <cstdint>
#include <type_traits>

#include "core/half.h"
#include "core/target.h"

namespace pyifcn {

struct Float16 {
  uint16_t bits;
};
struct Bfloat16 {
  uint16_t bits;
};

// The type that elements of type S are computed in.
template <class S>
using Computed = std::conditional_t<std::is_floating_point_v<S>, S, float>;

PYIFCN_INLINE float computed(float element) { return element; }
PYIFCN_INLINE double computed(double element) { return element; }
PYIFCN_INLINE float computed(Bfloat16 element) { return from_bfloat16(element.bits); }
PYIFCN_INLINE float computed(Float16 element) {
#ifdef __CUDA_ARCH__
  float value;
  asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(element.bits));
  return value;
#else
  return from_float16(element.bits);
#endif
}

// Rounded to the nearest element of type S, ties to even.
template <class S>
PYIFCN_INLINE S stored(Computed<S> value) {
  if constexpr (std::is_same_v<S, Bfloat16>) {
    return {to_bfloat16(value)};
  } else if constexpr (std::is_same_v<S, Float16>) {
#ifdef __CUDA_ARCH__
    uint16_t bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
    return {bits};
#else
    return {to_float16(value)};
#endif
  } else {
    return value;
  }
}

}  // namespace pyifcn
