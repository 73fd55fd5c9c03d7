// What the bindings share that start the greedy kernel.
#pragma once

#include "core/bind.h"
#include "nms/greedy_cuda.h"

namespace pyifcn {

// The elements of an array, or null for None.
template <class T, int R>
T* optional_data(py::handle array, const char* name) {
  return array.is_none() ? nullptr : as_array(array, name).view<T, R>().data;
}

// `gone` and `groups` may be None.
inline GreedyCudaJob greedy_job(py::handle order, py::handle gone, py::handle state, py::handle keep,
                                py::handle groups) {
  return {as_array(order, "order").view<const int64_t, 2>(), optional_data<const bool, 2>(gone, "gone"),
          as_array(state, "state").view<int64_t, 2>(), as_array(keep, "keep").view<int64_t, 2>(),
          optional_data<int64_t, 2>(groups, "groups")};
}

}  // namespace pyifcn
