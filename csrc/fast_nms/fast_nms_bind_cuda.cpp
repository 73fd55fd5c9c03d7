#include "core/at_most.h"
#include "core/bind.h"
#include "core/bind_cuda.h"
#include "core/operators.h"
#include "fast_nms/arguments.h"
#include "fast_nms/fast_nms_cuda.h"

namespace pyifcn {
namespace {

// Refuses what the CPU refuses; `idxs` may be None.
void bind_check_fast_nms(py::handle boxes, py::handle scores, py::handle idxs, double threshold,
                         py::handle keep) {
  check_fast_nms(boxes, scores, idxs, threshold, keep);
}

// The arguments are those of FastNmsCudaJob; `idxs` may be None.
void bind_fast_suppress(py::handle boxes, py::handle idxs, double threshold, py::handle order,
                        py::handle gone, const py::tuple& execution) {
  const Array b = as_array(boxes, "boxes");
  const int64_t* categories = idxs.is_none() ? nullptr : as_array(idxs, "idxs").view<const int64_t, 1>().data;
  const auto places = as_array(order, "order").view<const int64_t, 1>();
  const auto flags = as_array(gone, "gone").view<int32_t, 1>();
  const Stream stream = stream_of(execution);
  const auto suppress = [&]<class E>(E) {
    without_gil([&] {
      fast_nms_cuda<E>({b.view<const E, 2>(), categories, places, at_most<E>(threshold), flags}, stream);
    });
  };
  b.dtype == Dtype::float64 ? suppress(double()) : suppress(float());
}

}  // namespace

void register_fast_nms(py::module_& module) {
  module.def("check_fast_nms", &bind_check_fast_nms);
  module.def("fast_suppress", &bind_fast_suppress);
}

}  // namespace pyifcn
