// What the bindings of both modules share: the checked arguments.
#pragma once

#include <cmath>
#include <optional>

#include "core/bind.h"

namespace pyifcn {

struct PaddedArguments {
  Array boxes, scores;
  const int64_t* idxs;  // or null
  int64_t images, count;
  double threshold;
  std::optional<double> least;  // scores must be more
  View<int64_t, 2> indices;
  int64_t* counts;
};

inline PaddedArguments check_nms_padded(py::handle boxes, py::handle scores, py::handle idxs,
                                        double threshold, const std::optional<double>& least,
                                        py::handle indices, py::handle counts) {
  const Array b = as_array(boxes, "boxes"), s = as_array(scores, "scores");
  if (b.dtype != Dtype::float32 && b.dtype != Dtype::float64)
    throw type_error(
        sentence("boxes is ", b.dtype_name(), ", expected float16, bfloat16, float32 or float64"));
  b.check_rank(3);
  s.check(b.dtype, 2);
  const int64_t images = b.shape[0], count = b.shape[1];
  require(b.shape[2] == 4, "boxes has shape (", images, ", ", count, ", ", b.shape[2],
          "), expected (B, N, 4): x1, y1, x2, y2");
  const auto check_shape = [&](const char* name, int64_t rows, int64_t columns) {
    require(rows == images && columns == count, name, " has shape (", rows, ", ", columns, "), expected (",
            images, ", ", count, ") like boxes");
  };
  check_shape("scores", s.shape[0], s.shape[1]);
  require(count <= 1 << 30, "boxes has ", count, " rows for an image, expected at most ", 1 << 30);
  require(!std::isnan(threshold), "iou_threshold is NaN");
  require(!least || !std::isnan(*least), "score_threshold is NaN");
  const int64_t* categories = nullptr;
  if (!idxs.is_none()) {
    const auto view = as_array(idxs, "idxs").view<const int64_t, 2>();
    check_shape("idxs", view.shape[0], view.shape[1]);
    categories = view.data;
  }
  return {b,
          s,
          categories,
          images,
          count,
          threshold,
          least,
          as_array(indices, "indices").view<int64_t, 2>(),
          as_array(counts, "counts").view<int64_t, 1>().data};
}

}  // namespace pyifcn
