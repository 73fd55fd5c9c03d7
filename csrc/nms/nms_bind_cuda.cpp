#include "core/at_most.h"
#include "core/bind.h"
#include "core/bind_cuda.h"
#include "core/operators.h"
#include "nms/arguments.h"
#include "nms/nms_cuda.h"

namespace pyifcn {
namespace {

template <class E>
void run(const Array& boxes, py::handle order, py::handle groups, double threshold, py::handle gone,
         py::handle overlaps, py::handle counts, py::handle keep, const Stream& stream) {
  NmsCudaJob<E> job{boxes.view<const E, 3>(),
                    as_array(order, "order").view<const int64_t, 2>(),
                    {nullptr, {0, 0}},
                    at_most<E>(threshold),
                    as_array(gone, "gone").view<bool, 2>(),
                    {nullptr, {0, 0, kNmsTileWords}},
                    as_array(counts, "counts").view<int64_t, 2>(),
                    as_array(keep, "keep").view<int64_t, 2>()};
  if (!groups.is_none()) job.groups = as_array(groups, "idxs").view<const int64_t, 2>();
  // torch has few operators on uint64, and so lends int64.
  job.overlaps.data = reinterpret_cast<uint64_t*>(as_array(overlaps, "overlaps").view<int64_t, 3>().data);
  without_gil([&] { nms_cuda(job, stream); });
}

// Refuses what the CPU refuses; `idxs` may be None.
void bind_check_nms(py::handle boxes, py::handle scores, py::handle idxs, double threshold, py::handle keep) {
  const NmsArguments a = check_nms(boxes, scores, threshold, keep);
  if (!idxs.is_none()) check_idxs(idxs, a.count);
}

// The arguments are those of NmsCudaJob; `groups` may be None.
void bind_suppress(py::handle boxes, py::handle order, py::handle groups, double threshold, py::handle gone,
                   py::handle overlaps, py::handle counts, py::handle keep, const py::tuple& stream) {
  const Array b = as_array(boxes, "boxes");
  if (b.dtype == Dtype::float64)
    run<double>(b, order, groups, threshold, gone, overlaps, counts, keep, stream_of(stream));
  else
    run<float>(b, order, groups, threshold, gone, overlaps, counts, keep, stream_of(stream));
}

}  // namespace

void register_nms(py::module_& module) {
  module.attr("NMS_TILE") = kNmsTile;
  module.attr("MOVED_BOXES") = kMovedBoxes;
  module.def("check_nms", &bind_check_nms);
  module.def("suppress", &bind_suppress);
}

}  // namespace pyifcn
