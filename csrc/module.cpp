// The compiled module pyifcn._cpu.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "core/bind.h"
#include "core/dispatch.h"
#include "core/operators.h"

namespace pyifcn {
namespace {

std::vector<std::string> target_names() {
  std::vector<std::string> names;
  for (Target target : available_targets()) names.emplace_back(name_of(target));
  return names;
}

}  // namespace

PYBIND11_MODULE(_cpu, module) {
  register_errors();
  module.def("available_targets", &target_names);
  module.def("current_target", [] { return name_of(current_target()); });
  module.def("use_target", &use_target);
  register_assemble(module);
  register_assemble_prototypes(module);
  register_blend(module);
  register_nms(module);
  register_nms_inclusive(module);
  register_nms_from_iou(module);
  register_soft_nms(module);
  register_nms_padded(module);
  register_fast_nms(module);
  register_matrix_nms(module);
  register_masks(module);
  register_mask_sets(module);
  register_mask_geometry(module);
  register_mask_labels(module);
  register_mask_contours(module);
  register_mask_pixels(module);
  register_mask_overlap(module);
  register_rle(module);
  register_polygons(module);
  register_propose(module);
  register_ps_roi(module);
  register_mask_voting(module);
  register_swap_align2nat(module);
  register_vote(module);
  register_paste(module);
  register_weighted_boxes(module);
}

}  // namespace pyifcn
