// simd.h on two registers taken as one: the lane counts of a target twice as wide.
#pragma once

#include <cstdint>

#include "core/target.h"

namespace pyifcn {
namespace {

template <class M, int kHalf>
struct PairMask {
  M lo, hi;
  PYIFCN_INLINE uint32_t bits() const { return lo.bits() | hi.bits() << kHalf; }
  PYIFCN_INLINE bool any() const { return lo.any() || hi.any(); }
  PYIFCN_INLINE friend PairMask operator&(PairMask a, PairMask b) { return {a.lo & b.lo, a.hi & b.hi}; }
  PYIFCN_INLINE friend PairMask operator|(PairMask a, PairMask b) { return {a.lo | b.lo, a.hi | b.hi}; }
  PYIFCN_INLINE friend PairMask operator-(PairMask a, PairMask b) { return {a.lo - b.lo, a.hi - b.hi}; }
};

template <class V>
struct Pair {
  using T = typename V::T;
  static constexpr int half = V::lanes;
  using Mask = PairMask<typename V::Mask, half>;
  static constexpr int lanes = 2 * half;
  V lo, hi;

  PYIFCN_INLINE static Pair load(const T* p) { return {V::load(p), V::load(p + half)}; }
  PYIFCN_INLINE static Pair load_where(Mask m, const T* p) {
    return {V::load_where(m.lo, p), V::load_where(m.hi, p + half)};
  }
  PYIFCN_INLINE static Pair load_first(const T* p, int n) {
    return {V::load_first(p, n), V::load_first(p + half, n - half)};
  }
  PYIFCN_INLINE static Pair all(T x) { return {V::all(x), V::all(x)}; }
  PYIFCN_INLINE static Mask first(int n) { return {V::first(n), V::first(n - half)}; }
  PYIFCN_INLINE void store(T* p) const {
    lo.store(p);
    hi.store(p + half);
  }
  PYIFCN_INLINE void store_first(T* p, int n) const {
    lo.store_first(p, n);
    hi.store_first(p + half, n - half);
  }
  PYIFCN_INLINE int compress_store(Mask m, T* p) const {
    const int n = lo.compress_store(m.lo, p);
    return n + hi.compress_store(m.hi, p + n);
  }
  PYIFCN_INLINE T sum() const { return lo.sum() + hi.sum(); }
  PYIFCN_INLINE T largest() const { return max(lo, hi).largest(); }
};

template <class V>
PYIFCN_INLINE Pair<V> select(typename Pair<V>::Mask m, Pair<V> a, Pair<V> b) {
  return {select(m.lo, a.lo, b.lo), select(m.hi, a.hi, b.hi)};
}
template <class V>
PYIFCN_INLINE Pair<V> operator+(Pair<V> a, Pair<V> b) {
  return {a.lo + b.lo, a.hi + b.hi};
}
template <class V>
PYIFCN_INLINE Pair<V> operator-(Pair<V> a, Pair<V> b) {
  return {a.lo - b.lo, a.hi - b.hi};
}
template <class V>
PYIFCN_INLINE Pair<V> operator*(Pair<V> a, Pair<V> b) {
  return {a.lo * b.lo, a.hi * b.hi};
}
template <class V>
PYIFCN_INLINE Pair<V> operator/(Pair<V> a, Pair<V> b) {
  return {a.lo / b.lo, a.hi / b.hi};
}
template <class V>
PYIFCN_INLINE Pair<V> operator&(Pair<V> a, Pair<V> b) {
  return {a.lo & b.lo, a.hi & b.hi};
}
template <class V>
PYIFCN_INLINE Pair<V> operator|(Pair<V> a, Pair<V> b) {
  return {a.lo | b.lo, a.hi | b.hi};
}
template <class V>
PYIFCN_INLINE Pair<V> min(Pair<V> a, Pair<V> b) {
  return {min(a.lo, b.lo), min(a.hi, b.hi)};
}
template <class V>
PYIFCN_INLINE Pair<V> max(Pair<V> a, Pair<V> b) {
  return {max(a.lo, b.lo), max(a.hi, b.hi)};
}
template <class V>
PYIFCN_INLINE Pair<V> power_of_two(Pair<V> k) {
  return {power_of_two(k.lo), power_of_two(k.hi)};
}
template <class V>
PYIFCN_INLINE Pair<V> popcount(Pair<V> a) {
  return {popcount(a.lo), popcount(a.hi)};
}
template <class V>
PYIFCN_INLINE uint32_t top_bits(Pair<V> a) {
  return top_bits(a.lo) | top_bits(a.hi) << V::lanes;
}
template <class V>
PYIFCN_INLINE typename Pair<V>::Mask operator<(Pair<V> a, Pair<V> b) {
  return {a.lo < b.lo, a.hi < b.hi};
}
template <class V>
PYIFCN_INLINE typename Pair<V>::Mask operator<=(Pair<V> a, Pair<V> b) {
  return {a.lo <= b.lo, a.hi <= b.hi};
}
template <class V>
PYIFCN_INLINE typename Pair<V>::Mask operator>(Pair<V> a, Pair<V> b) {
  return {a.lo > b.lo, a.hi > b.hi};
}
template <class V>
PYIFCN_INLINE typename Pair<V>::Mask operator>=(Pair<V> a, Pair<V> b) {
  return {a.lo >= b.lo, a.hi >= b.hi};
}
template <class V>
PYIFCN_INLINE typename Pair<V>::Mask operator==(Pair<V> a, Pair<V> b) {
  return {a.lo == b.lo, a.hi == b.hi};
}

}  // namespace
}  // namespace pyifcn
