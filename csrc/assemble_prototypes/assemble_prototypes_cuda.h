// Assembling from prototypes on CUDA, where the kernels look at boxes and images themselves. Looking at them
// on the CPU would make it wait: detections of images that are not there give NaN, and no gradients.
#pragma once

#include <cstdint>

#include "core/element.h"
#include "core/stream.h"
#include "core/view.h"

namespace pyifcn {

// S is the type of elements in memory: Float16, Bfloat16, float or double.
template <class S>
struct PrototypesCudaJob {
  View<const S, 4> prototypes;    // (B, K, H, W)
  View<const S, 2> coefficients;  // (N, K)
  const double* boxes;            // (N, 4), or nullptr: all pixels
  const int64_t* images;          // (N,), or nullptr: the first image
  bool sigmoid;
  S* out;  // (N, H, W), all are written
};

template <class S>
void assemble_prototypes_cuda(const PrototypesCudaJob<S>& job, const Stream& stream);

template <class S>
struct PrototypesBackwardCudaJob {
  View<const S, 4> prototypes;
  View<const S, 2> coefficients;
  const double* boxes;
  const int64_t* images;
  const S* grad_out;     // (N, H, W)
  const S* out;          // (N, H, W), or nullptr: without sigmoid
  S* grad_prototypes;    // (B, K, H, W), all are written
  S* grad_coefficients;  // (N, K), all are written
};

// The sums and their order are the CPU's, and so are the bits.
template <class S>
void assemble_prototypes_backward_cuda(const PrototypesBackwardCudaJob<S>& job, const Stream& stream);

}  // namespace pyifcn
