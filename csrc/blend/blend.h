// Blending bases by attention (Chen et al. 2020, BlendMask, section 3.3).
//
// Attention is interpolated bilinearly to the bases' height and width, first along rows; its softmax over k
// weighs the bases: (sum over k of e_k bases_k) / (sum over k of e_k) with e_k = exp(attention_k - the
// largest). All sums start at 0 and go over k upwards, each operation rounded once.
#pragma once

#include <cstdint>

#include "blend/interpolation.h"
#include "core/target.h"
#include "core/view.h"

namespace pyifcn {

constexpr int64_t kMostLanes = 16;  // of a vector

template <class E>
struct BlendJob {
  View<const E, 4> bases;            // (N, K, H, W)
  View<const E, 4> attention;        // (N, K, h, w)
  const BlendTap<E>*rows, *columns;  // (H,), (W,): where the attention is read
  bool sigmoid;
  E* out;  // (N, H, W)
};

// Elements of scratch memory: a detection's attention (K, h, W), and a vector of each k.
constexpr int64_t blend_scratch(int64_t channels, int64_t attention_height, int64_t width) {
  return channels * (attention_height * width + kMostLanes);
}

// Detections [begin, end). `scratch` has blend_scratch elements.
template <Target T, class E>
void blend(const BlendJob<E>& job, E* scratch, int64_t begin, int64_t end);

template <class E>
struct BlendBackwardJob {
  BlendJob<E> forward;  // with what it gave; its sigmoid and `out` are looked at
  const E* grad_out;    // (N, H, W)
  E* grad_bases;        // (N, K, H, W)
  E* grad_attention;    // (N, K, h, w)
};

// Detections [begin, end). `scratch` has twice blend_scratch elements. An element of the attention sums over
// rows for each column, then over columns, both upwards.
template <Target T, class E>
void blend_backward(const BlendBackwardJob<E>& job, E* scratch, int64_t begin, int64_t end);

}  // namespace pyifcn
