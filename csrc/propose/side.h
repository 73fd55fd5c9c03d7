// Which pixels of an image lie in a window, along one axis, and what each is blended of.
#pragma once

#include <cmath>
#include <cstdint>

#include "core/target.h"
#include "propose/propose.h"

namespace pyifcn {

// The window's first cell is cell `centre - size / 2` of a map of `cells`, each `stride` of the image's
// `pixels` large.
class WindowSide {
public:
  int64_t first, last;  // pixels whose centres lie in cells of the window that the map has, half-open

  PYIFCN_INLINE WindowSide(int64_t centre, int64_t size, int64_t cells, double stride, int64_t pixels)
      : origin_(centre - size / 2),
        begin_(origin_ > 0 ? origin_ : 0),
        end_(origin_ + size < cells ? origin_ + size : cells),
        stride_(stride) {
    first = pixel_from(begin_, pixels);
    last = pixel_from(end_, pixels);
    if (last < first) last = first;
  }

  PYIFCN_INLINE RenderTap tap(int64_t pixel) const {
    const double low = double(begin_), high = double(end_ - 1);
    const double place = (double(pixel) + 0.5) / stride_ - 0.5;
    const double at = place < low ? low : place > high ? high : place;
    const int64_t cell = int64_t(at), next = cell + 1 < end_ ? cell + 1 : end_ - 1;
    return {int32_t(cell - origin_), int32_t(next - origin_), float(at - double(cell))};
  }

private:
  // Pixel X lies in the cells if begin stride <= X + 0.5 < end stride.
  PYIFCN_INLINE int64_t pixel_from(int64_t cell, int64_t pixels) const {
    const double pixel = std::ceil(double(cell) * stride_ - 0.5), most = double(pixels);
    return int64_t(pixel > 0 ? pixel < most ? pixel : most : 0);
  }

  int64_t origin_, begin_, end_;
  double stride_;
};

}  // namespace pyifcn
