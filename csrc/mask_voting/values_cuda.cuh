// Votes of values, as MNC counts them: float32, one voter after the other in the order of the boxes.
#pragma once

#include "mask_voting/sample_cuda.cuh"

namespace pyifcn {
namespace {

// A voter's box and mask.
struct ValueVoter {
  SoftMask mask;
  int32_t x1, y1, x2, y2;  // the pixels it has a value at
  RenderTaps<float> x_tap, y_tap;
  float share;

  ValueVoter() = default;
  __device__ ValueVoter(const VotingInput& in, const Voter& voter)
      : ValueVoter(in, voter, BoxAxes(in.options, in.boxes.data + 4 * int64_t(voter.mask))) {}
  __device__ ValueVoter(const VotingInput& in, const Voter& voter, const BoxAxes& axes)
      : mask(in, voter.mask),
        x1(int32_t(axes.x.pixels.first)),
        y1(int32_t(axes.y.pixels.first)),
        x2(int32_t(axes.x.pixels.end)),
        y2(int32_t(axes.y.pixels.end)),
        x_tap(in.options.convention, axes.x, mask.side),
        y_tap(in.options.convention, axes.y, mask.side),
        share(voter.share) {}

  __device__ bool has_column(int64_t x) const { return x1 <= x && x < x2; }
  __device__ bool has_row(int64_t y) const { return y1 <= y && y < y2; }
  __device__ Mixture mixture(const Tap& column, const Tap& row) const { return {mask, column, row, true}; }
};

}  // namespace
}  // namespace pyifcn
