// Greedy non-maximum suppression on a matrix of similarities: what the kernel gets.
#pragma once

#include <cstdint>

#include "core/target.h"

namespace pyifcn {

// What a matrix of E holds, and what that is compared with.
template <class E>
struct MatrixElement {
  using Stored = E;
  using Compared = E;
};

// Elements of 16 bits are compared as integers that rise with them: nothing is converted.
struct Float16Bits {
  static constexpr int16_t kInfinity = 0x7c00;
};
struct Bfloat16Bits {
  static constexpr int16_t kInfinity = 0x7f80;
};
template <>
struct MatrixElement<Float16Bits> {
  using Stored = uint16_t;
  using Compared = int16_t;
};
template <>
struct MatrixElement<Bfloat16Bits> : MatrixElement<Float16Bits> {};

// Sign and magnitude as a two's complement. NaN is above infinity, or below its negative.
PYIFCN_INLINE int16_t rising(uint16_t bits) { return int16_t(bits ^ (bits & 0x8000 ? 0x7fff : 0)); }

template <class E>
struct DropJob {
  const typename MatrixElement<E>::Stored* row;
  int64_t count;
  typename MatrixElement<E>::Compared threshold;
  uint64_t* alive;  // a bit for each element of the row; none is set from `count` on
  int64_t* groups;  // out: `owner` for each that is dropped
  int64_t owner;
};

// Drops the elements that are alive and above the threshold.
template <Target T, class E>
void drop_above(const DropJob<E>& job);

}  // namespace pyifcn
