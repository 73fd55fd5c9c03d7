// What the bindings of both modules share: the checked arguments.
#pragma once

#include "core/bind.h"
#include "core/elements.h"
#include "swap_align2nat/positions.h"

namespace pyifcn {

// The input (B, V V, H, W) and the output of a call, or the gradients of both.
struct SwapArguments {
  Array in, out;
  SwapShape shape;

  SwapArguments(py::handle in_, const char* in_name, py::handle out_, const char* out_name, int64_t lambda)
      : in(as_array(in_, in_name)), out(as_array(out_, out_name)) {
    check_elements(in);
    in.check_rank(4);
    out.check(in.dtype, 4);
    int64_t side = 0;
    while (side * side < in.shape[1]) ++side;
    require(side > 0 && side * side == in.shape[1], in.name, " has ", in.shape[1],
            " channels, expected V * V for windows of V x V units");
    shape = {side, lambda, in.shape[2], in.shape[3]};
    const int64_t wanted[] = {in.shape[0], shape.out_side() * shape.out_side(), shape.out_height(),
                              shape.out_width()};
    for (int axis = 0; axis < 4; ++axis)
      require(out.shape[axis] == wanted[axis], out.name, " has a size of ", out.shape[axis], " along axis ",
              axis, ", expected ", wanted[axis]);
  }

  int64_t images() const { return in.shape[0]; }
  bool is_empty() const { return images() == 0 || shape.height == 0 || shape.width == 0; }
  // Rows of the output of all u, which are as many as rows that are mixed.
  int64_t tasks() const { return images() * shape.out_side() * shape.out_height(); }
};

}  // namespace pyifcn
