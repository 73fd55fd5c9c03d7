#include "core/bind.h"
#include "core/operators.h"
#include "nms_padded/arguments.h"

namespace pyifcn {
namespace {

// Refuses what the CPU refuses; `idxs` and `score_threshold` may be None.
void bind_check_nms_padded(py::handle boxes, py::handle scores, py::handle idxs, double threshold,
                           const py::object& score_threshold, py::handle indices, py::handle counts) {
  std::optional<double> least;
  if (!score_threshold.is_none()) least = score_threshold.cast<double>();
  check_nms_padded(boxes, scores, idxs, threshold, least, indices, counts);
}

}  // namespace

void register_nms_padded(py::module_& module) { module.def("check_nms_padded", &bind_check_nms_padded); }

}  // namespace pyifcn
