// A stable sort by unsigned integers.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <utility>

namespace pyifcn {

template <class K>
struct Keyed {
  K key;
  uint32_t index;
};

template <int kBits, class K>
void sort_in_passes(Keyed<K>* items, Keyed<K>* scratch, int64_t count) {
  constexpr int kDigits = 1 << kBits;
  K differing = 0;
  for (int64_t i = 0; i < count; ++i) differing |= items[i].key ^ items[0].key;
  Keyed<K>*from = items, *to = scratch;
  for (int shift = 0; shift < 8 * int(sizeof(K)); shift += kBits) {
    if (size_t(differing >> shift) % kDigits == 0) continue;  // all have this digit in common
    std::array<uint32_t, kDigits> places{};
    for (int64_t i = 0; i < count; ++i) ++places[size_t(from[i].key >> shift) % kDigits];
    uint32_t start = 0;
    for (uint32_t& place : places) start += std::exchange(place, start);
    for (int64_t i = 0; i < count; ++i) to[places[size_t(from[i].key >> shift) % kDigits]++] = from[i];
    std::swap(from, to);
  }
  if (from != items) std::copy_n(from, count, items);
}

// Sorts by key, equal keys in their order. `scratch` has room for `count`.
template <class K>
void sort_by_key(Keyed<K>* items, Keyed<K>* scratch, int64_t count) {
  if (count < 128)
    std::stable_sort(items, items + count, [](const auto& a, const auto& b) { return a.key < b.key; });
  else if (count < 1 << 15)
    sort_in_passes<8>(items, scratch, count);
  else
    sort_in_passes<11>(items, scratch, count);  // fewer passes, by tables that many elements pay for
}

}  // namespace pyifcn
