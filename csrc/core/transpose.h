// Transposing matrices by tiles that fit in registers.
#pragma once

#include "core/simd.h"

namespace pyifcn {
namespace {

PYIFCN_INLINE void transpose_tile(Scalar<float> (&)[1]) {}
PYIFCN_INLINE void transpose_tile(Scalar<double> (&)[1]) {}

#if !defined(PYIFCN_KERNEL_IS_scalar)
PYIFCN_INLINE void transpose_tile(avx2::F32 (&rows)[8]) {
  __m256 pairs[8], fours[8];
  for (int i = 0; i < 8; i += 2) {
    pairs[i] = _mm256_unpacklo_ps(rows[i].v, rows[i + 1].v);
    pairs[i + 1] = _mm256_unpackhi_ps(rows[i].v, rows[i + 1].v);
  }
  for (int i = 0; i < 8; i += 4)
    for (int k = 0; k < 2; ++k) {
      fours[i + 2 * k] = _mm256_shuffle_ps(pairs[i + k], pairs[i + 2 + k], 0x44);
      fours[i + 2 * k + 1] = _mm256_shuffle_ps(pairs[i + k], pairs[i + 2 + k], 0xee);
    }
  for (int i = 0; i < 4; ++i) {
    rows[i].v = _mm256_permute2f128_ps(fours[i], fours[i + 4], 0x20);
    rows[i + 4].v = _mm256_permute2f128_ps(fours[i], fours[i + 4], 0x31);
  }
}

PYIFCN_INLINE void transpose_tile(avx2::F64 (&rows)[4]) {
  __m256d pairs[4];
  for (int i = 0; i < 4; i += 2) {
    pairs[i] = _mm256_unpacklo_pd(rows[i].v, rows[i + 1].v);
    pairs[i + 1] = _mm256_unpackhi_pd(rows[i].v, rows[i + 1].v);
  }
  for (int i = 0; i < 2; ++i) {
    rows[i].v = _mm256_permute2f128_pd(pairs[i], pairs[i + 2], 0x20);
    rows[i + 2].v = _mm256_permute2f128_pd(pairs[i], pairs[i + 2], 0x31);
  }
}
#endif

// to[c to_stride + r] = from[r from_stride + c]. Tiles at the ends overlap those before.
template <class E>
void transpose(const E* from, int64_t from_stride, int64_t rows, int64_t columns, E* to, int64_t to_stride) {
  using V = Narrow<E>;
  constexpr int64_t kSide = V::lanes;
  if (rows < kSide || columns < kSide) {
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t c = 0; c < columns; ++c) to[c * to_stride + r] = from[r * from_stride + c];
    return;
  }
  for (int64_t r = 0; r < rows; r += kSide) {
    if (r > rows - kSide) r = rows - kSide;
    for (int64_t c = 0; c < columns; c += kSide) {
      if (c > columns - kSide) c = columns - kSide;
      V tile[kSide];
      for (int i = 0; i < kSide; ++i) tile[i] = V::load(from + (r + i) * from_stride + c);
      transpose_tile(tile);
      for (int i = 0; i < kSide; ++i) tile[i].store(to + (c + i) * to_stride + r);
    }
  }
}

}  // namespace
}  // namespace pyifcn
