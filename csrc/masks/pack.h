// 64 bytes to 64 bits and back, for kernels.
#pragma once

#include "core/simd.h"

namespace pyifcn {
namespace {

// Bit i is whether bytes[i] is not 0.
PYIFCN_INLINE uint64_t pack64(const uint8_t* bytes) {
#if defined(PYIFCN_KERNEL_IS_avx512)
  const __m512i v = _mm512_loadu_si512(bytes);
  return _mm512_test_epi8_mask(v, v);
#elif defined(PYIFCN_KERNEL_IS_avx2) || defined(PYIFCN_KERNEL_IS_avx2x2)
  const __m256i zero = _mm256_setzero_si256();
  const uint32_t low = uint32_t(_mm256_movemask_epi8(_mm256_cmpeq_epi8(avx2::load256(bytes), zero)));
  const uint32_t high = uint32_t(_mm256_movemask_epi8(_mm256_cmpeq_epi8(avx2::load256(bytes + 32), zero)));
  return ~(uint64_t(high) << 32 | low);
#else
  uint64_t word = 0;
  for (int i = 0; i < 64; ++i) word |= uint64_t(bytes[i] != 0) << i;
  return word;
#endif
}

// Bit i as a byte of 0 or 1.
PYIFCN_INLINE void unpack64(uint64_t word, uint8_t* bytes) {
#if defined(PYIFCN_KERNEL_IS_avx512)
  _mm512_storeu_si512(bytes, _mm512_maskz_set1_epi8(word, 1));
#else
  for (int i = 0; i < 64; ++i) bytes[i] = uint8_t(word >> i & 1);
#endif
}

}  // namespace
}  // namespace pyifcn
