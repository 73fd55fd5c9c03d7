// What the bindings of both modules share: the checked arguments.
#pragma once

#include <cmath>

#include "core/bind.h"

namespace pyifcn {

// What torchvision takes for the larger of the offsets that keep categories apart: up to this many boxes it
// moves each category away and suppresses once, beyond it suppresses in each category.
inline constexpr int64_t kMovedBoxes = 1000;

struct NmsArguments {
  Array boxes, scores;
  View<int64_t, 1> keep;
  int64_t count;
};

inline NmsArguments check_nms(py::handle boxes, py::handle scores, double threshold, py::handle keep) {
  const Array b = as_array(boxes, "boxes"), s = as_array(scores, "scores");
  if (b.dtype != Dtype::float32 && b.dtype != Dtype::float64)
    throw type_error(
        sentence("boxes is ", b.dtype_name(), ", expected float16, bfloat16, float32 or float64"));
  b.check_rank(2);
  s.check(b.dtype, 1);
  const int64_t count = b.shape[0];
  require(b.shape[1] == 4, "boxes has shape (", count, ", ", b.shape[1],
          "), expected (N, 4): x1, y1, x2, y2");
  require(s.shape[0] == count, "scores has ", s.shape[0], " elements, expected one for each of the ", count,
          " boxes");
  require(count <= 1 << 30, "boxes has ", count, " rows, expected at most ", 1 << 30);
  require(!std::isnan(threshold), "iou_threshold is NaN");
  return {b, s, as_array(keep, "keep").view<int64_t, 1>(), count};
}

inline View<const int64_t, 1> check_idxs(py::handle idxs, int64_t count) {
  const auto categories = as_array(idxs, "idxs").view<const int64_t, 1>();
  require(categories.shape[0] == count, "idxs has ", categories.shape[0],
          " elements, expected one for each of the ", count, " boxes");
  return categories;
}

}  // namespace pyifcn
