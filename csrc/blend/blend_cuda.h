// Blending on CUDA, where each thread works out by itself where the attention is read.
#pragma once

#include <cstdint>

#include "core/element.h"
#include "core/stream.h"
#include "core/view.h"

namespace pyifcn {

// S is the type of elements in memory: Float16, Bfloat16, float or double.
template <class S>
struct BlendCudaJob {
  View<const S, 4> bases;      // (N, K, H, W)
  View<const S, 4> attention;  // (N, K, h, w)
};

template <class S>
void blend_cuda(const BlendCudaJob<S>& job, bool sigmoid, S* out, const Stream& stream);

template <class S>
struct BlendBackwardCudaJob {
  BlendCudaJob<S> forward;
  const S* grad_out;            // (N, H, W)
  const S* out;                 // (N, H, W), or nullptr: without sigmoid
  S* grad_bases;                // (N, K, H, W)
  S* grad_attention;            // (N, K, h, w)
  Computed<S>* grad_stretched;  // (N, K, H, W), lent: the gradient of the interpolated attention
};

// The sums and their order are the CPU's, and so are the bits.
template <class S>
void blend_backward_cuda(const BlendBackwardCudaJob<S>& job, const Stream& stream);

}  // namespace pyifcn
