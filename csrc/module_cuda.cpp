// The compiled module pyifcn._cuda: the operators of module.cpp for CUDA tensors. Loading it needs no driver.
#include <pybind11/pybind11.h>

#include "core/bind.h"
#include "core/operators.h"

PYBIND11_MODULE(_cuda, module) {
  using namespace pyifcn;
  register_errors();
  module.attr("architectures") = PYIFCN_CUDA_ARCHS;
  module.attr("toolkit") = PYIFCN_CUDA_TOOLKIT;
  register_assemble(module);
  register_assemble_prototypes(module);
  register_blend(module);
  register_fast_nms(module);
  register_mask_geometry(module);
  register_mask_labels(module);
  register_mask_overlap(module);
  register_mask_pixels(module);
  register_mask_sets(module);
  register_mask_voting(module);
  register_matrix_nms(module);
  register_nms(module);
  register_nms_from_iou(module);
  register_nms_padded(module);
  register_paste(module);
  register_propose(module);
  register_ps_roi(module);
  register_render(module);
  register_rle(module);
  register_soft_nms(module);
  register_swap_align2nat(module);
  register_vote(module);
}
