#include "masks/masks.h"

#include <algorithm>

#include "core/operators.h"
#include "masks/packed.h"

namespace pyifcn {
namespace {

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

// The arrays of masks that are copied from elsewhere, one after the other.
class Copies {
public:
  Copies(int64_t count, int64_t words)
      : boxes_({py::ssize_t(count), py::ssize_t(4)}), offsets_(count + 1), words_(words) {
    offsets_.mutable_data()[0] = 0;
    next_box_ = boxes_.mutable_data();
    next_end_ = offsets_.mutable_data() + 1;
    next_word_ = words_.mutable_data();
  }

  // Masks [begin, end).
  void add(const MasksView& masks, int64_t begin, int64_t end) {
    const int64_t first = masks.start(begin), shift = next_end_[-1] - first;
    next_box_ = std::copy(masks.box(begin), masks.box(end), next_box_);
    for (int64_t i = begin; i < end; ++i) *next_end_++ = masks.start(i + 1) + shift;
    next_word_ = std::copy(masks.words() + first, masks.words() + masks.start(end), next_word_);
  }
  py::tuple arrays() const { return py::make_tuple(boxes_, offsets_, words_); }

private:
  py::array_t<int32_t> boxes_;
  py::array_t<int64_t> offsets_;
  py::array_t<uint64_t> words_;
  int32_t* next_box_;
  int64_t* next_end_;
  uint64_t* next_word_;
};

// Masks [begin, end), which lie within them.
py::tuple bind_slice(py::handle boxes, py::handle offsets, py::handle words, int64_t begin, int64_t end) {
  const MasksView masks(boxes, offsets, words);
  Copies copies(end - begin, masks.start(end) - masks.start(begin));
  copies.add(masks, begin, end);
  return copies.arrays();
}

// The masks of an index, which may count from the end.
py::tuple bind_take(py::handle boxes, py::handle offsets, py::handle words, py::handle index) {
  const MasksView masks(boxes, offsets, words);
  const auto chosen = as_array(index, "index").view<const int64_t, 1>();
  const auto place = [&](int64_t n) {
    const int64_t i = chosen.data[n];
    if (i < -masks.count() || i >= masks.count())
      throw py::index_error(sentence("index ", i, " is out of range for ", masks.count(), " masks"));
    return i < 0 ? i + masks.count() : i;
  };
  int64_t size = 0;
  for (int64_t n = 0; n < chosen.shape[0]; ++n) {
    const int64_t i = place(n);
    size += masks.start(i + 1) - masks.start(i);
  }
  Copies copies(chosen.shape[0], size);
  for (int64_t n = 0; n < chosen.shape[0]; ++n) {
    const int64_t i = place(n);
    copies.add(masks, i, i + 1);
  }
  return copies.arrays();
}

// The masks of a list of (boxes, offsets, words).
py::tuple bind_cat(const py::list& parts) {
  std::vector<MasksView> views;
  views.reserve(parts.size());
  int64_t count = 0, size = 0;
  for (const py::handle part : parts) {
    const auto arrays = py::reinterpret_borrow<py::tuple>(part);
    const MasksView& view = views.emplace_back(arrays[0], arrays[1], arrays[2]);
    count += view.count();
    size += view.start(view.count());
  }
  Copies copies(count, size);
  for (const MasksView& view : views) copies.add(view, 0, view.count());
  return copies.arrays();
}

}  // namespace

void register_masks(py::module_& module) {
  module.def("masks_check", &bind_check);
  module.def("masks_slice", &bind_slice);
  module.def("masks_take", &bind_take);
  module.def("masks_cat", &bind_cat);
}

}  // namespace pyifcn
