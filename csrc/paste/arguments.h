// What the bindings of both modules share: the checked arguments.
#pragma once

#include <cmath>
#include <limits>
#include <string>

#include "core/at_most.h"
#include "core/bind.h"
#include "paste/axis.h"

namespace pyifcn {

inline constexpr int64_t kMostPasteCells = 1 << 24;  // a side: whole numbers of a float

inline PasteConvention paste_convention_of(const std::string& name) {
  if (name == "torchvision") return PasteConvention::torchvision;
  require(name == "detectron2", "convention is '", name, "', expected 'torchvision' or 'detectron2'");
  return PasteConvention::detectron2;
}

// Masks and boxes of float32 or float64, and masks of half types where those are read.
inline void check_paste(const Array& masks, const Array& boxes, bool reads_half) {
  const auto is_read = [](const Array& array, bool half) {
    return array.dtype == Dtype::float32 || array.dtype == Dtype::float64 ||
           (half && (array.dtype == Dtype::float16 || array.dtype == Dtype::bfloat16));
  };
  for (const Array* array : {&masks, &boxes})
    if (!is_read(*array, reads_half && array == &masks))
      throw type_error(sentence(array->name, " is ", array->dtype_name(),
                                ", expected float16, bfloat16, float32 or float64"));
  masks.check_rank(3);
  boxes.check_rank(2);
  const int64_t count = masks.shape[0];
  require(boxes.shape[0] == count && boxes.shape[1] == 4, "boxes has shape (", boxes.shape[0], ", ",
          boxes.shape[1], "), expected (", count, ", 4): one x1, y1, x2, y2 for each mask");
  for (int axis : {1, 2})
    require(count == 0 || (1 <= masks.shape[axis] && masks.shape[axis] <= kMostPasteCells),
            "masks has a side of ", masks.shape[axis], ", expected 1 to ", kMostPasteCells);
}

// The largest number that is not above the threshold, or that is below where equal values count as set.
template <class E>
E paste_threshold(double threshold, PasteConvention convention) {
  require(threshold >= 0, "threshold is ", threshold, ", expected at least 0");
  const E above = at_most<E>(threshold);
  if (convention == PasteConvention::torchvision || double(above) < threshold) return above;
  return std::nextafter(above, -std::numeric_limits<E>::infinity());
}

}  // namespace pyifcn
