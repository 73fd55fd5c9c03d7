// Which of many boxes meet a box, found without looking at all of them.
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <vector>

#include "masks/packed.h"

namespace pyifcn {

// A static tree over the boxes of masks, 16 to a block along a space-filling curve. Boxes can be turned on
// one by one; only those that are on are found.
class BoxTree {
public:
  enum class At { off, on };

  BoxTree(const MasksView& masks, At start);

  // Not with a search at work.
  void turn_on(int64_t i);

  // Calls visit(i) for each box that shares a pixel with `box`, in no order, until one returns true; returns
  // whether one has. An empty box shares none.
  template <class Visit>
  bool find(const MaskView& box, Visit visit) const {
    const Block& root = levels_.back().front();
    return find_below(levels_.size() - 1, root, box, visit);
  }

private:
  static constexpr int kSize = 16;

  struct Block {
    std::array<int32_t, kSize> x1{}, y1{}, x2{}, y2{};  // of boxes, or what encloses the blocks below
    std::array<uint32_t, kSize> index{};                // of a box, or of the block below
    uint32_t on = 0;

    uint32_t meeting(const MaskView& box) const {
      const auto left = int32_t(box.x1), top = int32_t(box.y1), right = int32_t(box.x2),
                 bottom = int32_t(box.y2);
      int32_t bits = 0;
      for (size_t i = 0; i < kSize; ++i) {  // a difference is negative where the comparison holds
        const int32_t meets = (x1[i] - right) & (left - x2[i]) & (y1[i] - bottom) & (top - y2[i]);
        bits |= (meets >> 31) & int32_t(1u << i);
      }
      return uint32_t(bits) & on;
    }
  };

  template <class Visit>
  bool find_below(size_t level, const Block& block, const MaskView& box, Visit& visit) const {
    for (uint32_t left = block.meeting(box); left != 0; left &= left - 1) {
      const uint32_t index = block.index[size_t(std::countr_zero(left))];
      if (level == 0 ? visit(int64_t(index)) : find_below(level - 1, levels_[level - 1][index], box, visit))
        return true;
    }
    return false;
  }

  std::vector<std::vector<Block>> levels_;  // leaves first; the last is one block
  std::vector<uint32_t> places_;            // of each box among the leaves' entries
};

}  // namespace pyifcn
