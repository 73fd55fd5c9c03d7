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
  register_mask_pixels(module);
  register_nms(module);
  register_propose(module);
  register_ps_roi(module);
  register_swap_align2nat(module);
}
