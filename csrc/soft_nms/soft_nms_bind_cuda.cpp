#include <string>

#include "core/bind.h"
#include "core/bind_cuda.h"
#include "core/operators.h"
#include "soft_nms/arguments.h"
#include "soft_nms/soft_nms_cuda.h"

namespace pyifcn {
namespace {

// Refuses what the CPU refuses.
void bind_check_soft_nms(py::handle boxes, py::handle scores, py::handle idxs, double iou_threshold,
                         double sigma, double min_score, const std::string& method, py::handle keep,
                         py::handle kept_scores) {
  check_soft_nms(boxes, scores, idxs, iou_threshold, sigma, min_score, method, keep, kept_scores);
}

// Calls `work` with a value of the boxes' type.
template <class Work>
void by_box_type(const Array& boxes, Work work) {
  without_gil([&] { boxes.dtype == Dtype::float64 ? work(double{}) : work(float{}); });
}

void bind_curve_keys(py::handle boxes, py::handle scores, double min_score, py::handle keys,
                     const py::tuple& execution) {
  const Array b = as_array(boxes, "boxes"), s = as_array(scores, "scores");
  int64_t* out = as_array(keys, "keys").view<int64_t, 1>().data;
  const Stream stream = stream_of(execution);
  by_box_type(b, [&]<class E>(E) {
    const SoftNmsRuleIn<E> rule({false, 0, 1, min_score});
    curve_keys_cuda(b.view<const E, 2>(), s.view<const E, 1>().data, rule.min_score, out, stream);
  });
}

// The arguments are those of SoftNmsCudaJob; `placed` is (N, 5) with room for `left`, and `cells` (cells, 5)
// with room for `best`.
void bind_soft_suppress(py::handle boxes, py::handle scores, py::handle places, py::handle starts,
                        double iou_threshold, double sigma, double min_score, const std::string& method,
                        py::handle placed, py::handle cells, py::handle best_index, py::handle kept,
                        const py::tuple& execution) {
  const Array b = as_array(boxes, "boxes"), s = as_array(scores, "scores"), k = as_array(kept, "kept");
  const Array p = as_array(placed, "placed"), c = as_array(cells, "cells");
  const auto by_place = as_array(places, "places").view<const int64_t, 1>();
  const auto from = as_array(starts, "starts").view<const int64_t, 1>();
  int64_t* indices = as_array(best_index, "best_index").view<int64_t, 1>().data;
  const Stream stream = stream_of(execution);
  by_box_type(b, [&]<class E>(E) {
    E *by_box = p.view<E, 2>().data, *by_cell = c.view<E, 2>().data;
    const SoftNmsCudaJob<E> job{SoftNmsRuleIn<E>({method == "gaussian", iou_threshold, sigma, min_score}),
                                b.view<const E, 2>(),
                                s.view<const E, 1>(),
                                by_place,
                                from,
                                by_box,
                                by_box + 4 * p.shape[0],
                                by_cell,
                                reinterpret_cast<ScoreKey<E>*>(by_cell + 4 * c.shape[0]),
                                indices,
                                k.view<E, 1>().data};
    soft_nms_cuda(job, stream);
  });
}

}  // namespace

void register_soft_nms(py::module_& module) {
  module.attr("SOFT_CELL") = kSoftCell;
  module.def("check_soft_nms", &bind_check_soft_nms);
  module.def("curve_keys", &bind_curve_keys);
  module.def("soft_suppress", &bind_soft_suppress);
}

}  // namespace pyifcn
