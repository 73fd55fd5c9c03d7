#include <pybind11/numpy.h>

#include <algorithm>

#include "core/bind.h"
#include "core/operators.h"
#include "weighted_boxes/fusion.h"

namespace pyifcn {
namespace {

// `boxes` (N, 4) and `scores` (N), best first. Returns the clusters' boxes (M, 4) and of each box its
// cluster.
py::tuple bind_fuse_boxes(py::handle boxes, py::handle scores, double iou_threshold) {
  const auto corners = as_array(boxes, "boxes").view<const double, 2>();
  const auto by_score = as_array(scores, "scores").view<const double, 1>();
  require(corners.shape[1] == 4 && by_score.shape[0] == corners.shape[0], "boxes has shape (",
          corners.shape[0], ", ", corners.shape[1], "), expected (", by_score.shape[0], ", 4)");
  Clusters clusters(corners, by_score);
  const std::vector<int64_t> cluster_of = without_gil([&] { return clusters.join(iou_threshold); });
  py::array_t<double> means({py::ssize_t(clusters.count()), py::ssize_t(4)});
  for (int64_t i = 0; i < clusters.count(); ++i) clusters.mean(i, means.mutable_data() + 4 * i);
  py::array_t<int64_t> members(py::ssize_t(cluster_of.size()));
  std::copy(cluster_of.begin(), cluster_of.end(), members.mutable_data());
  return py::make_tuple(means, members);
}

}  // namespace

void register_weighted_boxes(py::module_& module) { module.def("fuse_boxes", &bind_fuse_boxes); }

}  // namespace pyifcn
