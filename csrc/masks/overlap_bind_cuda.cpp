#include "core/bind_cuda.h"
#include "core/operators.h"
#include "masks/bind_cuda.h"
#include "masks/overlap_cuda.h"

namespace pyifcn {
namespace {

// Fills in `out` (N, M), float64, which is all zeros, where masks share pixels.
void bind_masks_iou(py::handle boxes, py::handle offsets, py::handle words, py::handle other_boxes,
                    py::handle other_offsets, py::handle other_words, py::handle areas,
                    py::handle other_areas, const std::string& kind, py::handle out,
                    const py::tuple& stream) {
  MasksIouJob job{masks_on_device(boxes, offsets, words),
                  masks_on_device(other_boxes, other_offsets, other_words),
                  as_array(areas, "areas").view<const int64_t, 1>(),
                  as_array(other_areas, "other_areas").view<const int64_t, 1>(),
                  kind_of(kind),
                  false,
                  {}};
  job.same = job.mine.boxes.data == job.yours.boxes.data && job.mine.words.data == job.yours.words.data;
  const auto ratios = as_array(out, "out").view<double, 2>();
  job.out = {reinterpret_cast<uint64_t*>(ratios.data), {ratios.shape[0], ratios.shape[1]}};
  const Stream where = stream_of(stream);
  without_gil([&] { masks_iou_cuda(job, where); });
}

// The arguments are those of MaskNmsJob; `idxs` may be None.
void bind_masks_suppress(py::handle boxes, py::handle offsets, py::handle words, py::handle areas,
                         py::handle order, py::handle idxs, double threshold, py::handle overlaps,
                         py::handle counts, py::handle keep, py::handle groups, const py::tuple& stream) {
  MaskNmsJob job{masks_on_device(boxes, offsets, words),
                 as_array(areas, "areas").view<const int64_t, 1>(),
                 as_array(order, "order").view<const int64_t, 1>(),
                 {nullptr, {0}},
                 threshold,
                 as_array(overlaps, "overlaps").view<int32_t, 2>(),
                 as_array(counts, "counts").view<int64_t, 1>(),
                 as_array(keep, "keep").view<int64_t, 1>(),
                 as_array(groups, "groups").view<int64_t, 1>()};
  if (!idxs.is_none()) job.idxs = as_array(idxs, "idxs").view<const int64_t, 1>();
  const Stream where = stream_of(stream);
  without_gil([&] { mask_nms_cuda(job, where); });
}

}  // namespace

void register_mask_overlap(py::module_& module) {
  module.attr("MASK_TILE") = kMaskTile;
  module.def("masks_iou", &bind_masks_iou);
  module.def("masks_suppress", &bind_masks_suppress);
}

}  // namespace pyifcn
