// What the bindings of both modules share: the checked arguments.
#pragma once

#include <cmath>
#include <string>

#include "nms/arguments.h"
#include "soft_nms/rule.h"

namespace pyifcn {

struct SoftNmsArguments {
  NmsArguments nms;
  const int64_t* idxs;  // or null
  SoftNmsRule rule;
  void* kept_scores;
};

inline SoftNmsArguments check_soft_nms(py::handle boxes, py::handle scores, py::handle idxs,
                                       double iou_threshold, double sigma, double min_score,
                                       const std::string& method, py::handle keep, py::handle kept_scores) {
  const NmsArguments nms = check_nms(boxes, scores, iou_threshold, keep);
  const int64_t* categories = idxs.is_none() ? nullptr : check_idxs(idxs, nms.count).data;
  require(method == "linear" || method == "gaussian", "method is '", method,
          "', expected 'linear' or 'gaussian'");
  require(sigma > 0, "sigma is ", sigma, ", expected more than 0");
  require(!std::isnan(min_score), "min_score is NaN");
  const Array out = as_array(kept_scores, "kept_scores");
  out.check(nms.boxes.dtype, 1);
  return {nms, categories, {method == "gaussian", iou_threshold, sigma, min_score}, out.data};
}

}  // namespace pyifcn
