// simd.h on plain C++: one lane.
#pragma once

#include <cstdint>

#include "core/power_bias.h"
#include "core/target.h"

namespace pyifcn {
namespace {

struct ScalarMask {
  bool v;
  PYIFCN_INLINE uint32_t bits() const { return v; }
  PYIFCN_INLINE bool any() const { return v; }
  PYIFCN_INLINE friend ScalarMask operator&(ScalarMask a, ScalarMask b) { return {a.v && b.v}; }
  PYIFCN_INLINE friend ScalarMask operator|(ScalarMask a, ScalarMask b) { return {a.v || b.v}; }
  PYIFCN_INLINE friend ScalarMask operator-(ScalarMask a, ScalarMask b) { return {a.v && !b.v}; }
};

template <class Element>
struct Scalar {
  using T = Element;
  using Mask = ScalarMask;
  static constexpr int lanes = 1;
  T v;

  PYIFCN_INLINE static Scalar load(const T* p) { return {*p}; }
  PYIFCN_INLINE static Scalar load_where(Mask m, const T* p) { return {m.v ? *p : T(0)}; }
  PYIFCN_INLINE static Scalar load_first(const T* p, int n) { return {n > 0 ? *p : T(0)}; }
  PYIFCN_INLINE static Scalar all(T x) { return {x}; }
  PYIFCN_INLINE static Mask first(int n) { return {n > 0}; }
  PYIFCN_INLINE void store(T* p) const { *p = v; }
  PYIFCN_INLINE void store_first(T* p, int n) const {
    if (n > 0) *p = v;
  }
  // Stores the lanes that the mask selects next to each other and returns how many; may write all `lanes`.
  PYIFCN_INLINE int compress_store(Mask m, T* p) const {
    *p = v;
    return m.v;
  }
  PYIFCN_INLINE T sum() const { return v; }
  PYIFCN_INLINE T largest() const { return v; }
};

template <class T>
PYIFCN_INLINE Scalar<T> select(ScalarMask m, Scalar<T> a, Scalar<T> b) {
  return {m.v ? a.v : b.v};
}
template <class T>
PYIFCN_INLINE Scalar<T> operator+(Scalar<T> a, Scalar<T> b) {
  return {T(a.v + b.v)};
}
template <class T>
PYIFCN_INLINE Scalar<T> operator-(Scalar<T> a, Scalar<T> b) {
  return {T(a.v - b.v)};
}
template <class T>
PYIFCN_INLINE Scalar<T> operator*(Scalar<T> a, Scalar<T> b) {
  return {T(a.v * b.v)};
}
template <class T>
PYIFCN_INLINE Scalar<T> operator/(Scalar<T> a, Scalar<T> b) {
  return {T(a.v / b.v)};
}
template <class T>
PYIFCN_INLINE Scalar<T> operator&(Scalar<T> a, Scalar<T> b) {
  return {T(a.v & b.v)};
}
template <class T>
PYIFCN_INLINE Scalar<T> operator|(Scalar<T> a, Scalar<T> b) {
  return {T(a.v | b.v)};
}
template <class T>
PYIFCN_INLINE Scalar<T> min(Scalar<T> a, Scalar<T> b) {
  return {a.v < b.v ? a.v : b.v};
}
template <class T>
PYIFCN_INLINE Scalar<T> max(Scalar<T> a, Scalar<T> b) {
  return {a.v > b.v ? a.v : b.v};
}
template <class T>
PYIFCN_INLINE ScalarMask operator<(Scalar<T> a, Scalar<T> b) {
  return {a.v < b.v};
}
template <class T>
PYIFCN_INLINE ScalarMask operator<=(Scalar<T> a, Scalar<T> b) {
  return {a.v <= b.v};
}
template <class T>
PYIFCN_INLINE ScalarMask operator>(Scalar<T> a, Scalar<T> b) {
  return {a.v > b.v};
}
template <class T>
PYIFCN_INLINE ScalarMask operator>=(Scalar<T> a, Scalar<T> b) {
  return {a.v >= b.v};
}
template <class T>
PYIFCN_INLINE ScalarMask operator==(Scalar<T> a, Scalar<T> b) {
  return {a.v == b.v};
}

PYIFCN_INLINE uint32_t top_bits(Scalar<uint32_t> a) { return a.v >> 31; }

PYIFCN_INLINE Scalar<float> power_of_two(Scalar<float> k) {
  const float sum = k.v + kPowerBias32;
  uint32_t bits;
  __builtin_memcpy(&bits, &sum, 4);
  bits <<= 23;
  __builtin_memcpy(&k.v, &bits, 4);
  return k;
}
PYIFCN_INLINE Scalar<double> power_of_two(Scalar<double> k) {
  const double sum = k.v + kPowerBias64;
  uint64_t bits;
  __builtin_memcpy(&bits, &sum, 8);
  bits <<= 52;
  __builtin_memcpy(&k.v, &bits, 8);
  return k;
}

PYIFCN_INLINE Scalar<uint64_t> popcount(Scalar<uint64_t> a) {
  uint64_t x = a.v;
  x = x - ((x >> 1) & 0x5555555555555555u);
  x = (x & 0x3333333333333333u) + ((x >> 2) & 0x3333333333333333u);
  x = (x + (x >> 4)) & 0x0f0f0f0f0f0f0f0fu;
  return {(x * 0x0101010101010101u) >> 56};
}

}  // namespace
}  // namespace pyifcn
