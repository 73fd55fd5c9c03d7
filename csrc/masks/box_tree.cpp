#include "masks/box_tree.h"

#include <algorithm>

#include "nms/radix.h"

namespace pyifcn {
namespace {

// The bits of a 16-bit number with zeros between them.
uint32_t spread(uint32_t x) {
  x = (x | x << 8) & 0x00ff00ff;
  x = (x | x << 4) & 0x0f0f0f0f;
  x = (x | x << 2) & 0x33333333;
  return (x | x << 1) & 0x55555555;
}

// The boxes along a Z-shaped curve through their centres.
std::vector<Keyed<uint32_t>> along_curve(const MasksView& masks) {
  const auto count = size_t(masks.count());
  int64_t most = 0;
  for (int64_t i = 0; i < masks.count(); ++i) most = std::max({most, masks[i].x2, masks[i].y2});
  const int shift = std::max(0, int(std::bit_width(uint64_t(2 * most))) - 16);
  std::vector<Keyed<uint32_t>> items(count), scratch(count);
  for (size_t i = 0; i < count; ++i) {
    const MaskView m = masks[int64_t(i)];
    const auto x = uint32_t((m.x1 + m.x2) >> shift), y = uint32_t((m.y1 + m.y2) >> shift);
    items[i] = {spread(x) | spread(y) << 1, uint32_t(i)};
  }
  sort_by_key(items.data(), scratch.data(), int64_t(count));
  return items;
}

}  // namespace

BoxTree::BoxTree(const MasksView& masks, At start) : places_(size_t(masks.count())) {
  const std::vector<Keyed<uint32_t>> items = along_curve(masks);
  const auto blocks_for = [](size_t count) { return std::max<size_t>(1, (count + kSize - 1) / kSize); };
  levels_.emplace_back(blocks_for(items.size()));
  for (size_t place = 0; place < items.size(); ++place) {
    const uint32_t i = items[place].index;
    const MaskView m = masks[i];
    Block& leaf = levels_[0][place / kSize];
    const size_t entry = place % kSize;
    leaf.x1[entry] = int32_t(m.x1), leaf.y1[entry] = int32_t(m.y1);
    leaf.x2[entry] = int32_t(m.x2), leaf.y2[entry] = int32_t(m.y2);
    leaf.index[entry] = i;
    places_[i] = uint32_t(place);
  }
  while (levels_.back().size() > 1) {
    const std::vector<Block>& below = levels_.back();
    std::vector<Block> level(blocks_for(below.size()));
    for (size_t b = 0; b < below.size(); ++b) {
      const Block& from = below[b];
      Block& into = level[b / kSize];
      const size_t entry = b % kSize;
      // Empty boxes, all 0, widen the bounds and are never found.
      into.x1[entry] = *std::min_element(from.x1.begin(), from.x1.end());
      into.y1[entry] = *std::min_element(from.y1.begin(), from.y1.end());
      into.x2[entry] = *std::max_element(from.x2.begin(), from.x2.end());
      into.y2[entry] = *std::max_element(from.y2.begin(), from.y2.end());
      into.index[entry] = uint32_t(b);
    }
    levels_.push_back(std::move(level));
  }
  if (start == At::on)
    for (int64_t i = 0; i < masks.count(); ++i) turn_on(i);
}

void BoxTree::turn_on(int64_t i) {
  size_t place = places_[size_t(i)];
  for (std::vector<Block>& level : levels_) {
    level[place / kSize].on |= 1u << place % kSize;
    place /= kSize;
  }
}

}  // namespace pyifcn
