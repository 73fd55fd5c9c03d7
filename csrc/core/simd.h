// A small vocabulary over vector registers; kernels are written once against it.
//
//   F32 F64 U16 U32 U64     a register of `lanes` elements of type T; Vec<T> names them by element
//   Narrow<T>               a register of at most 256 bits, for short rows
//   Scalar<T>               one lane, on every target
//   V::Mask                 one bit or one all-ones lane for each element
//
// A mask's bits() has bit i set for lane i; a - b has the lanes of a that b lacks. top_bits has in bit i the
// highest bit of lane i. load_where leaves the
// lanes that it does not read at zero and never touches their memory. Each comparison is false for NaN.
// largest() is the largest lane, of lanes that are not NaN. power_of_two(k) is 2^k for a whole k whose power
// is a normal number. min(a, b) is a < b ? a : b and max(a, b) is a > b ? a : b, so b is the answer where
// either is NaN, on every target. Everything lives in an unnamed namespace: code compiled for one target can
// never be linked into another.
#pragma once

#include "core/target.h"

#if defined(PYIFCN_KERNEL_IS_avx512)
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // in GCC 12's own header, once inlined
#pragma GCC diagnostic ignored "-Wuninitialized"
#include <immintrin.h>
#pragma GCC diagnostic pop
#endif
#include "core/simd_avx2.h"
#include "core/simd_avx512.h"
#elif defined(PYIFCN_KERNEL_IS_avx2x2)
#include "core/simd_avx2.h"
#include "core/simd_pair.h"
#elif defined(PYIFCN_KERNEL_IS_avx2)
#include "core/simd_avx2.h"
#endif
#include "core/simd_scalar.h"

namespace pyifcn {
namespace {

#if defined(PYIFCN_KERNEL_IS_avx2x2)
template <class T>
Pair<decltype(avx2::vec_of(T()))> vec_of(T);
#elif defined(PYIFCN_KERNEL_IS_avx2)
using avx2::vec_of;
#elif defined(PYIFCN_KERNEL_IS_avx512)
using avx512::vec_of;
#else
template <class T>
Scalar<T> vec_of(T);  // which register holds elements of a type; never defined
#endif

template <class T>
using Vec = decltype(vec_of(T()));
#if defined(PYIFCN_KERNEL_IS_scalar)
template <class T>
using Narrow = Vec<T>;
#else
template <class T>
using Narrow = decltype(avx2::vec_of(T()));
#endif

using F32 = Vec<float>;
using F64 = Vec<double>;
using U16 = Vec<uint16_t>;
using U32 = Vec<uint32_t>;
using U64 = Vec<uint64_t>;

}  // namespace
}  // namespace pyifcn
