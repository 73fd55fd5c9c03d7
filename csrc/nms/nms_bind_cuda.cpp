#include "core/at_most.h"
#include "core/bind.h"
#include "core/bind_cuda.h"
#include "core/operators.h"
#include "nms/arguments.h"
#include "nms/greedy_arguments_cuda.h"
#include "nms/nms_cuda.h"
#include "nms/order_cuda.h"

namespace pyifcn {
namespace {

// Refuses what the CPU refuses; `idxs` may be None.
void bind_check_nms(py::handle boxes, py::handle scores, py::handle idxs, double threshold, py::handle keep) {
  const NmsArguments a = check_nms(boxes, scores, threshold, keep);
  if (!idxs.is_none()) check_idxs(idxs, a.count);
}

// The arguments are those of NmsCudaJob and GreedyCudaJob; `idxs`, `gone` and `groups` may be None.
void bind_suppress(py::handle boxes, py::handle idxs, double threshold, py::handle order, py::handle gone,
                   py::handle state, py::handle keep, py::handle groups, const py::tuple& execution) {
  const GreedyCudaJob greedy = greedy_job(order, gone, state, keep, groups);
  const Array b = as_array(boxes, "boxes");
  const int64_t* categories = optional_data<const int64_t, 2>(idxs, "idxs");
  const Stream stream = stream_of(execution);
  without_gil([&] {
    if (b.dtype == Dtype::float64)
      nms_cuda<double>({greedy, b.view<const double, 3>(), categories, at_most<double>(threshold)}, stream);
    else
      nms_cuda<float>({greedy, b.view<const float, 3>(), categories, at_most<float>(threshold)}, stream);
  });
}

// Calls `work` with the job for scores (B, N) and gone (B, N) or None.
template <class Work>
void by_score_type(py::handle scores, py::handle gone, Work work) {
  const Array s = as_array(scores, "scores");
  const bool* absent = optional_data<const bool, 2>(gone, "gone");
  without_gil([&] {
    if (s.dtype == Dtype::float64)
      work(ScoresJob<double>{s.view<const double, 2>(), absent});
    else
      work(ScoresJob<float>{s.view<const float, 2>(), absent});
  });
}

// Fills in order (B, N), int64; N is at most FEW_SCORES.
void bind_order_few(py::handle scores, py::handle gone, py::handle order, const py::tuple& execution) {
  int64_t* out = as_array(order, "order").view<int64_t, 2>().data;
  const Stream stream = stream_of(execution);
  by_score_type(scores, gone, [&](const auto& job) { order_few_cuda(job, out, stream); });
}

// Fills in keys (B, N), integers of the size of the scores.
void bind_score_keys(py::handle scores, py::handle gone, py::handle keys, const py::tuple& execution) {
  void* out = as_array(keys, "keys").data;
  const Stream stream = stream_of(execution);
  by_score_type(scores, gone, [&](const auto& job) { score_keys_cuda(job, out, stream); });
}

}  // namespace

void register_nms(py::module_& module) {
  module.attr("FEW_SCORES") = kFewScores;
  module.attr("MOVED_BOXES") = kMovedBoxes;
  module.def("check_nms", &bind_check_nms);
  module.def("suppress", &bind_suppress);
  module.def("order_few", &bind_order_few);
  module.def("score_keys", &bind_score_keys);
}

}  // namespace pyifcn
