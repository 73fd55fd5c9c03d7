// simd.h on AVX-512: 512-bit registers, masks in mask registers.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "core/power_bias.h"
#include "core/target.h"

namespace pyifcn {
namespace {
namespace avx512 {

template <class M>
struct MaskOf {
  M v;
  PYIFCN_INLINE uint32_t bits() const { return v; }
  PYIFCN_INLINE bool any() const { return v != 0; }
  PYIFCN_INLINE friend MaskOf operator&(MaskOf a, MaskOf b) { return {M(a.v & b.v)}; }
  PYIFCN_INLINE friend MaskOf operator|(MaskOf a, MaskOf b) { return {M(a.v | b.v)}; }
  PYIFCN_INLINE friend MaskOf operator-(MaskOf a, MaskOf b) { return {M(a.v & ~b.v)}; }
};
using Mask32 = MaskOf<__mmask16>;
using Mask64 = MaskOf<__mmask8>;
using Mask16 = MaskOf<__mmask32>;

PYIFCN_INLINE uint32_t first_bits(int n) { return n <= 0 ? 0 : _bzhi_u32(~0u, unsigned(n)); }

struct F32 {
  using T = float;
  using Mask = Mask32;
  static constexpr int lanes = 16;
  __m512 v;

  PYIFCN_INLINE static F32 load(const T* p) { return {_mm512_loadu_ps(p)}; }
  PYIFCN_INLINE static F32 load_first(const T* p, int n) { return {_mm512_maskz_loadu_ps(first(n).v, p)}; }
  PYIFCN_INLINE static F32 all(T x) { return {_mm512_set1_ps(x)}; }
  PYIFCN_INLINE static Mask first(int n) { return {__mmask16(first_bits(n))}; }
  PYIFCN_INLINE void store(T* p) const { _mm512_storeu_ps(p, v); }
  PYIFCN_INLINE void store_first(T* p, int n) const { _mm512_mask_storeu_ps(p, first(n).v, v); }
  PYIFCN_INLINE int compress_store(Mask m, T* p) const {
    _mm512_storeu_ps(p, _mm512_maskz_compress_ps(m.v, v));
    return _mm_popcnt_u32(m.bits());
  }
  PYIFCN_INLINE T largest() const { return _mm512_reduce_max_ps(v); }
};
PYIFCN_INLINE F32 select(Mask32 m, F32 a, F32 b) { return {_mm512_mask_blend_ps(m.v, b.v, a.v)}; }
PYIFCN_INLINE F32 operator+(F32 a, F32 b) { return {_mm512_add_ps(a.v, b.v)}; }
PYIFCN_INLINE F32 operator-(F32 a, F32 b) { return {_mm512_sub_ps(a.v, b.v)}; }
PYIFCN_INLINE F32 operator*(F32 a, F32 b) { return {_mm512_mul_ps(a.v, b.v)}; }
PYIFCN_INLINE F32 operator/(F32 a, F32 b) { return {_mm512_div_ps(a.v, b.v)}; }
PYIFCN_INLINE F32 min(F32 a, F32 b) { return {_mm512_min_ps(a.v, b.v)}; }
PYIFCN_INLINE F32 max(F32 a, F32 b) { return {_mm512_max_ps(a.v, b.v)}; }
PYIFCN_INLINE F32 power_of_two(F32 k) {
  const __m512i bits = _mm512_castps_si512(_mm512_add_ps(k.v, _mm512_set1_ps(kPowerBias32)));
  return {_mm512_castsi512_ps(_mm512_slli_epi32(bits, 23))};
}
PYIFCN_INLINE Mask32 operator<(F32 a, F32 b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ)}; }
PYIFCN_INLINE Mask32 operator<=(F32 a, F32 b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_LE_OQ)}; }
PYIFCN_INLINE Mask32 operator>(F32 a, F32 b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_GT_OQ)}; }
PYIFCN_INLINE Mask32 operator>=(F32 a, F32 b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_GE_OQ)}; }
PYIFCN_INLINE Mask32 operator==(F32 a, F32 b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_EQ_OQ)}; }

struct F64 {
  using T = double;
  using Mask = Mask64;
  static constexpr int lanes = 8;
  __m512d v;

  PYIFCN_INLINE static F64 load(const T* p) { return {_mm512_loadu_pd(p)}; }
  PYIFCN_INLINE static F64 load_first(const T* p, int n) { return {_mm512_maskz_loadu_pd(first(n).v, p)}; }
  PYIFCN_INLINE static F64 all(T x) { return {_mm512_set1_pd(x)}; }
  PYIFCN_INLINE static Mask first(int n) { return {__mmask8(first_bits(n))}; }
  PYIFCN_INLINE void store(T* p) const { _mm512_storeu_pd(p, v); }
  PYIFCN_INLINE void store_first(T* p, int n) const { _mm512_mask_storeu_pd(p, first(n).v, v); }
  PYIFCN_INLINE int compress_store(Mask m, T* p) const {
    _mm512_storeu_pd(p, _mm512_maskz_compress_pd(m.v, v));
    return _mm_popcnt_u32(m.bits());
  }
  PYIFCN_INLINE T largest() const { return _mm512_reduce_max_pd(v); }
};
PYIFCN_INLINE F64 select(Mask64 m, F64 a, F64 b) { return {_mm512_mask_blend_pd(m.v, b.v, a.v)}; }
PYIFCN_INLINE F64 operator+(F64 a, F64 b) { return {_mm512_add_pd(a.v, b.v)}; }
PYIFCN_INLINE F64 operator-(F64 a, F64 b) { return {_mm512_sub_pd(a.v, b.v)}; }
PYIFCN_INLINE F64 operator*(F64 a, F64 b) { return {_mm512_mul_pd(a.v, b.v)}; }
PYIFCN_INLINE F64 operator/(F64 a, F64 b) { return {_mm512_div_pd(a.v, b.v)}; }
PYIFCN_INLINE F64 min(F64 a, F64 b) { return {_mm512_min_pd(a.v, b.v)}; }
PYIFCN_INLINE F64 max(F64 a, F64 b) { return {_mm512_max_pd(a.v, b.v)}; }
PYIFCN_INLINE F64 power_of_two(F64 k) {
  const __m512i bits = _mm512_castpd_si512(_mm512_add_pd(k.v, _mm512_set1_pd(kPowerBias64)));
  return {_mm512_castsi512_pd(_mm512_slli_epi64(bits, 52))};
}
PYIFCN_INLINE Mask64 operator<(F64 a, F64 b) { return {_mm512_cmp_pd_mask(a.v, b.v, _CMP_LT_OQ)}; }
PYIFCN_INLINE Mask64 operator<=(F64 a, F64 b) { return {_mm512_cmp_pd_mask(a.v, b.v, _CMP_LE_OQ)}; }
PYIFCN_INLINE Mask64 operator>(F64 a, F64 b) { return {_mm512_cmp_pd_mask(a.v, b.v, _CMP_GT_OQ)}; }
PYIFCN_INLINE Mask64 operator>=(F64 a, F64 b) { return {_mm512_cmp_pd_mask(a.v, b.v, _CMP_GE_OQ)}; }
PYIFCN_INLINE Mask64 operator==(F64 a, F64 b) { return {_mm512_cmp_pd_mask(a.v, b.v, _CMP_EQ_OQ)}; }

struct U16 {
  using T = uint16_t;
  using Mask = Mask16;
  static constexpr int lanes = 32;
  __m512i v;

  PYIFCN_INLINE static U16 load(const T* p) { return {_mm512_loadu_si512(p)}; }
  PYIFCN_INLINE static U16 all(T x) { return {_mm512_set1_epi16(int16_t(x))}; }
  PYIFCN_INLINE static Mask first(int n) { return {first_bits(n)}; }
  PYIFCN_INLINE void store(T* p) const { _mm512_storeu_si512(p, v); }
};
PYIFCN_INLINE U16 select(Mask16 m, U16 a, U16 b) { return {_mm512_mask_blend_epi16(m.v, b.v, a.v)}; }

struct U32 {
  using T = uint32_t;
  using Mask = Mask32;
  static constexpr int lanes = 16;
  __m512i v;

  PYIFCN_INLINE static U32 load(const T* p) { return {_mm512_loadu_si512(p)}; }
  PYIFCN_INLINE static U32 load_where(Mask m, const T* p) { return {_mm512_maskz_loadu_epi32(m.v, p)}; }
  PYIFCN_INLINE static U32 all(T x) { return {_mm512_set1_epi32(int32_t(x))}; }
  PYIFCN_INLINE static Mask first(int n) { return {__mmask16(first_bits(n))}; }
  PYIFCN_INLINE void store(T* p) const { _mm512_storeu_si512(p, v); }
  PYIFCN_INLINE int compress_store(Mask m, T* p) const {
    _mm512_storeu_si512(p, _mm512_maskz_compress_epi32(m.v, v));
    return _mm_popcnt_u32(m.bits());
  }
};
PYIFCN_INLINE U32 select(Mask32 m, U32 a, U32 b) { return {_mm512_mask_blend_epi32(m.v, b.v, a.v)}; }
PYIFCN_INLINE Mask32 operator==(U32 a, U32 b) { return {_mm512_cmpeq_epi32_mask(a.v, b.v)}; }
PYIFCN_INLINE U32 operator+(U32 a, U32 b) { return {_mm512_add_epi32(a.v, b.v)}; }
PYIFCN_INLINE uint32_t top_bits(U32 a) { return _mm512_movepi32_mask(a.v); }

struct U64 {
  using T = uint64_t;
  using Mask = Mask64;
  static constexpr int lanes = 8;
  __m512i v;

  PYIFCN_INLINE static U64 load(const T* p) { return {_mm512_loadu_si512(p)}; }
  PYIFCN_INLINE static U64 load_where(Mask m, const T* p) { return {_mm512_maskz_loadu_epi64(m.v, p)}; }
  PYIFCN_INLINE static U64 load_first(const T* p, int n) {
    return {_mm512_maskz_loadu_epi64(__mmask8(first_bits(n)), p)};
  }
  PYIFCN_INLINE static U64 all(T x) { return {_mm512_set1_epi64(int64_t(x))}; }
  PYIFCN_INLINE static Mask first(int n) { return {__mmask8(first_bits(n))}; }
  PYIFCN_INLINE void store(T* p) const { _mm512_storeu_si512(p, v); }
  PYIFCN_INLINE T sum() const { return uint64_t(_mm512_reduce_add_epi64(v)); }
};
PYIFCN_INLINE U64 select(Mask64 m, U64 a, U64 b) { return {_mm512_mask_blend_epi64(m.v, b.v, a.v)}; }
PYIFCN_INLINE U64 operator+(U64 a, U64 b) { return {_mm512_add_epi64(a.v, b.v)}; }
PYIFCN_INLINE U64 operator&(U64 a, U64 b) { return {_mm512_and_si512(a.v, b.v)}; }
PYIFCN_INLINE U64 operator|(U64 a, U64 b) { return {_mm512_or_si512(a.v, b.v)}; }
PYIFCN_INLINE U64 popcount(U64 a) { return {_mm512_popcnt_epi64(a.v)}; }

// Which register holds elements of a type; never defined.
F32 vec_of(float);
F64 vec_of(double);
U16 vec_of(uint16_t);
U32 vec_of(uint32_t);
U64 vec_of(uint64_t);

}  // namespace avx512
}  // namespace
}  // namespace pyifcn
