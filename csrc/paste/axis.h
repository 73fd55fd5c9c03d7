// Where the pixels of an image read a soft mask along one axis, the same on the CPU and on a GPU.
#pragma once

#include <cmath>
#include <cstdint>

#include "core/target.h"

namespace pyifcn {

enum class PasteConvention { torchvision, detectron2 };

// A pixel lies between a cell and the next one, whose weight this is. Cells are counted with the ring of
// zeros that lies around the mask: 0..size + 1.
template <class E>
struct PasteTap {
  int32_t cell;
  E weight;
};

// The two sides of a box along an axis; of a box of floats they are floats.
struct PasteSides {
  double low, high;
  bool wide;  // of a box of doubles, and computed in those
};

// E is the type of the masks. Cells and weights rise or fall together, all along.
template <class E>
class PasteAxis {
public:
  int32_t begin = 0, end = 0;  // the pixels that read the mask, half-open

  // `size` cells without the ring, at most kMostPasteCells; `pixels` of the image, less than 2^31.
  PYIFCN_INLINE PasteAxis(PasteConvention convention, const PasteSides& sides, int64_t size, int64_t pixels)
      : convention_(convention), sides_(sides), size_(int32_t(size)) {
    if (convention == PasteConvention::detectron2)
      cover_detectron2(pixels);
    else if (sides.wide)
      cover_torchvision<double>(pixels);
    else
      cover_torchvision<float>(pixels);
  }

  PYIFCN_INLINE PasteTap<E> tap(int32_t pixel) const {
    if (convention_ == PasteConvention::torchvision) {
      const E at = step_ * (E(double(pixel) - first_) + E(0.5)) - E(0.5), from = at > 0 ? at : E(0);
      const int32_t cell = int32_t(from) < size_ + 1 ? int32_t(from) : size_ + 1;
      const E weight = from - E(cell);
      return {cell, weight < 1 ? weight : E(1)};
    }
    const E at = sides_.wide ? place<double>(pixel) : place<float>(pixel);
    if (!(at > -1 && at < E(size_))) return {at >= E(size_) ? size_ + 1 : 0, E(0)};
    const int32_t cell = int32_t(at + 1);
    const E weight = at - E(cell - 1);
    return {cell, weight > 0 ? weight < 1 ? weight : E(1) : E(0)};
  }

private:
  template <class T>
  PYIFCN_INLINE static bool is_finite(T value) {
    return value - value == 0;
  }

  PYIFCN_INLINE static int32_t pixel_at(double place, int64_t pixels) {
    return int32_t(place > 0 ? place < double(pixels) ? place : double(pixels) : 0);
  }

  PYIFCN_INLINE void cover(double first, double last, int64_t pixels) {
    begin = pixel_at(first, pixels);
    end = pixel_at(last, pixels);
    if (end < begin) end = begin;
  }

  // torchvision's: the mask with its ring is stretched over whole pixels. B is the type of the boxes.
  template <class B>
  PYIFCN_INLINE void cover_torchvision(int64_t pixels) {
    const B low = B(sides_.low), high = B(sides_.high);
    const B ring = B(double(size_ + 2) / double(size_));
    const B half = (high - low) * B(0.5) * ring, centre = (high + low) * B(0.5);
    const double last = std::trunc(double(centre + half));
    first_ = std::trunc(double(centre - half));
    if (!is_finite(E(first_)) || !is_finite(E(last))) return;
    cover(first_, last + 1, pixels);
    step_ = E(size_ + 2) / E(last - first_ + 1);
  }

  // detectron2's: the mask is sampled at the pixels' centres, up to a pixel outside the box.
  PYIFCN_INLINE void cover_detectron2(int64_t pixels) {
    if (is_finite(sides_.low) && is_finite(sides_.high))
      cover(std::floor(sides_.low) - 1, std::ceil(sides_.high) + 1, pixels);
  }

  template <class B>
  PYIFCN_INLINE E place(int32_t pixel) const {
    const B low = B(sides_.low), high = B(sides_.high);
    const B part = (B(pixel) + B(0.5) - low) / (high - low) * 2 - 1;
    return ((E(part) + 1) * E(size_) - 1) / 2;
  }

  PasteConvention convention_;
  PasteSides sides_;
  int32_t size_;
  double first_ = 0;  // torchvision's: the first of the pixels, also where the image does not have it
  E step_ = 0;        // and the cells from one to the next
};

}  // namespace pyifcn
