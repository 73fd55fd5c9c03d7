// float16 and bfloat16 to float and back, on the bits; rounding to nearest even.
#pragma once

#include <cstdint>

#include "core/target.h"

namespace pyifcn {

PYIFCN_INLINE float float_from_bits(uint32_t bits) {
  float value;
  __builtin_memcpy(&value, &bits, 4);
  return value;
}

PYIFCN_INLINE uint32_t bits_of(float value) {
  uint32_t bits;
  __builtin_memcpy(&bits, &value, 4);
  return bits;
}

PYIFCN_INLINE float from_bfloat16(uint16_t bits) { return float_from_bits(uint32_t(bits) << 16); }

PYIFCN_INLINE uint16_t to_bfloat16(float value) {
  const uint32_t bits = bits_of(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return uint16_t(bits >> 16 | 0x40);  // NaN stays NaN
  return uint16_t((bits + 0x7fffu + (bits >> 16 & 1)) >> 16);
}

PYIFCN_INLINE float from_float16(uint16_t bits) {
  const uint32_t sign = uint32_t(bits & 0x8000u) << 16, magnitude = bits & 0x7fffu;
  if (magnitude >= 0x7c00u) return float_from_bits(sign | 0x7f800000u | (magnitude & 0x3ffu) << 13);
  if (magnitude >= 0x400u) return float_from_bits(sign | ((magnitude << 13) + (112u << 23)));
  const float subnormal = float(magnitude) * 5.9604644775390625e-8f;  // 2^-24
  return sign ? -subnormal : subnormal;
}

PYIFCN_INLINE uint16_t to_float16(float value) {
  const uint32_t bits = bits_of(value), magnitude = bits & 0x7fffffffu;
  const uint16_t sign = uint16_t(bits >> 16 & 0x8000u);
  if (magnitude > 0x7f800000u) return uint16_t(sign | 0x7e00u);
  if (magnitude >= 0x477ff000u) return uint16_t(sign | 0x7c00u);  // rounds to 65536 or more
  if (magnitude < 0x38800000u) {  // subnormal: adding 0.5 leaves the rounded bits at the bottom
    return uint16_t(sign | (bits_of(float_from_bits(magnitude) + 0.5f) - bits_of(0.5f)));
  }
  return uint16_t(sign | ((magnitude - (112u << 23) + 0xfffu + (magnitude >> 13 & 1)) >> 13));
}

}  // namespace pyifcn
