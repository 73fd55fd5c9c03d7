// Matrix NMS on CUDA.
#pragma once

#include <cstdint>

#include "core/stream.h"
#include "masks/masks_cuda.h"

namespace pyifcn {

struct MatrixNmsJob {
  CudaMasks masks;
  View<const int64_t, 1> areas;
  View<const int64_t, 1> order;  // (N,): the masks by falling score
  View<const double, 1> scores;
  View<const int64_t, 1> labels;
  bool gaussian;
  double sigma;
  // By rank, workspace: the greatest IoU with a better mask of the same label, and what lowers the score most
  // by one of them. Zeros, the latter ones if it is linear.
  View<double, 1> most, worst;
  View<double, 1> lowered;  // (N,)
};

void matrix_nms_cuda(const MatrixNmsJob& job, const Stream& stream);

}  // namespace pyifcn
