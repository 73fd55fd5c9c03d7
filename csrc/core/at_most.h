// A threshold in the type of what it is compared with.
#pragma once

#include <cmath>
#include <limits>

namespace pyifcn {

// The largest E that is not above: `x > value` says the same of both for any x in E. Never -0.
template <class E>
E at_most(double value) {
  const E nearest = E(value) + E(0);
  return double(nearest) > value ? std::nextafter(nearest, -std::numeric_limits<E>::infinity()) : nearest;
}

}  // namespace pyifcn
