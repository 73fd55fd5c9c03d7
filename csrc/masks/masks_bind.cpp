#include "masks/masks.h"

#include <algorithm>
#include <string>
#include <vector>

#include "core/dispatch.h"
#include "core/operators.h"
#include "core/parallel.h"
#include "masks/packed.h"

namespace pyifcn {
namespace {

constexpr int64_t kGrain = 1 << 16;  // bytes that are worth a thread

int64_t grain_of(int64_t bytes_each) {
  return std::max<int64_t>(1, kGrain / std::max<int64_t>(bytes_each, 1));
}

// Calls body(i) for each i.
template <class Body>
void parallel_each(int64_t count, int64_t grain, int threads, Body body) {
  parallel_for(count, grain, threads, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) body(i);
  });
}

// Whether a mask fills its box to all four sides and no bit lies outside.
bool is_tight(const MaskView& mask) {
  const int64_t across = mask.across(), rows = mask.rows();
  const uint64_t before = (uint64_t(1) << mask.x1 % 64) - 1, after = ~uint64_t(0) << 1 << (mask.x2 - 1) % 64;
  uint64_t left = 0, right = 0, top = 0, bottom = 0;
  for (int64_t row = 0; row < rows; ++row) {
    left |= mask.words[row * across];
    right |= mask.words[(row + 1) * across - 1];
  }
  for (int64_t k = 0; k < across; ++k) {
    top |= mask.words[k];
    bottom |= mask.words[(rows - 1) * across + k];
  }
  return !(left & before) && !(right & after) && left >> mask.x1 % 64 & 1 &&
         right >> (mask.x2 - 1) % 64 & 1 && top && bottom;
}

// Throws unless the arrays are those of a Masks: nothing else looks at that again.
void bind_check(py::handle boxes, py::handle offsets, py::handle words, int64_t height, int64_t width) {
  const auto corners = as_array(boxes, "boxes").view<const int32_t, 2>();
  const auto starts = as_array(offsets, "offsets").view<const int64_t, 1>();
  const int64_t words_count = as_array(words, "words").view<const uint64_t, 1>().shape[0];
  require(corners.shape[1] == 4, "boxes has shape (", corners.shape[0], ", ", corners.shape[1],
          "), expected (N, 4)");
  require(starts.shape[0] == corners.shape[0] + 1, "offsets has ", starts.shape[0], " elements, expected ",
          corners.shape[0] + 1, " for ", corners.shape[0], " boxes");
  const MasksView masks(boxes, offsets, words);
  int64_t end = 0;
  for (int64_t i = 0; i < masks.count(); ++i) {
    const MaskView m = masks[i];
    const auto box = [&] {
      return sentence("boxes[", i, "] is [", m.x1, ", ", m.y1, ", ", m.x2, ", ", m.y2, "]");
    };
    const bool empty = m.x1 == 0 && m.y1 == 0 && m.x2 == 0 && m.y2 == 0;
    const bool inside =
        0 <= m.x1 && m.x1 < m.x2 && m.x2 <= width && 0 <= m.y1 && m.y1 < m.y2 && m.y2 <= height;
    if (!empty && !inside) require(false, box(), ", not a box inside the image of ", height, " x ", width);
    const int64_t count = empty ? 0 : m.rows() * m.across();
    if (starts.data[i] != end || count > words_count - end)
      require(false, "offsets[", i, "] is ", starts.data[i], " and words has ", words_count,
              " elements, expected ", end, " and at least ", end + count);
    end += count;
    if (!empty && !is_tight(m)) require(false, box(), ", not the tight box of its words");
  }
  require(starts.data[masks.count()] == end && words_count == end, "offsets ends with ",
          starts.data[masks.count()], " and words has ", words_count, " elements, expected ", end,
          " for both");
}

py::tuple bind_from_dense(py::handle array, int threads) {
  const auto dense = as_array(array, "array").raw_view<const uint8_t, 3>();
  const int64_t height = dense.shape[1], width = dense.shape[2], across = words_across(0, width);
  std::vector<PackedMask> masks(size_t(dense.shape[0]));
  const auto kernel = dispatch([]<Target T>() { return &pack_rows<T>; });
  without_gil([&] {
    parallel_for(dense.shape[0], grain_of(height * width), threads, [&](int64_t begin, int64_t end) {
      std::vector<uint64_t> words(size_t(height * across));
      for (int64_t i = begin; i < end; ++i) {
        kernel(dense.data + i * height * width, width, height, width, 0, words.data());
        masks[size_t(i)] = tighten(words.data(), height, across, 0, 0);
      }
    });
  });
  return to_arrays(masks);
}

// `corners` (N, 2): x, y of each patch's first pixel.
py::tuple bind_from_patches(const py::list& patches, py::handle corners, int64_t height, int64_t width) {
  const auto places = as_array(corners, "boxes").view<const int64_t, 2>();
  const auto kernel = dispatch([]<Target T>() { return &pack_rows<T>; });
  std::vector<PackedMask> masks(patches.size());
  std::vector<uint64_t> words;
  for (size_t i = 0; i < patches.size(); ++i) {
    const auto patch = as_array(patches[i], "patches").raw_view<const uint8_t, 2>();
    const int64_t x = places.data[2 * i], y = places.data[2 * i + 1];
    const int64_t x1 = std::max<int64_t>(x, 0), x2 = std::min(x + patch.shape[1], width);
    const int64_t y1 = std::max<int64_t>(y, 0), y2 = std::min(y + patch.shape[0], height);
    if (x1 >= x2 || y1 >= y2) continue;
    const int64_t across = words_across(x1, x2);
    words.resize(size_t((y2 - y1) * across));
    kernel(patch.data + (y1 - y) * patch.shape[1] + x1 - x, patch.shape[1], y2 - y1, x2 - x1, x1 % 64,
           words.data());
    masks[i] = tighten(words.data(), y2 - y1, across, y1, x1 / 64);
  }
  return to_arrays(masks);
}

// Fills in the boxes of `out` (N, H, W), which is all zeros.
void bind_to_dense(py::handle boxes, py::handle offsets, py::handle words, py::handle out, int threads) {
  const MasksView masks(boxes, offsets, words);
  const auto dense = as_array(out, "out").view<bool, 3>();
  const int64_t height = dense.shape[1], width = dense.shape[2];
  const auto kernel = dispatch([]<Target T>() { return &unpack_rows<T>; });
  without_gil([&] {
    parallel_each(masks.count(), grain_of(height * width), threads, [&](int64_t i) {
      const MaskView m = masks[i];
      auto* to = reinterpret_cast<uint8_t*>(dense.data + (i * height + m.y1) * width + m.x1);
      kernel(m.words, m.rows(), m.x2 - m.x1, m.x1 % 64, to, width);
    });
  });
}

// Fills in `out`, of the size of mask i's box.
void bind_patch(py::handle boxes, py::handle offsets, py::handle words, int64_t i, py::handle out) {
  const MaskView m = MasksView(boxes, offsets, words)[i];
  const auto patch = as_array(out, "out").view<bool, 2>();
  const auto kernel = dispatch([]<Target T>() { return &unpack_rows<T>; });
  kernel(m.words, m.rows(), m.x2 - m.x1, m.x1 % 64, reinterpret_cast<uint8_t*>(patch.data), patch.shape[1]);
}

std::vector<int64_t> areas_of(const MasksView& masks, int threads) {
  std::vector<int64_t> areas(size_t(masks.count()));
  const auto kernel = dispatch([]<Target T>() { return &count_bits<T>; });
  parallel_each(masks.count(), 256, threads, [&](int64_t i) {
    const MaskView m = masks[i];
    areas[size_t(i)] = kernel(m.words, m.rows() * m.across());
  });
  return areas;
}

void bind_area(py::handle boxes, py::handle offsets, py::handle words, py::handle out, int threads) {
  const MasksView masks(boxes, offsets, words);
  const auto area = as_array(out, "out").view<int64_t, 1>();
  without_gil([&] {
    const std::vector<int64_t> areas = areas_of(masks, threads);
    std::copy(areas.begin(), areas.end(), area.data);
  });
}

// The pixels that two masks share.
class Intersection {
public:
  int64_t operator()(const MaskView& a, const MaskView& b) const {
    const int64_t top = std::max(a.y1, b.y1), rows = std::min(a.y2, b.y2) - top;
    const int64_t left = std::max(a.x1, b.x1) / 64, across = (std::min(a.x2, b.x2) + 63) / 64 - left;
    const int64_t a_across = a.across(), b_across = b.across();
    return kernel_(a.words + (top - a.y1) * a_across + left - a.x1 / 64, a_across,
                   b.words + (top - b.y1) * b_across + left - b.x1 / 64, b_across, rows, across);
  }

private:
  decltype(&count_common<Target::scalar>) kernel_ = dispatch([]<Target T>() { return &count_common<T>; });
};

// The pixels that two boxes share: no two masks in them share more.
int64_t box_intersection(const MaskView& a, const MaskView& b) {
  const int64_t width = std::min(a.x2, b.x2) - std::max(a.x1, b.x1);
  const int64_t height = std::min(a.y2, b.y2) - std::max(a.y1, b.y1);
  return width > 0 && height > 0 ? width * height : 0;
}

double iou_of(int64_t a, int64_t b, int64_t inter) { return double(inter) / double(a + b - inter); }

// What an intersection of two masks is divided by.
using Denominator = int64_t (*)(int64_t a, int64_t b, int64_t inter);

Denominator denominator_of(const std::string& kind) {
  if (kind == "iof") return [](int64_t a, int64_t, int64_t) { return a; };
  if (kind == "iomin") return [](int64_t a, int64_t b, int64_t) { return std::min(a, b); };
  require(kind == "iou", "kind is '", kind, "', expected 'iou', 'iof' or 'iomin'");
  return [](int64_t a, int64_t b, int64_t inter) { return a + b - inter; };
}

// Writes `out` (N, M) where masks meet; the rest is zeros already.
void bind_iou(py::handle boxes, py::handle offsets, py::handle words, py::handle other_boxes,
              py::handle other_offsets, py::handle other_words, const std::string& kind, py::handle out,
              int threads) {
  const MasksView mine(boxes, offsets, words), yours(other_boxes, other_offsets, other_words);
  const auto result = as_array(out, "out").view<double, 2>();
  const Denominator denominator = denominator_of(kind);
  const Intersection intersection;
  without_gil([&] {
    const std::vector<int64_t> my_areas = areas_of(mine, threads), your_areas = areas_of(yours, threads);
    parallel_each(mine.count(), grain_of(64 * yours.count()), threads, [&](int64_t i) {
      const MaskView a = mine[i];
      double* row = result.data + i * yours.count();
      for (int64_t j = 0; j < yours.count(); ++j) {
        const MaskView b = yours[j];
        if (box_intersection(a, b) == 0) continue;
        const int64_t inter = intersection(a, b);
        row[j] = double(inter) / double(denominator(my_areas[size_t(i)], your_areas[size_t(j)], inter));
      }
    });
  });
}

// Sets keep[i] where mask order[i] is kept; the best come first in `order`.
void bind_nms(py::handle boxes, py::handle offsets, py::handle words, py::handle order, double iou_threshold,
              py::handle keep) {
  const MasksView masks(boxes, offsets, words);
  const auto by_score = as_array(order, "order").view<const int64_t, 1>();
  const auto kept_out = as_array(keep, "keep").view<bool, 1>();
  const Intersection intersection;
  without_gil([&] {
    const std::vector<int64_t> areas = areas_of(masks, 1);
    std::vector<int64_t> kept;
    const auto suppresses = [&](int64_t better, int64_t i) {
      const MaskView a = masks[better], b = masks[i];
      const int64_t area = areas[size_t(better)], other = areas[size_t(i)];
      const int64_t most = std::min({box_intersection(a, b), area, other});
      if (most == 0) return iou_threshold < 0;
      return iou_of(area, other, most) > iou_threshold &&
             iou_of(area, other, intersection(a, b)) > iou_threshold;
    };
    for (int64_t n = 0; n < masks.count(); ++n) {
      const int64_t i = by_score.data[n];
      kept_out.data[n] =
          std::none_of(kept.begin(), kept.end(), [&](int64_t better) { return suppresses(better, i); });
      if (kept_out.data[n]) kept.push_back(i);
    }
  });
}

}  // namespace

void register_masks(py::module_& module) {
  module.def("masks_check", &bind_check);
  module.def("masks_from_dense", &bind_from_dense);
  module.def("masks_from_patches", &bind_from_patches);
  module.def("masks_to_dense", &bind_to_dense);
  module.def("masks_patch", &bind_patch);
  module.def("masks_area", &bind_area);
  module.def("masks_iou", &bind_iou);
  module.def("masks_nms", &bind_nms);
}

}  // namespace pyifcn
