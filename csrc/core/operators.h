// The operators that the modules offer, one line each; module.cpp calls them.
#pragma once

#include <pybind11/pybind11.h>

namespace pyifcn {

void register_assemble(pybind11::module_& module);
void register_assemble_prototypes(pybind11::module_& module);
void register_blend(pybind11::module_& module);
void register_nms(pybind11::module_& module);
void register_nms_inclusive(pybind11::module_& module);
void register_nms_from_iou(pybind11::module_& module);
void register_soft_nms(pybind11::module_& module);
void register_nms_padded(pybind11::module_& module);
void register_fast_nms(pybind11::module_& module);
void register_matrix_nms(pybind11::module_& module);
void register_masks(pybind11::module_& module);
void register_mask_sets(pybind11::module_& module);
void register_mask_geometry(pybind11::module_& module);
void register_mask_labels(pybind11::module_& module);
void register_mask_contours(pybind11::module_& module);
void register_mask_pixels(pybind11::module_& module);
void register_mask_overlap(pybind11::module_& module);
void register_rle(pybind11::module_& module);
void register_polygons(pybind11::module_& module);
void register_propose(pybind11::module_& module);
void register_render(pybind11::module_& module);
void register_ps_roi(pybind11::module_& module);
void register_mask_voting(pybind11::module_& module);
void register_swap_align2nat(pybind11::module_& module);
void register_vote(pybind11::module_& module);
void register_paste(pybind11::module_& module);
void register_weighted_boxes(pybind11::module_& module);

}  // namespace pyifcn
