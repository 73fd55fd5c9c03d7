// What the bindings of both modules share: the checked arguments.
#pragma once

#include "core/bind.h"
#include "core/elements.h"

namespace pyifcn {

struct BlendArguments {
  static constexpr int64_t kMostSide = 1 << 24;  // whole numbers of a float
  Array bases, attention;

  BlendArguments(py::handle bases_, py::handle attention_)
      : bases(as_array(bases_, "bases")), attention(as_array(attention_, "attention")) {
    check_elements(bases);
    bases.check_rank(4);
    attention.check(bases.dtype, 4);
    require(bases.shape[1] > 0, "bases has 0 channels, expected at least 1");
    for (int axis : {0, 1})
      require(attention.shape[axis] == bases.shape[axis], "attention has shape (", attention.shape[0], ", ",
              attention.shape[1], ", ...), expected (", bases.shape[0], ", ", bases.shape[1],
              ", ...) as that of bases");
    for (int axis : {2, 3}) {
      require(1 <= attention.shape[axis] && attention.shape[axis] <= kMostSide, "attention has a side of ",
              attention.shape[axis], ", expected 1 to ", kMostSide);
      require(bases.shape[axis] <= kMostSide, "bases has a side of ", bases.shape[axis],
              ", expected at most ", kMostSide);
    }
  }

  void check_result(const Array& array) const {
    array.check(bases.dtype, 3);
    const int64_t wanted[] = {bases.shape[0], bases.shape[2], bases.shape[3]};
    for (int axis = 0; axis < 3; ++axis)
      require(array.shape[axis] == wanted[axis], array.name, " has a size of ", array.shape[axis],
              " along axis ", axis, ", expected ", wanted[axis]);
  }

  // What the forward pass gave, for its sigmoid's gradient; nullptr for None.
  const void* values_of(const py::object& out) const {
    if (out.is_none()) return nullptr;
    const Array array = as_array(out, "out");
    check_result(array);
    return array.data;
  }
};

}  // namespace pyifcn
