#include "masks/sets.h"

#include <string>

#include "core/dispatch.h"
#include "core/operators.h"
#include "masks/build.h"

namespace pyifcn {
namespace {

using Combine = decltype(&combine_rows<Target::scalar>);

Combine combine_kernel() {
  return dispatch([]<Target T>() { return &combine_rows<T>; });
}

// Rows [begin, end) of words [first, first + across), where a mask is combined with what stands there.
struct Canvas {
  int64_t begin, end, first, across;
  uint64_t* to;
  Combine kernel;

  void clear() const { std::fill_n(to, (end - begin) * across, uint64_t(0)); }

  // Outside the mask's words nothing changes.
  void combine(SetOp op, const MaskView& mask) const {
    const int64_t top = std::max(begin, mask.y1), bottom = std::min(end, mask.y2);
    const int64_t word = mask.x1 / 64, left = std::max(first, word);
    const int64_t right = std::min(first + across, (mask.x2 + 63) / 64);
    if (top >= bottom || left >= right) return;
    const int64_t mask_across = mask.across();
    kernel(op, to + (top - begin) * across + left - first, across,
           mask.words + (top - mask.y1) * mask_across + left - word, mask_across, bottom - top, right - left);
  }
};

bool is_empty(const MaskView& mask) { return mask.x1 == mask.x2; }

Extent hull(const Extent& a, const Extent& b) {
  if (a.empty()) return b;
  if (b.empty()) return a;
  return {std::min(a.x1, b.x1), std::min(a.y1, b.y1), std::max(a.x2, b.x2), std::max(a.y2, b.y2), true};
}

Extent common(const Extent& a, const Extent& b) {
  return {std::max(a.x1, b.x1), std::max(a.y1, b.y1), std::min(a.x2, b.x2), std::min(a.y2, b.y2), false};
}

struct Union {
  MaskView a, b;
  Combine kernel;

  Extent extent() const { return hull(extent_of(a), extent_of(b)); }
  void fill(int64_t begin, int64_t end, int64_t first, int64_t across, uint64_t* to) const {
    const Canvas canvas{begin, end, first, across, to, kernel};
    canvas.clear();
    canvas.combine(SetOp::unite, a);
    canvas.combine(SetOp::unite, b);
  }
};

struct Intersection {
  MaskView a, b;
  Combine kernel;

  Extent extent() const { return common(extent_of(a), extent_of(b)); }
  void fill(int64_t begin, int64_t end, int64_t first, int64_t across, uint64_t* to) const {
    const Canvas canvas{begin, end, first, across, to, kernel};
    canvas.combine(SetOp::copy, a);
    canvas.combine(SetOp::intersect, b);
  }
};

struct Difference {
  MaskView a, b;
  Combine kernel;

  Extent extent() const {
    Extent extent = extent_of(a);
    extent.tight = common(extent, extent_of(b)).empty();
    return extent;
  }
  void fill(int64_t begin, int64_t end, int64_t first, int64_t across, uint64_t* to) const {
    const Canvas canvas{begin, end, first, across, to, kernel};
    canvas.combine(SetOp::copy, a);
    canvas.combine(SetOp::subtract, b);
  }
};

// All masks as one.
struct UnionOfAll {
  const MasksView& masks;
  Combine kernel;

  Extent extent() const {
    Extent extent{0, 0, 0, 0, true};
    for (int64_t i = 0; i < masks.count(); ++i) extent = hull(extent, extent_of(masks[i]));
    return extent;
  }
  void fill(int64_t begin, int64_t end, int64_t first, int64_t across, uint64_t* to) const {
    const Canvas canvas{begin, end, first, across, to, kernel};
    canvas.clear();
    for (int64_t i = 0; i < masks.count(); ++i) canvas.combine(SetOp::unite, masks[i]);
  }
};

struct IntersectionOfAll {
  const MasksView& masks;
  Combine kernel;

  Extent extent() const {
    if (masks.count() == 0) return {0, 0, 0, 0, true};
    Extent extent = extent_of(masks[0]);
    for (int64_t i = 1; i < masks.count(); ++i) extent = common(extent, extent_of(masks[i]));
    return extent;
  }
  void fill(int64_t begin, int64_t end, int64_t first, int64_t across, uint64_t* to) const {
    const Canvas canvas{begin, end, first, across, to, kernel};
    canvas.combine(SetOp::copy, masks[0]);
    for (int64_t i = 1; i < masks.count(); ++i) canvas.combine(SetOp::intersect, masks[i]);
  }
};

// Mask i with mask i, or the only one of either side with each of the other.
py::tuple bind_combine(const std::string& op, py::handle boxes, py::handle offsets, py::handle words,
                       py::handle other_boxes, py::handle other_offsets, py::handle other_words,
                       int threads) {
  const MasksView a(boxes, offsets, words), b(other_boxes, other_offsets, other_words);
  require(a.count() == b.count() || a.count() == 1 || b.count() == 1, "other has ", b.count(),
          " masks, expected ", a.count(), " or 1");
  const int64_t count = a.count() == 1 ? b.count() : a.count();
  const int64_t a_step = a.count() != 1, b_step = b.count() != 1;
  const Combine kernel = combine_kernel();
  const auto build = [&]<class Source>() {
    return build_masks(count, threads,
                       [&](int64_t i) { return Source{a[i * a_step], b[i * b_step], kernel}; });
  };
  if (op == "union") return build.template operator()<Union>();
  if (op == "intersection") return build.template operator()<Intersection>();
  return build.template operator()<Difference>();
}

py::tuple bind_merge(py::handle boxes, py::handle offsets, py::handle words, bool intersect, int threads) {
  const MasksView masks(boxes, offsets, words);
  const Combine kernel = combine_kernel();
  if (intersect) return build_masks(1, threads, [&](int64_t) { return IntersectionOfAll{masks, kernel}; });
  return build_masks(1, threads, [&](int64_t) { return UnionOfAll{masks, kernel}; });
}

}  // namespace

void register_mask_sets(py::module_& module) {
  module.def("masks_combine", &bind_combine);
  module.def("masks_merge", &bind_merge);
}

}  // namespace pyifcn
