// Greedy non-maximum suppression of boxes: what the kernels get.
#pragma once

#include <cstdint>

#include "core/target.h"

namespace pyifcn {

// Sixteen boxes side by side. In a tree's inner levels, entry i bounds block i below: its smallest x1, y1 and
// area, its largest x2 and y2.
template <class E>
struct BoxBlock {
  static constexpr int kSize = 16;
  E x1[kSize], y1[kSize], x2[kSize], y2[kSize], area[kSize];
};

template <class E>
struct BoundsBlock : BoxBlock<E> {
  E most_area[BoxBlock<E>::kSize];
};

template <class E>
struct NmsJob {
  static constexpr int kMaxLevels = 9;
  static constexpr uint32_t kNoSlot = ~0u;

  int64_t count;          // of boxes, taken by falling score
  const uint32_t* slots;  // of each box: 16 leaf + lane; kNoSlot for one that suppresses and fears none
  E threshold;            // the largest E not above the threshold: decides an IoU in E as the double would
  BoxBlock<E>* leaves;
  BoundsBlock<E>* bounds[kMaxLevels];  // [level], from 1 up
  uint16_t* alive[kMaxLevels];  // [level], for each block: the lanes that are neither kept nor gone yet
  int64_t leaf_count;
  int64_t top_blocks;      // on the highest level, few
  int levels;              // 1: leaves alone
  uint32_t* frontiers[2];  // each with room for a number for each leaf and sixteen more
  uint8_t* keep;           // out: 1 for each box that is kept
  uint32_t* owners;    // out, of each slot: the box that was kept and took this one; null if not asked for
  bool gone_suppress;  // whether a box that is not kept takes others too
};

// Compares each box that suppresses with the boxes that the tree's bounds let through. The threshold is not
// negative, and a box that has a slot has positive sides and a finite positive area.
template <Target T, class E>
void nms_in_tree(const NmsJob<E>& job);

// Compares each box that suppresses with all after it, whatever they are. Box i has slot i.
template <Target T, class E>
void nms_in_list(const NmsJob<E>& job);

}  // namespace pyifcn
