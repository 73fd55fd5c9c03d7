// e^x in plain additions and multiplications, in one order on every target: the same bits everywhere. Within
// 1 unit of the last place for float, 2 for double, subnormal results among them; NaN stays NaN.
#pragma once

#include "core/simd_scalar.h"

namespace pyifcn {
namespace {

template <class V, class T>
PYIFCN_INLINE V polynomial(V, T last) {
  return V::all(last);
}
template <class V, class T, class... Ts>
PYIFCN_INLINE V polynomial(V x, T first, Ts... rest) {
  return polynomial(x, rest...) * x + V::all(first);
}

// x = k ln 2 + r, where the high part of ln 2 has so few bits that k times it is exact. e^r = 1 + r + r^2 q.
template <class T>
struct Exp;

template <>
struct Exp<float> {
  static constexpr float kLeast = -104, kMost = 89;  // beyond: 0, infinity
  static constexpr float kRound = 0x1.8p23f, kLog2E = 0x1.715476p0f;
  static constexpr float kHigh = 0x1.63p-1f, kLow = -0x1.bd0106p-13f;
  template <class V>
  PYIFCN_INLINE static V q(V r) {
    return polynomial(r, 1.f / 2, 1.f / 6, 1.f / 24, 1.f / 120, 1.f / 720, 1.f / 5040);
  }
};

template <>
struct Exp<double> {
  static constexpr double kLeast = -746, kMost = 710;
  static constexpr double kRound = 0x1.8p52, kLog2E = 0x1.71547652b82fep0;
  static constexpr double kHigh = 0x1.62e42feep-1, kLow = 0x1.a39ef35793c76p-33;
  template <class V>
  PYIFCN_INLINE static V q(V r) {
    return polynomial(r, 1. / 2, 1. / 6, 1. / 24, 1. / 120, 1. / 720, 1. / 5040, 1. / 40320, 1. / 362880,
                      1. / 3628800, 1. / 39916800, 1. / 479001600, 1. / 6227020800);
  }
};

template <class V>
PYIFCN_INLINE V exp(V x) {
  using C = Exp<typename V::T>;
  const V round = V::all(C::kRound), half = V::all(0.5);
  x = min(V::all(C::kMost), max(V::all(C::kLeast), x));
  const V k = (x * V::all(C::kLog2E) + round) - round;
  const V r = (x - k * V::all(C::kHigh)) - k * V::all(C::kLow);
  const V power = (C::q(r) * (r * r) + r) + V::all(1);
  const V first = (k * half + round) - round;  // 2^k itself may be out of range
  return power * power_of_two(first) * power_of_two(k - first);
}

}  // namespace
}  // namespace pyifcn
