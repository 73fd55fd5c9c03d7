// What the bindings of both modules share: the checked arguments.
#pragma once

#include "nms/arguments.h"

namespace pyifcn {

struct FastNmsArguments {
  NmsArguments nms;
  const int64_t* idxs;  // or null
};

inline FastNmsArguments check_fast_nms(py::handle boxes, py::handle scores, py::handle idxs, double threshold,
                                       py::handle keep) {
  const NmsArguments nms = check_nms(boxes, scores, threshold, keep);
  return {nms, idxs.is_none() ? nullptr : check_idxs(idxs, nms.count).data};
}

}  // namespace pyifcn
