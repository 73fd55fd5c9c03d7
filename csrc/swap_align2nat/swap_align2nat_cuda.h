// swap_align2nat on CUDA.
#pragma once

#include <cstdint>

#include "core/element.h"
#include "core/stream.h"
#include "swap_align2nat/positions.h"

namespace pyifcn {

// S is the type of elements in memory: Float16, Bfloat16, float or double. Arrays as in swap_align2nat.h.
template <class S>
struct SwapCudaJob {
  int64_t images;
  SwapShape shape;
  const S* in;
  Computed<S> pad;
  S* out;
};

template <class S>
void swap_align2nat_cuda(const SwapCudaJob<S>& job, const Stream& stream);

template <class S>
struct SwapBackwardCudaJob {
  int64_t images;
  SwapShape shape;
  const S* grad_out;
  Computed<S>* rows;  // lent: (B, lambda V, ceil(H / lambda), V, W)
  S* grad_in;
};

// The sums and their order are the CPU's, and so are the bits.
template <class S>
void swap_align2nat_backward_cuda(const SwapBackwardCudaJob<S>& job, const Stream& stream);

}  // namespace pyifcn
