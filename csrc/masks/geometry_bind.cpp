#include "masks/geometry.h"

#include "core/dispatch.h"
#include "core/operators.h"
#include "masks/bits.h"
#include "masks/build.h"

namespace pyifcn {
namespace {

// A mask moved by (dx, dy) into an image of `height` by `width`, cut at its border.
struct Shifted {
  MaskView mask;
  int64_t dx, dy, height, width;
  decltype(&shift_rows<Target::scalar>) kernel;

  Extent extent() const {
    const Extent whole{mask.x1 + dx, mask.y1 + dy, mask.x2 + dx, mask.y2 + dy, true};
    if (0 <= whole.x1 && whole.x2 <= width && 0 <= whole.y1 && whole.y2 <= height) return whole;
    return {std::max<int64_t>(whole.x1, 0), std::max<int64_t>(whole.y1, 0), std::min(whole.x2, width),
            std::min(whole.y2, height), false};
  }
  void fill(int64_t begin, int64_t end, int64_t first, int64_t across, uint64_t* to) const {
    const int64_t mask_across = mask.across();
    kernel(mask.words + (begin - dy - mask.y1) * mask_across, mask_across, end - begin,
           64 * (first - mask.x1 / 64) - dx, to, across);
    const int64_t beyond = 64 * (first + across) - width;  // bits that lie outside the image
    if (beyond <= 0) return;
    for (int64_t row = 1; row <= end - begin; ++row) to[row * across - 1] &= ~uint64_t(0) >> beyond;
  }
};

// Left and right exchanged.
struct Mirrored {
  MaskView mask;
  int64_t width;
  decltype(&mirror_rows<Target::scalar>) kernel;

  Extent extent() const { return {width - mask.x2, mask.y1, width - mask.x1, mask.y2, true}; }
  void fill(int64_t begin, int64_t end, int64_t first, int64_t across, uint64_t* to) const {
    const int64_t mask_across = mask.across();
    kernel(mask.words + (begin - mask.y1) * mask_across, mask_across, end - begin,
           width - 1 - 64 * (first + mask.x1 / 64), to, across);
  }
};

// Top and bottom exchanged.
struct UpsideDown {
  MaskView mask;
  int64_t height;

  Extent extent() const { return {mask.x1, height - mask.y2, mask.x2, height - mask.y1, true}; }
  void fill(int64_t begin, int64_t end, int64_t, int64_t across, uint64_t* to) const {
    for (int64_t y = begin; y < end; ++y, to += across)
      std::copy_n(mask.words + (height - 1 - y - mask.y1) * across, across, to);
  }
};

// Where pixels of a resized side come from: pixel d has its centre over pixel floor((2 d + 1) in / (2 out)).
struct Side {
  int64_t in, out;

  int64_t source(int64_t d) const { return (2 * d + 1) * in / (2 * out); }
  // The first pixel that comes from pixel `from` or one behind it.
  int64_t first(int64_t from) const { return from == 0 ? 0 : (2 * out * from + in - 1) / (2 * in); }
};

// A mask in an image of another size. Runs are resized, not pixels.
struct Resized {
  MaskView mask;
  Side y, x;

  Extent extent() const {
    return {x.first(mask.x1), y.first(mask.y1), x.first(mask.x2), y.first(mask.y2),
            x.out >= x.in && y.out >= y.in};
  }
  void fill(int64_t begin, int64_t end, int64_t first, int64_t across, uint64_t* to) const {
    const int64_t mask_across = mask.across(), left = mask.x1 / 64 * 64;
    const int64_t low = 64 * first, high = 64 * (first + across);
    int64_t before = -1;
    for (int64_t row = begin; row < end; ++row, to += across) {
      const int64_t from = y.source(row);
      if (from == before) {
        std::copy_n(to - across, across, to);
        continue;
      }
      before = from;
      std::fill_n(to, across, uint64_t(0));
      visit_runs(mask.words + (from - mask.y1) * mask_across, mask_across, [&](int64_t start, int64_t stop) {
        start = std::clamp(x.first(left + start), low, high);
        stop = std::clamp(x.first(left + stop), low, high);
        if (start < stop) set_bits(to, start - low, stop - low);
      });
    }
  }
};

py::tuple bind_shift(py::handle boxes, py::handle offsets, py::handle words, int64_t dx, int64_t dy,
                     int64_t height, int64_t width, int threads) {
  const MasksView masks(boxes, offsets, words);
  const auto kernel = dispatch([]<Target T>() { return &shift_rows<T>; });
  return build_masks(masks.count(), threads,
                     [&](int64_t i) { return Shifted{masks[i], dx, dy, height, width, kernel}; });
}

py::tuple bind_flip(py::handle boxes, py::handle offsets, py::handle words, bool horizontal, int64_t height,
                    int64_t width, int threads) {
  const MasksView masks(boxes, offsets, words);
  if (!horizontal)
    return build_masks(masks.count(), threads, [&](int64_t i) { return UpsideDown{masks[i], height}; });
  const auto kernel = dispatch([]<Target T>() { return &mirror_rows<T>; });
  return build_masks(masks.count(), threads, [&](int64_t i) { return Mirrored{masks[i], width, kernel}; });
}

// From an image of `height` by `width` to one of `to_height` by `to_width`, all below 2^31.
py::tuple bind_resize(py::handle boxes, py::handle offsets, py::handle words, int64_t height, int64_t width,
                      int64_t to_height, int64_t to_width, int threads) {
  const MasksView masks(boxes, offsets, words);
  return build_masks(masks.count(), threads,
                     [&](int64_t i) { return Resized{masks[i], {height, to_height}, {width, to_width}}; });
}

}  // namespace

void register_mask_geometry(py::module_& module) {
  module.def("masks_shift", &bind_shift);
  module.def("masks_flip", &bind_flip);
  module.def("masks_resize", &bind_resize);
}

}  // namespace pyifcn
