// What the bindings of both modules share: the checked arguments.
#pragma once

#include <optional>

#include "assemble_prototypes/crop.h"
#include "core/bind.h"
#include "core/elements.h"

namespace pyifcn {

struct PrototypesArguments {
  Array prototypes, coefficients;
  std::optional<Array> boxes, images;  // of float64 and of int64

  PrototypesArguments(py::handle prototypes_, py::handle coefficients_, const py::object& boxes_,
                      const py::object& images_)
      : prototypes(as_array(prototypes_, "prototypes")),
        coefficients(as_array(coefficients_, "coefficients")) {
    check_elements(prototypes);
    prototypes.check_rank(4);
    coefficients.check(prototypes.dtype, 2);
    const int64_t count = coefficients.shape[0], channels = prototypes.shape[1];
    require(coefficients.shape[1] == channels, "coefficients has shape (", count, ", ", coefficients.shape[1],
            "), expected (N, ", channels, "): one for each of the prototypes");
    for (int axis : {2, 3})
      require(prototypes.shape[axis] <= kMostSide, "prototypes has a side of ", prototypes.shape[axis],
              " pixels, expected at most ", kMostSide);
    if (!boxes_.is_none()) {
      boxes = as_array(boxes_, "boxes");
      boxes->check(Dtype::float64, 2);
      require(boxes->shape[0] == count && boxes->shape[1] == 4, "boxes has shape (", boxes->shape[0], ", ",
              boxes->shape[1], "), expected (", count, ", 4): x1, y1, x2, y2 for each detection");
    }
    if (images_.is_none()) return;
    images = as_array(images_, "images");
    images->check(Dtype::int64, 1);
    require(images->shape[0] == count, "images has ", images->shape[0], " elements, expected ", count,
            ": one for each detection");
  }

  void check_result(const Array& array) const {
    array.check(prototypes.dtype, 3);
    const int64_t wanted[] = {coefficients.shape[0], prototypes.shape[2], prototypes.shape[3]};
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

  const double* box_data() const { return boxes ? static_cast<const double*>(boxes->data) : nullptr; }
  const int64_t* image_data() const { return images ? static_cast<const int64_t*>(images->data) : nullptr; }
};

}  // namespace pyifcn
