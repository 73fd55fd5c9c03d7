// How matrix NMS lowers scores.
#pragma once

#include <cmath>
#include <string>

#include "core/check.h"

namespace pyifcn {

// Whether the kernel is the Gaussian one, not the linear one.
inline bool is_gaussian(const std::string& kernel, double sigma) {
  require(kernel == "gaussian" || kernel == "linear", "kernel is '", kernel,
          "', expected 'gaussian' or 'linear'");
  require(sigma > 0 && std::isfinite(sigma), "sigma is ", sigma, ", expected more than 0 and finite");
  return kernel == "gaussian";
}

}  // namespace pyifcn
