// What the bindings of both modules share: the checked arguments.
#pragma once

#include <cmath>

#include "core/bind.h"

namespace pyifcn {

struct IouArguments {
  Array iou, scores;
  int64_t count;
  double threshold;
  int64_t *keep, *groups;
};

inline IouArguments check_nms_from_iou(py::handle iou, py::handle scores, double threshold, py::handle keep,
                                       py::handle groups) {
  const Array matrix = as_array(iou, "iou"), s = as_array(scores, "scores");
  if (matrix.dtype != Dtype::float16 && matrix.dtype != Dtype::bfloat16 && matrix.dtype != Dtype::float32 &&
      matrix.dtype != Dtype::float64)
    throw type_error(
        sentence("iou is ", matrix.dtype_name(), ", expected float16, bfloat16, float32 or float64"));
  matrix.check_rank(2);
  s.check_rank(1);
  const int64_t count = matrix.shape[0];
  require(matrix.shape[1] == count, "iou has shape (", count, ", ", matrix.shape[1], "), expected (N, N)");
  require(s.shape[0] == count, "scores has ", s.shape[0], " elements, expected one for each of the ", count,
          " rows of iou");
  require(count <= 1 << 30, "iou has ", count, " rows, expected at most ", 1 << 30);
  require(!std::isnan(threshold), "iou_threshold is NaN");
  if (s.dtype != Dtype::float64) s.check(Dtype::float32, 1);
  return {matrix,
          s,
          count,
          threshold,
          as_array(keep, "keep").view<int64_t, 1>().data,
          as_array(groups, "groups").view<int64_t, 1>().data};
}

}  // namespace pyifcn
