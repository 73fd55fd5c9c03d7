// How scores are lowered.
#pragma once

#include <algorithm>
#include <limits>

#include "core/at_most.h"

namespace pyifcn {

struct SoftNmsRule {
  bool gaussian;  // else linear
  double iou_threshold, sigma, min_score;
};

// The same in E: decides as the doubles would.
template <class E>
struct SoftNmsRuleIn {
  bool gaussian;
  E threshold;  // linear: the least E not below the threshold
  E sigma, min_score;

  explicit SoftNmsRuleIn(const SoftNmsRule& rule)
      : gaussian(rule.gaussian),
        threshold(-at_most<E>(-rule.iou_threshold)),
        sigma(std::max(E(rule.sigma), std::numeric_limits<E>::min())),
        min_score(-at_most<E>(-rule.min_score)) {}
};

}  // namespace pyifcn
