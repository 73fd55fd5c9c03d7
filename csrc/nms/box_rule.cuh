// Which box suppresses which, for kernels on CUDA.
#pragma once

#include <cstdint>
#include <type_traits>

#include "core/cuda.cuh"
#include "core/simd_scalar.h"
#include "nms/iou.h"

namespace pyifcn {
namespace {

template <class E, bool kCategories>
struct BoxRule {
  using S = Scalar<E>;
  struct OneBox : Boxes<S> {};
  struct BoxOfCategory : Boxes<S> {
    int64_t category;
  };
  using Thing = std::conditional_t<kCategories, BoxOfCategory, OneBox>;

  const E* boxes;
  const int64_t* idxs;
  E threshold;

  __device__ Thing at(int64_t row) const {
    const E* b = boxes + 4 * row;
    const S x1{b[0]}, y1{b[1]}, x2{b[2]}, y2{b[3]};
    Thing thing;
    static_cast<Boxes<S>&>(thing) = {x1, y1, x2, y2, (x2 - x1) * (y2 - y1)};
    if constexpr (kCategories) thing.category = idxs[row];
    return thing;
  }

  // Without a division: inter / united > t >= 0 only if inter > t united, and then inter >= t united as
  // rounded.
  __device__ bool may_suppress(const Thing& kept, const Thing& other) const {
    if constexpr (kCategories)
      if (kept.category != other.category) return false;
    const E inter = intersection<S>(kept, other, {0}).v;
    const E united = (kept.area.v + other.area.v) - inter;
    return threshold < 0 || (inter > 0 && inter >= threshold * united);
  }

  __device__ bool suppresses(const Thing& kept, const Thing& other) const {
    return iou<S>(kept, other, {0}).v > threshold;
  }
};

}  // namespace
}  // namespace pyifcn
