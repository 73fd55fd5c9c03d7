#include <string>

#include "core/bind_cuda.h"
#include "core/operators.h"
#include "masks/bind_cuda.h"
#include "masks/sets_cuda.h"

namespace pyifcn {
namespace {

CudaSetOp set_op_of(const std::string& name) {
  if (name == "union") return CudaSetOp::unite;
  return name == "intersection" ? CudaSetOp::intersect : CudaSetOp::subtract;
}

void bind_combine(const std::string& op, py::handle boxes, py::handle offsets, py::handle words,
                  py::handle other_boxes, py::handle other_offsets, py::handle other_words,
                  py::handle to_boxes, py::handle to_offsets, py::handle to_words, const py::tuple& stream) {
  const CudaMasks a = masks_on_device(boxes, offsets, words);
  const CudaMasks b = masks_on_device(other_boxes, other_offsets, other_words);
  require(a.count() == b.count() || a.count() == 1 || b.count() == 1, "other has ", b.count(),
          " masks, expected ", a.count(), " or 1");
  const MasksInMaking made = masks_in_making(to_boxes, to_offsets, to_words);
  const Stream where = stream_of(stream);
  without_gil([&] { combine_masks_cuda(set_op_of(op), a, b, made, where); });
}

void bind_merge(py::handle boxes, py::handle offsets, py::handle words, py::handle frame, bool intersect,
                py::handle to_boxes, py::handle to_offsets, py::handle to_words, const py::tuple& stream) {
  const CudaMasks masks = masks_on_device(boxes, offsets, words);
  const auto box = as_array(frame, "frame").view<const int32_t, 1>();
  const MasksInMaking made = masks_in_making(to_boxes, to_offsets, to_words);
  const Stream where = stream_of(stream);
  without_gil([&] { merge_masks_cuda(masks, box, intersect, made, where); });
}

}  // namespace

void register_mask_sets(py::module_& module) {
  module.def("masks_combine", &bind_combine);
  module.def("masks_merge", &bind_merge);
}

}  // namespace pyifcn
