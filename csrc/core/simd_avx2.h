// simd.h on AVX2: 256-bit registers, masks as all-ones lanes.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "core/power_bias.h"
#include "core/target.h"

namespace pyifcn {
namespace {
namespace avx2 {

// Sixteen ones, then sixteen zeros: an unaligned load at 16 - n gives a mask of the first n lanes.
alignas(64) constexpr int32_t kOnes32[32] = {-1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1};
alignas(64) constexpr int64_t kOnes64[16] = {-1, -1, -1, -1, -1, -1, -1, -1};
alignas(64) constexpr int16_t kOnes16[64] = {-1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1,
                                             -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1};

PYIFCN_INLINE int clamp_lanes(int n, int lanes) { return n < 0 ? 0 : n > lanes ? lanes : n; }
PYIFCN_INLINE __m256i first32(int n) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(kOnes32 + 16 - clamp_lanes(n, 8)));
}
PYIFCN_INLINE __m256i first64(int n) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(kOnes64 + 8 - clamp_lanes(n, 4)));
}
PYIFCN_INLINE __m256i first16(int n) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(kOnes16 + 32 - clamp_lanes(n, 16)));
}

struct Mask32 {
  __m256i v;
  PYIFCN_INLINE uint32_t bits() const { return uint32_t(_mm256_movemask_ps(_mm256_castsi256_ps(v))); }
  PYIFCN_INLINE bool any() const { return !_mm256_testz_si256(v, v); }
  PYIFCN_INLINE friend Mask32 operator&(Mask32 a, Mask32 b) { return {_mm256_and_si256(a.v, b.v)}; }
  PYIFCN_INLINE friend Mask32 operator|(Mask32 a, Mask32 b) { return {_mm256_or_si256(a.v, b.v)}; }
  PYIFCN_INLINE friend Mask32 operator-(Mask32 a, Mask32 b) { return {_mm256_andnot_si256(b.v, a.v)}; }
};
struct Mask64 {
  __m256i v;
  PYIFCN_INLINE uint32_t bits() const { return uint32_t(_mm256_movemask_pd(_mm256_castsi256_pd(v))); }
  PYIFCN_INLINE bool any() const { return !_mm256_testz_si256(v, v); }
  PYIFCN_INLINE friend Mask64 operator&(Mask64 a, Mask64 b) { return {_mm256_and_si256(a.v, b.v)}; }
  PYIFCN_INLINE friend Mask64 operator|(Mask64 a, Mask64 b) { return {_mm256_or_si256(a.v, b.v)}; }
  PYIFCN_INLINE friend Mask64 operator-(Mask64 a, Mask64 b) { return {_mm256_andnot_si256(b.v, a.v)}; }
};
struct Mask16 {
  __m256i v;
};

// The lanes of 32 bits that `bits` selects, moved to the front: indices for permutevar8x32, made by pext.
PYIFCN_INLINE __m256i compress_order(uint32_t bits) {
  const uint64_t bytes = _pdep_u64(bits, 0x0101010101010101u) * 0xff;
  const uint64_t order = _pext_u64(0x0706050403020100u, bytes);
  return _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(int64_t(order)));
}

struct F32 {
  using T = float;
  using Mask = Mask32;
  static constexpr int lanes = 8;
  __m256 v;

  PYIFCN_INLINE static F32 load(const T* p) { return {_mm256_loadu_ps(p)}; }
  PYIFCN_INLINE static F32 load_first(const T* p, int n) { return {_mm256_maskload_ps(p, first32(n))}; }
  PYIFCN_INLINE static F32 all(T x) { return {_mm256_set1_ps(x)}; }
  PYIFCN_INLINE static Mask first(int n) { return {first32(n)}; }
  PYIFCN_INLINE void store(T* p) const { _mm256_storeu_ps(p, v); }
  PYIFCN_INLINE void store_first(T* p, int n) const { _mm256_maskstore_ps(p, first32(n), v); }
  PYIFCN_INLINE int compress_store(Mask m, T* p) const {
    _mm256_storeu_ps(p, _mm256_permutevar8x32_ps(v, compress_order(m.bits())));
    return _mm_popcnt_u32(m.bits());
  }
  PYIFCN_INLINE T largest() const {
    const __m128 four = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
  }
};
PYIFCN_INLINE F32 select(Mask32 m, F32 a, F32 b) {
  return {_mm256_blendv_ps(b.v, a.v, _mm256_castsi256_ps(m.v))};
}
PYIFCN_INLINE F32 operator+(F32 a, F32 b) { return {_mm256_add_ps(a.v, b.v)}; }
PYIFCN_INLINE F32 operator-(F32 a, F32 b) { return {_mm256_sub_ps(a.v, b.v)}; }
PYIFCN_INLINE F32 operator*(F32 a, F32 b) { return {_mm256_mul_ps(a.v, b.v)}; }
PYIFCN_INLINE F32 operator/(F32 a, F32 b) { return {_mm256_div_ps(a.v, b.v)}; }
PYIFCN_INLINE F32 min(F32 a, F32 b) { return {_mm256_min_ps(a.v, b.v)}; }
PYIFCN_INLINE F32 max(F32 a, F32 b) { return {_mm256_max_ps(a.v, b.v)}; }
PYIFCN_INLINE F32 power_of_two(F32 k) {
  const __m256i bits = _mm256_castps_si256(_mm256_add_ps(k.v, _mm256_set1_ps(kPowerBias32)));
  return {_mm256_castsi256_ps(_mm256_slli_epi32(bits, 23))};
}
template <int kPredicate>
PYIFCN_INLINE Mask32 compare(F32 a, F32 b) {
  return {_mm256_castps_si256(_mm256_cmp_ps(a.v, b.v, kPredicate))};
}
PYIFCN_INLINE Mask32 operator<(F32 a, F32 b) { return compare<_CMP_LT_OQ>(a, b); }
PYIFCN_INLINE Mask32 operator<=(F32 a, F32 b) { return compare<_CMP_LE_OQ>(a, b); }
PYIFCN_INLINE Mask32 operator>(F32 a, F32 b) { return compare<_CMP_GT_OQ>(a, b); }
PYIFCN_INLINE Mask32 operator>=(F32 a, F32 b) { return compare<_CMP_GE_OQ>(a, b); }
PYIFCN_INLINE Mask32 operator==(F32 a, F32 b) { return compare<_CMP_EQ_OQ>(a, b); }

struct F64 {
  using T = double;
  using Mask = Mask64;
  static constexpr int lanes = 4;
  __m256d v;

  PYIFCN_INLINE static F64 load(const T* p) { return {_mm256_loadu_pd(p)}; }
  PYIFCN_INLINE static F64 load_first(const T* p, int n) { return {_mm256_maskload_pd(p, first64(n))}; }
  PYIFCN_INLINE static F64 all(T x) { return {_mm256_set1_pd(x)}; }
  PYIFCN_INLINE static Mask first(int n) { return {first64(n)}; }
  PYIFCN_INLINE void store(T* p) const { _mm256_storeu_pd(p, v); }
  PYIFCN_INLINE void store_first(T* p, int n) const { _mm256_maskstore_pd(p, first64(n), v); }
  PYIFCN_INLINE int compress_store(Mask m, T* p) const {
    const uint32_t halves = uint32_t(_mm256_movemask_ps(_mm256_castsi256_ps(m.v)));
    const __m256 packed = _mm256_permutevar8x32_ps(_mm256_castpd_ps(v), compress_order(halves));
    _mm256_storeu_pd(p, _mm256_castps_pd(packed));
    return _mm_popcnt_u32(m.bits());
  }
  PYIFCN_INLINE T largest() const {
    const __m128d two = _mm_max_pd(_mm256_castpd256_pd128(v), _mm256_extractf128_pd(v, 1));
    return _mm_cvtsd_f64(_mm_max_sd(two, _mm_unpackhi_pd(two, two)));
  }
};
PYIFCN_INLINE F64 select(Mask64 m, F64 a, F64 b) {
  return {_mm256_blendv_pd(b.v, a.v, _mm256_castsi256_pd(m.v))};
}
PYIFCN_INLINE F64 operator+(F64 a, F64 b) { return {_mm256_add_pd(a.v, b.v)}; }
PYIFCN_INLINE F64 operator-(F64 a, F64 b) { return {_mm256_sub_pd(a.v, b.v)}; }
PYIFCN_INLINE F64 operator*(F64 a, F64 b) { return {_mm256_mul_pd(a.v, b.v)}; }
PYIFCN_INLINE F64 operator/(F64 a, F64 b) { return {_mm256_div_pd(a.v, b.v)}; }
PYIFCN_INLINE F64 min(F64 a, F64 b) { return {_mm256_min_pd(a.v, b.v)}; }
PYIFCN_INLINE F64 max(F64 a, F64 b) { return {_mm256_max_pd(a.v, b.v)}; }
PYIFCN_INLINE F64 power_of_two(F64 k) {
  const __m256i bits = _mm256_castpd_si256(_mm256_add_pd(k.v, _mm256_set1_pd(kPowerBias64)));
  return {_mm256_castsi256_pd(_mm256_slli_epi64(bits, 52))};
}
template <int kPredicate>
PYIFCN_INLINE Mask64 compare(F64 a, F64 b) {
  return {_mm256_castpd_si256(_mm256_cmp_pd(a.v, b.v, kPredicate))};
}
PYIFCN_INLINE Mask64 operator<(F64 a, F64 b) { return compare<_CMP_LT_OQ>(a, b); }
PYIFCN_INLINE Mask64 operator<=(F64 a, F64 b) { return compare<_CMP_LE_OQ>(a, b); }
PYIFCN_INLINE Mask64 operator>(F64 a, F64 b) { return compare<_CMP_GT_OQ>(a, b); }
PYIFCN_INLINE Mask64 operator>=(F64 a, F64 b) { return compare<_CMP_GE_OQ>(a, b); }
PYIFCN_INLINE Mask64 operator==(F64 a, F64 b) { return compare<_CMP_EQ_OQ>(a, b); }

PYIFCN_INLINE __m256i load256(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
PYIFCN_INLINE void store256(void* p, __m256i v) { _mm256_storeu_si256(static_cast<__m256i*>(p), v); }

struct U16 {
  using T = uint16_t;
  using Mask = Mask16;
  static constexpr int lanes = 16;
  __m256i v;

  PYIFCN_INLINE static U16 load(const T* p) { return {load256(p)}; }
  PYIFCN_INLINE static U16 all(T x) { return {_mm256_set1_epi16(int16_t(x))}; }
  PYIFCN_INLINE static Mask first(int n) { return {first16(n)}; }
  PYIFCN_INLINE void store(T* p) const { store256(p, v); }
};
PYIFCN_INLINE U16 select(Mask16 m, U16 a, U16 b) { return {_mm256_blendv_epi8(b.v, a.v, m.v)}; }

struct U32 {
  using T = uint32_t;
  using Mask = Mask32;
  static constexpr int lanes = 8;
  __m256i v;

  PYIFCN_INLINE static U32 load(const T* p) { return {load256(p)}; }
  PYIFCN_INLINE static U32 load_where(Mask m, const T* p) {
    return {_mm256_maskload_epi32(reinterpret_cast<const int*>(p), m.v)};
  }
  PYIFCN_INLINE static U32 all(T x) { return {_mm256_set1_epi32(int32_t(x))}; }
  PYIFCN_INLINE static Mask first(int n) { return {first32(n)}; }
  PYIFCN_INLINE void store(T* p) const { store256(p, v); }
  PYIFCN_INLINE int compress_store(Mask m, T* p) const {
    store256(p, _mm256_permutevar8x32_epi32(v, compress_order(m.bits())));
    return _mm_popcnt_u32(m.bits());
  }
};
PYIFCN_INLINE U32 select(Mask32 m, U32 a, U32 b) { return {_mm256_blendv_epi8(b.v, a.v, m.v)}; }
PYIFCN_INLINE Mask32 operator==(U32 a, U32 b) { return {_mm256_cmpeq_epi32(a.v, b.v)}; }
PYIFCN_INLINE U32 operator+(U32 a, U32 b) { return {_mm256_add_epi32(a.v, b.v)}; }
PYIFCN_INLINE uint32_t top_bits(U32 a) { return uint32_t(_mm256_movemask_ps(_mm256_castsi256_ps(a.v))); }

struct U64 {
  using T = uint64_t;
  using Mask = Mask64;
  static constexpr int lanes = 4;
  __m256i v;

  PYIFCN_INLINE static U64 load(const T* p) { return {load256(p)}; }
  PYIFCN_INLINE static U64 load_where(Mask m, const T* p) {
    return {_mm256_maskload_epi64(reinterpret_cast<const long long*>(p), m.v)};
  }
  PYIFCN_INLINE static U64 load_first(const T* p, int n) {
    return {_mm256_maskload_epi64(reinterpret_cast<const long long*>(p), first64(n))};
  }
  PYIFCN_INLINE static U64 all(T x) { return {_mm256_set1_epi64x(int64_t(x))}; }
  PYIFCN_INLINE static Mask first(int n) { return {first64(n)}; }
  PYIFCN_INLINE void store(T* p) const { store256(p, v); }
  PYIFCN_INLINE T sum() const {
    const __m128i half = _mm_add_epi64(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    return uint64_t(_mm_cvtsi128_si64(half)) + uint64_t(_mm_extract_epi64(half, 1));
  }
};
PYIFCN_INLINE U64 select(Mask64 m, U64 a, U64 b) { return {_mm256_blendv_epi8(b.v, a.v, m.v)}; }
PYIFCN_INLINE U64 operator+(U64 a, U64 b) { return {_mm256_add_epi64(a.v, b.v)}; }
PYIFCN_INLINE U64 operator&(U64 a, U64 b) { return {_mm256_and_si256(a.v, b.v)}; }
PYIFCN_INLINE U64 operator|(U64 a, U64 b) { return {_mm256_or_si256(a.v, b.v)}; }
PYIFCN_INLINE U64 popcount(U64 a) {
  const __m256i table = _mm256_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4,  //
                                         0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4);
  const __m256i low = _mm256_set1_epi8(15);
  const __m256i a_low = _mm256_and_si256(a.v, low);
  const __m256i a_high = _mm256_and_si256(_mm256_srli_epi16(a.v, 4), low);
  const __m256i bytes =
      _mm256_add_epi8(_mm256_shuffle_epi8(table, a_low), _mm256_shuffle_epi8(table, a_high));
  return {_mm256_sad_epu8(bytes, _mm256_setzero_si256())};
}

// Which register holds elements of a type; never defined.
F32 vec_of(float);
F64 vec_of(double);
U16 vec_of(uint16_t);
U32 vec_of(uint32_t);
U64 vec_of(uint64_t);

}  // namespace avx2
}  // namespace
}  // namespace pyifcn
