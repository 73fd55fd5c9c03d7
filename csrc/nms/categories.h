// Boxes by category.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "nms/radix.h"

namespace pyifcn {

// The places of an order by category, those of each category still in their order, and where each category
// starts and the last ends.
struct Categories {
  std::vector<Keyed<uint64_t>> places;  // key: the category; index: a place in the order
  std::vector<int64_t> starts;

  Categories(const int64_t* idxs, const std::vector<uint32_t>& order) : places(order.size()) {
    std::vector<Keyed<uint64_t>> scratch(order.size());
    for (size_t i = 0; i < order.size(); ++i) places[i] = {uint64_t(idxs[order[i]]), uint32_t(i)};
    sort_by_key(places.data(), scratch.data(), int64_t(order.size()));
    for (size_t i = 0; i < order.size(); ++i)
      if (i == 0 || places[i].key != places[i - 1].key) starts.push_back(int64_t(i));
    starts.push_back(int64_t(order.size()));
  }

  int64_t count() const { return int64_t(starts.size()) - 1; }
  int64_t size(int64_t category) const { return starts[size_t(category) + 1] - starts[size_t(category)]; }
  const Keyed<uint64_t>* begin(int64_t category) const { return places.data() + starts[size_t(category)]; }

  // The size of the largest of categories [begin, end).
  int64_t most(int64_t begin, int64_t end) const {
    int64_t size_of_largest = 0;
    for (int64_t c = begin; c < end; ++c) size_of_largest = std::max(size_of_largest, size(c));
    return size_of_largest;
  }
};

}  // namespace pyifcn
