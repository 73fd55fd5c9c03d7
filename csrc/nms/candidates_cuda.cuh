// Comparing one thing with many, by whatever rule.
#pragma once

#include "core/cuda.cuh"

namespace pyifcn {
namespace {

constexpr int kAtOnce = 8;  // comparisons without a branch between them

__device__ inline unsigned lowest_bits(int count) { return count < 32 ? (1u << count) - 1 : ~0u; }

// Of things [0, count), up to kAtOnce, those that may suppress this one. All kAtOnce are read.
template <class Rule>
__device__ unsigned candidates(const Rule& rule, const typename Rule::Thing* things, int count,
                               const typename Rule::Thing& mine) {
  unsigned bits = 0;
#pragma unroll
  for (int i = 0; i < kAtOnce; ++i) bits |= unsigned(rule.may_suppress(things[i], mine)) << i;
  return bits & lowest_bits(count);
}

// The first of `count` things that suppresses this one, or -1.
template <class Rule>
__device__ int first_suppressor(const Rule& rule, const typename Rule::Thing* things, int count,
                                const typename Rule::Thing& mine) {
  for (int first = 0; first < count; first += kAtOnce)
    for (unsigned bits = candidates(rule, things + first, count - first, mine); bits; bits &= bits - 1) {
      const int i = first + __ffs(int(bits)) - 1;
      if (rule.suppresses(things[i], mine)) return i;
    }
  return -1;
}

}  // namespace
}  // namespace pyifcn
