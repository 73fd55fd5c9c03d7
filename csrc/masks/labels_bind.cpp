#include "masks/labels.h"

#include <algorithm>
#include <unordered_map>
#include <vector>

#include "core/dispatch.h"
#include "core/operators.h"
#include "core/parallel.h"
#include "masks/bits.h"
#include "masks/packed.h"

namespace pyifcn {
namespace {

constexpr int64_t kGrain = 1 << 17;  // pixels that are worth a thread

// Numbers values in the order in which they first come: small values by a table, others by a map.
class Numbers {
public:
  explicit Numbers(int64_t pixels) : most_(std::max<uint64_t>(1 << 16, uint64_t(pixels) / 2)) {}

  // A value's number; it gets `next` if it has none.
  int64_t number_of(uint64_t value, int64_t next) {
    if (value >= most_) return map_.try_emplace(value, next).first->second;
    if (value >= table_.size()) table_.resize(size_t(std::min(most_, 2 * value + 64)), -1);
    int64_t& number = table_[size_t(value)];
    if (number < 0) number = next;
    return number;
  }
  int64_t number_of(uint64_t value) const {
    return value < most_ ? table_[size_t(value)] : map_.find(value)->second;
  }

private:
  const uint64_t most_;
  std::vector<int64_t> table_;
  std::unordered_map<uint64_t, int64_t> map_;
};

struct Label {
  uint64_t value;
  int64_t x1, y1, x2, y2;
};

template <class E>
class LabelImage {
public:
  LabelImage(View<const E, 2> image) : image_(image), numbers_(count(image)) {}

  void find_labels() {
    const int64_t height = image_.shape[0];
    visit_runs_of_rows(0, height, [&](int64_t y, int64_t begin, int64_t end, E value) {
      const auto next = int64_t(labels_.size());
      const int64_t number = numbers_.number_of(value, next);
      if (number == next) labels_.push_back({value, begin, y, end, y + 1});
      Label& label = labels_[size_t(number)];
      label.x1 = std::min(label.x1, begin);
      label.x2 = std::max(label.x2, end);
      label.y2 = y + 1;
    });
  }

  // Rising, where `sign` is the bit that makes a value negative.
  void sort(E sign) {
    order_.resize(labels_.size());
    for (size_t i = 0; i < order_.size(); ++i) order_[i] = int64_t(i);
    const auto key = [&](int64_t i) { return E(labels_[size_t(i)].value) ^ sign; };
    std::sort(order_.begin(), order_.end(), [&](int64_t a, int64_t b) { return key(a) < key(b); });
  }

  py::tuple to_arrays(int threads) {
    const auto count = py::ssize_t(labels_.size());
    py::array_t<E> values(count);
    py::array_t<int32_t> boxes({count, py::ssize_t(4)});
    py::array_t<int64_t> offsets(count + 1);
    int64_t end = 0;
    offsets.mutable_data()[0] = 0;
    starts_.resize(labels_.size());
    for (py::ssize_t i = 0; i < count; ++i) {
      const auto number = size_t(order_[size_t(i)]);
      const Label& label = labels_[number];
      int32_t* box = boxes.mutable_data() + 4 * i;
      box[0] = int32_t(label.x1), box[1] = int32_t(label.y1);
      box[2] = int32_t(label.x2), box[3] = int32_t(label.y2);
      values.mutable_data()[i] = E(label.value);
      starts_[number] = end;
      end += (label.y2 - label.y1) * words_across(label.x1, label.x2);
      offsets.mutable_data()[i + 1] = end;
    }
    py::array_t<uint64_t> words(end);
    without_gil([&] { fill(words.mutable_data(), end, threads); });
    return py::make_tuple(boxes, offsets, words, values);
  }

private:
  // Calls visit(y, begin, end, value) for each run of pixels of one value other than 0 in rows [top, bottom).
  template <class Visit>
  void visit_runs_of_rows(int64_t top, int64_t bottom, Visit visit) const {
    const auto kernel = dispatch([]<Target T>() { return &find_changes<T, E>; });
    const int64_t width = image_.shape[1], across = words_across(0, width);
    if (width == 0) return;
    std::vector<uint64_t> changes(static_cast<size_t>(across));
    for (int64_t y = top; y < bottom; ++y) {
      const E* row = image_.data + y * width;
      kernel(row, width, changes.data());
      int64_t begin = 0;
      for (int64_t k = 0; k < across; ++k)
        for (uint64_t bits = changes[size_t(k)]; bits; bits &= bits - 1) {
          const int64_t end = 64 * k + std::countr_zero(bits);
          if (begin < end && row[begin] != 0) visit(y, begin, end, row[begin]);
          begin = end;
        }
      if (begin < width && row[begin] != 0) visit(y, begin, width, row[begin]);
    }
  }

  void fill(uint64_t* words, int64_t size, int threads) const {
    std::fill_n(words, size, uint64_t(0));
    const int64_t width = std::max<int64_t>(1, image_.shape[1]);
    parallel_for(image_.shape[0], std::max<int64_t>(1, kGrain / width), threads,
                 [&](int64_t top, int64_t bottom) {
                   visit_runs_of_rows(top, bottom, [&](int64_t y, int64_t begin, int64_t end, E value) {
                     const auto number = size_t(numbers_.number_of(value));
                     const Label& label = labels_[number];
                     const int64_t left = label.x1 / 64 * 64, across = words_across(label.x1, label.x2);
                     set_bits(words + starts_[number] + (y - label.y1) * across, begin - left, end - left);
                   });
                 });
  }

  const View<const E, 2> image_;
  Numbers numbers_;
  std::vector<Label> labels_;    // by number
  std::vector<int64_t> order_;   // numbers, by rising value
  std::vector<int64_t> starts_;  // by number: the first word
};

template <class E>
py::tuple from_labels(py::handle image, bool is_signed, int threads) {
  LabelImage<E> labels(as_array(image, "image").raw_view<const E, 2>());
  without_gil([&] {
    labels.find_labels();
    labels.sort(is_signed ? E(E(1) << (8 * sizeof(E) - 1)) : E(0));
  });
  return labels.to_arrays(threads);
}

// (boxes, offsets, words, values); the values are unsigned, of as many bytes as the image's.
py::tuple bind_from_labels(const py::array& image, int threads) {
  const bool is_signed = image.dtype().kind() == 'i';
  switch (image.itemsize()) {
    case 1:
      return from_labels<uint8_t>(image, is_signed, threads);
    case 2:
      return from_labels<uint16_t>(image, is_signed, threads);
    case 4:
      return from_labels<uint32_t>(image, is_signed, threads);
    default:
      return from_labels<uint64_t>(image, is_signed, threads);
  }
}

// Paints values over `out` (H, W), the last mask first.
void bind_to_labels(py::handle boxes, py::handle offsets, py::handle words, py::handle values, py::handle out,
                    int threads) {
  const MasksView masks(boxes, offsets, words);
  const auto value_of = as_array(values, "values").view<const int32_t, 1>();
  const auto image = as_array(out, "out").view<int32_t, 2>();
  const int64_t height = image.shape[0], width = std::max<int64_t>(1, image.shape[1]);
  without_gil([&] {
    parallel_for(height, std::max<int64_t>(1, kGrain / width), threads, [&](int64_t top, int64_t bottom) {
      for (int64_t i = masks.count() - 1; i >= 0; --i) {
        const MaskView m = masks[i];
        const int64_t across = m.across(), left = m.x1 / 64 * 64;
        for (int64_t y = std::max(top, m.y1); y < std::min(bottom, m.y2); ++y)
          visit_runs(m.words + (y - m.y1) * across, across, [&](int64_t begin, int64_t end) {
            std::fill_n(image.data + y * width + left + begin, end - begin, value_of.data[i]);
          });
      }
    });
  });
}

}  // namespace

void register_mask_labels(py::module_& module) {
  module.def("masks_from_labels", &bind_from_labels);
  module.def("masks_to_labels", &bind_to_labels);
}

}  // namespace pyifcn
