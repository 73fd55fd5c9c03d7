// Scores as integers that sort them.
#pragma once

#include <cstdint>
#include <type_traits>

#include "core/target.h"

namespace pyifcn {

template <class E>
using ScoreKey = std::conditional_t<sizeof(E) == 4, uint32_t, uint64_t>;

// Rises as the score falls: NaN comes first, as 0, and -0 equals 0. Never all ones.
template <class E>
PYIFCN_INLINE ScoreKey<E> falling(E score) {
  using K = ScoreKey<E>;
  if (score != score) return K(0);
  score += E(0);  // -0 becomes 0
  K bits;
  __builtin_memcpy(&bits, &score, sizeof bits);
  constexpr K kSign = K(1) << (8 * sizeof(K) - 1);
  return K(bits & kSign ? bits : K(~bits) & ~kSign);
}

}  // namespace pyifcn
