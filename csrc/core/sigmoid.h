// 1 / (1 + e^-x), the same bits everywhere.
#pragma once

#include "core/exp.h"

namespace pyifcn {
namespace {

template <class V>
PYIFCN_INLINE V sigmoid(V x) {
  return V::all(1) / (V::all(1) + exp(V::all(0) - x));
}

// What a gradient of the sigmoid's value `y` is for its argument.
template <class V>
PYIFCN_INLINE V sigmoid_gradient(V grad, V y) {
  return grad * (V::all(1) - y) * y;
}

}  // namespace
}  // namespace pyifcn
