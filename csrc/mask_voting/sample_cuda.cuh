// The value of a mask at a pixel of its box, operation for operation that of the CPU's kernels `widen`,
// `render_bits` and `add_row`.
#pragma once

#include "core/cuda.cuh"
#include "mask_voting/mask_voting_cuda.h"

namespace pyifcn {
namespace {

// One mask (M, M).
struct SoftMask {
  const float* values;
  int32_t side;

  SoftMask() = default;
  __device__ SoftMask(const VotingInput& in, int64_t i)
      : values(in.masks.data + i * in.masks.shape[1] * in.masks.shape[1]), side(int32_t(in.masks.shape[1])) {}
  __device__ float at(int32_t y, int32_t x) const { return values[y * side + x]; }
  __device__ float across(int32_t y, const Tap& x) const {
    return x.low_weight * at(y, x.low) + x.high_weight * at(y, x.high);
  }
};

// What a column of pixels mixes as long as it stays between the same two rows of the mask. On the last row or
// the last column MNC takes the nearest element both ways.
struct Mixture {
  float low, high;
  bool nearest;

  Mixture() = default;
  __device__ Mixture(const SoftMask& mask, const Tap& x, const Tap& y, bool nearest_at_the_end) {
    const int32_t last = mask.side - 1;
    nearest = nearest_at_the_end && (x.low == last || y.low == last);
    low = nearest_at_the_end && y.low == last ? mask.at(last, x.low) : mask.across(y.low, x);
    high = nearest ? low : mask.across(y.high, x);
  }
  __device__ float at(const Tap& y) const {
    return nearest ? 1.0f * low + 0.0f * high : y.low_weight * low + y.high_weight * high;
  }
};

}  // namespace
}  // namespace pyifcn
