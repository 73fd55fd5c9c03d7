// Run-length codes as flat arrays of Python's: those of mask i are runs[offsets[i]] and on to offsets[i + 1].
#pragma once

#include "core/bind.h"
#include "rle/runs.h"

namespace pyifcn {

// `T` elements in N parts, borrowed.
template <class T>
class Parts {
public:
  Parts(py::handle elements, const char* name, py::handle offsets)
      : elements_(as_array(elements, name).view<const T, 1>()),
        offsets_(as_array(offsets, "offsets").view<const int64_t, 1>()) {
    require(offsets_.shape[0] > 0 && offsets_.data[0] == 0, "offsets do not begin with 0");
    for (int64_t i = 0; i < count(); ++i)
      require(offsets_.data[i] <= offsets_.data[i + 1], "offsets[", i + 1, "] is less than the one before");
    require(offsets_.data[count()] <= elements_.shape[0], "offsets end beyond ", name);
  }

  int64_t count() const { return offsets_.shape[0] - 1; }
  int64_t total() const { return offsets_.data[count()]; }
  std::span<const T> operator[](int64_t i) const {
    return {elements_.data + offsets_.data[i], elements_.data + offsets_.data[i + 1]};
  }

private:
  View<const T, 1> elements_;
  View<const int64_t, 1> offsets_;
};

// (elements, offsets)
template <class List>
py::tuple to_arrays(const std::vector<List>& lists) {
  using T = typename List::value_type;
  py::array_t<int64_t> offsets(py::ssize_t(lists.size() + 1));
  int64_t* end = offsets.mutable_data();
  *end = 0;
  for (const List& list : lists) end[1] = *end + int64_t(list.size()), ++end;
  py::array_t<std::conditional_t<sizeof(T) == 1, uint8_t, T>> elements(*end);
  auto* to = elements.mutable_data();
  for (const List& list : lists) to = std::copy(list.begin(), list.end(), to);
  return py::make_tuple(elements, offsets);
}

}  // namespace pyifcn
