// How the processor rounds and what it does with denormal numbers, which a thread sets for itself alone.
#pragma once

#include <cstdint>

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace pyifcn {

#if defined(__x86_64__)

using FloatMode = unsigned;

inline FloatMode float_mode() { return _mm_getcsr(); }
inline void set_float_mode(FloatMode mode) { _mm_setcsr(mode); }

#elif defined(__aarch64__)

using FloatMode = uint64_t;

inline FloatMode float_mode() {
  FloatMode mode;
  asm volatile("mrs %0, fpcr" : "=r"(mode));
  return mode;
}
inline void set_float_mode(FloatMode mode) { asm volatile("msr fpcr, %0" : : "r"(mode)); }

#else

struct FloatMode {};

inline FloatMode float_mode() { return {}; }
inline void set_float_mode(FloatMode) {}

#endif

}  // namespace pyifcn
