#include "core/at_most.h"
#include "core/bind.h"
#include "core/bind_cuda.h"
#include "core/operators.h"
#include "nms/greedy_arguments_cuda.h"
#include "nms_from_iou/arguments.h"
#include "nms_from_iou/nms_from_iou_cuda.h"

namespace pyifcn {
namespace {

// Refuses what the CPU refuses.
void bind_check_nms_from_iou(py::handle iou, py::handle scores, double threshold, py::handle keep,
                             py::handle groups) {
  check_nms_from_iou(iou, scores, threshold, keep, groups);
}

// The arguments are those of IouCudaJob and GreedyCudaJob.
void bind_suppress_from_iou(py::handle iou, double threshold, py::handle order, py::handle state,
                            py::handle keep, py::handle groups, const py::tuple& execution) {
  const Array matrix = as_array(iou, "iou");
  const GreedyCudaJob greedy = greedy_job(order, py::none(), state, keep, groups);
  const Stream stream = stream_of(execution);
  const auto run = [&]<class S>(S) {
    nms_from_iou_cuda<S>({greedy, matrix.raw_view<const S, 2>(), at_most<Computed<S>>(threshold)}, stream);
  };
  without_gil([&] {
    switch (matrix.dtype) {
      case Dtype::float16:
        return run(Float16{});
      case Dtype::bfloat16:
        return run(Bfloat16{});
      case Dtype::float32:
        return run(float{});
      default:
        return run(double{});
    }
  });
}

}  // namespace

void register_nms_from_iou(py::module_& module) {
  module.def("check_nms_from_iou", &bind_check_nms_from_iou);
  module.def("suppress_from_iou", &bind_suppress_from_iou);
}

}  // namespace pyifcn
