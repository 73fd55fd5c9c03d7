// A small vocabulary over vector registers; kernels are written once against it.
//
//   F32 F64 U16 U32 U64     a register of `lanes` elements of type T; Vec<T> names them by element
//   V::Mask                 one bit or one all-ones lane for each element
//
// A mask's bits() has bit i set for lane i. Each comparison is false for NaN. min(a, b) is a < b ? a : b and
// max(a, b) is a > b ? a : b, so b is the answer where either is NaN, on every target.
// Everything lives in an unnamed namespace: code compiled for one target can never be linked into another.
#pragma once

#include "core/target.h"
#include "core/view.h"

#if defined(PYIFCN_KERNEL_IS_avx512)
#include "core/simd_avx512.h"
#elif defined(PYIFCN_KERNEL_IS_avx2x2)
#include "core/simd_avx2.h"
#include "core/simd_pair.h"
#elif defined(PYIFCN_KERNEL_IS_avx2)
#include "core/simd_avx2.h"
#else
#include "core/simd_scalar.h"
#endif

namespace pyifcn {
namespace {

#if defined(PYIFCN_KERNEL_IS_avx2x2)
using F32 = Pair<avx2::F32>;
using F64 = Pair<avx2::F64>;
using U16 = Pair<avx2::U16>;
using U32 = Pair<avx2::U32>;
using U64 = Pair<avx2::U64>;
#elif defined(PYIFCN_KERNEL_IS_avx2)
using namespace avx2;
#endif

template <class T>
struct VecOf;
template <>
struct VecOf<float> {
  using type = F32;
};
template <>
struct VecOf<double> {
  using type = F64;
};
template <>
struct VecOf<uint16_t> {
  using type = U16;
};
template <>
struct VecOf<uint32_t> {
  using type = U32;
};
template <>
struct VecOf<uint64_t> {
  using type = U64;
};

template <class T>
using Vec = typename VecOf<T>::type;

}  // namespace
}  // namespace pyifcn
