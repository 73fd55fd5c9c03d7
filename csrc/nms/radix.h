// A stable sort by unsigned integers.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <type_traits>
#include <utility>
#include <vector>

namespace pyifcn {

template <class K>
struct Keyed {
  K key;
  uint32_t index;
};

// Sorts by key, the order of equal keys kept, in passes of 8 bits, or of 11 where there are enough elements
// to pay for the larger tables. `scratch` has room for `count`.
template <class K>
void sort_by_key(Keyed<K>* items, Keyed<K>* scratch, int64_t count) {
  if (count < 128) {
    std::stable_sort(items, items + count, [](const auto& a, const auto& b) { return a.key < b.key; });
    return;
  }
  const auto passes = [&]<int kBits>(std::integral_constant<int, kBits>) {
    constexpr int kPasses = (8 * int(sizeof(K)) + kBits - 1) / kBits, kSize = 1 << kBits;
    std::vector<std::array<uint32_t, kSize>> tables(kPasses);
    for (int64_t i = 0; i < count; ++i)
      for (int pass = 0; pass < kPasses; ++pass)
        ++tables[size_t(pass)][size_t(items[i].key >> (pass * kBits)) % kSize];
    Keyed<K>*from = items, *to = scratch;
    for (int pass = 0; pass < kPasses; ++pass) {
      const int shift = pass * kBits;
      auto& table = tables[size_t(pass)];
      if (table[size_t(from[0].key >> shift) % kSize] == count) continue;  // all have this digit in common
      uint32_t start = 0;
      for (uint32_t& entry : table) start += std::exchange(entry, start);
      for (int64_t i = 0; i < count; ++i) to[table[size_t(from[i].key >> shift) % kSize]++] = from[i];
      std::swap(from, to);
    }
    if (from != items) std::copy_n(from, count, items);
  };
  if (count < 1 << 15)
    passes(std::integral_constant<int, 8>());
  else
    passes(std::integral_constant<int, 11>());
}

}  // namespace pyifcn
