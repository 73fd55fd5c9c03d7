// Rows of elements, vector by vector: whole ones, and at the end one of fewer lanes. Loading and storing
// whole vectors is faster than with a mask.
#pragma once

#include "core/simd.h"

namespace pyifcn {
namespace {

// Where a vector lies in each of the rows that a loop goes over.
template <class V>
struct Whole {
  int64_t x;
  PYIFCN_INLINE V load(const typename V::T* row) const { return V::load(row + x); }
  PYIFCN_INLINE void store(V v, typename V::T* row) const { v.store(row + x); }
};

template <class V>
struct Rest {
  int64_t x;
  int count;
  PYIFCN_INLINE V load(const typename V::T* row) const { return V::load_first(row + x, count); }
  PYIFCN_INLINE void store(V v, typename V::T* row) const { v.store_first(row + x, count); }
};

// Calls work(at) for the vectors of elements [first, last).
template <class V, class Work>
PYIFCN_INLINE void each_vector(int64_t first, int64_t last, Work work) {
  int64_t x = first;
  for (; x + V::lanes <= last; x += V::lanes) work(Whole<V>{x});
  if (x < last) work(Rest<V>{x, int(last - x)});
}

}  // namespace
}  // namespace pyifcn
