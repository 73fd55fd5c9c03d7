#include "propose/greedy.h"

#include <algorithm>
#include <array>
#include <bit>

#include "core/at_most.h"
#include "core/dispatch.h"
#include "propose/propose.h"

namespace pyifcn {
namespace {

// Bits [begin, end) of a word; either may lie outside it.
uint64_t bits_between(int64_t begin, int64_t end) {
  const int64_t low = std::clamp<int64_t>(begin, 0, 64), high = std::clamp<int64_t>(end, low, 64);
  if (low == high) return 0;
  return ~uint64_t(0) >> (64 - (high - low)) << low;
}

// 64 bits from bit `position` on.
uint64_t read64(const uint64_t* words, int64_t position) {
  const uint64_t* word = words + (position >> 6);
  const int shift = int(position & 63);
  return word[0] >> shift | word[1] << 1 << (63 - shift);
}

// The kept boxes, by area: an IoU is at most the ratio of the areas, so that only those of about the same
// area are looked at.
class KeptBoxes {
public:
  explicit KeptBoxes(double iou_threshold)
      : threshold_(at_most<float>(iou_threshold)),
        ratio_(float(iou_threshold) * 0.9999f),  // more than rounding can make up for
        is_suppressed_(dispatch([]<Target T>() { return &is_suppressed<T>; })) {}

  bool suppress(const float* box) const {
    const float area = area_of(box);
    const size_t last = std::min(class_of(area / ratio_) + 1, classes_.size());
    for (size_t c = class_of(area * ratio_); c < last; ++c) {
      const std::vector<BoxBlock<float>>& blocks = classes_[c].blocks;
      if (is_suppressed_(blocks.data(), int64_t(blocks.size()), box, threshold_)) return true;
    }
    return false;
  }

  void add(const float* box) {
    Class& same = classes_[class_of(area_of(box))];
    const size_t lane = same.count++ % BoxBlock<float>::kSize;
    if (lane == 0) same.blocks.emplace_back();
    BoxBlock<float>& block = same.blocks.back();
    block.x1[lane] = box[0], block.y1[lane] = box[1], block.x2[lane] = box[2], block.y2[lane] = box[3];
    block.area[lane] = area_of(box);
  }

private:
  struct Class {
    size_t count = 0;
    std::vector<BoxBlock<float>> blocks;
  };

  static float area_of(const float* box) { return (box[2] - box[0]) * (box[3] - box[1]); }

  // Half octaves of positive floats, infinity among them.
  static size_t class_of(float area) { return std::bit_cast<uint32_t>(area) >> 22; }

  const float threshold_, ratio_;
  bool (*const is_suppressed_)(const BoxBlock<float>*, int64_t, const float*, float);
  std::array<Class, 512> classes_;
};

// Hands out candidates in order, sorting no more than it must: `sorted` of them are, and each batch is twice
// the last.
class Queue {
public:
  explicit Queue(std::vector<Candidate>& candidates) : candidates_(candidates) {}

  const Candidate* next() {
    if (taken_ == sorted_ && !sort_more()) return nullptr;
    return &candidates_[taken_++];
  }

private:
  bool sort_more() {
    if (sorted_ == candidates_.size()) return false;
    const auto begin = candidates_.begin() + std::ptrdiff_t(sorted_);
    sorted_ = std::min(std::max<size_t>(2 * sorted_, 1024), candidates_.size());
    const auto end = candidates_.begin() + std::ptrdiff_t(sorted_);
    if (end != candidates_.end()) std::nth_element(begin, end, candidates_.end());
    std::sort(begin, end);
    return true;
  }

  std::vector<Candidate>& candidates_;
  size_t taken_ = 0, sorted_ = 0;
};

}  // namespace

WindowShape::WindowShape(int64_t size, int64_t grid, std::vector<int32_t> cells)
    : size_(size), grid_(grid), cells_(std::move(cells)) {
  for (int64_t begin = 0; begin < size; begin += 64) {
    const int64_t end = std::min(begin + 64, size);
    RowWord word{cells_[size_t(begin)], {}};
    word.bits.resize(size_t(cells_[size_t(end - 1)] - word.first_cell + 1));
    for (int64_t i = begin; i < end; ++i)
      word.bits[size_t(cells_[size_t(i)] - word.first_cell)] |= uint64_t(1) << (i - begin);
    row_words_.push_back(std::move(word));
  }
}

CellBox BinaryMaps::tight_box(const WindowShape& shape, int64_t y, int64_t x) const {
  const int64_t top = y - shape.size_ / 2, left = x - shape.size_ / 2, map = height_ * width_;
  const int64_t first_row = std::max<int64_t>(0, -top), last_row = std::min(shape.size_, height_ - top);
  CellBox box{shape.size_, shape.size_, 0, 0};
  int64_t shift = 0;
  for (const WindowShape::RowWord& word : shape.row_words_) {
    const uint64_t inside = bits_between(-left - shift, width_ - left - shift);
    const int64_t corner = first_ + word.first_cell * map + top * width_ + left + shift;
    uint64_t columns = 0;
    for (int64_t i = first_row; i < last_row; ++i) {
      int64_t position = corner + shape.cells_[size_t(i)] * shape.grid_ * map + i * width_;
      uint64_t row = 0;
      for (const uint64_t bits : word.bits) {
        row |= read64(words_, position) & bits;
        position += map;
      }
      row &= inside;
      if (row == 0) continue;
      columns |= row;
      box.y1 = std::min(box.y1, i);
      box.y2 = std::max(box.y2, i + 1);
    }
    if (columns != 0) {
      box.x1 = std::min(box.x1, shift + std::countr_zero(columns));
      box.x2 = shift + 64 - std::countl_zero(columns);
    }
    shift += 64;
  }
  return box;
}

std::vector<Proposal> search(std::vector<Candidate>& candidates, const std::vector<Level>& levels,
                             const WindowShape& shape, double iou_threshold, int64_t most) {
  std::vector<int64_t> ends;  // windows up to and with each level
  for (const Level& level : levels)
    ends.push_back((ends.empty() ? 0 : ends.back()) + level.maps.height() * level.maps.width());
  Queue queue(candidates);
  KeptBoxes kept(iou_threshold);
  std::vector<Proposal> proposals;
  while (int64_t(proposals.size()) < most) {
    const Candidate* candidate = queue.next();
    if (!candidate) break;
    const auto l = std::upper_bound(ends.begin(), ends.end(), candidate->window) - ends.begin();
    const Level& level = levels[size_t(l)];
    const int64_t window = candidate->window - (l ? ends[size_t(l - 1)] : 0);
    const int64_t y = window / level.maps.width(), x = window % level.maps.width();
    const CellBox cells = level.maps.tight_box(shape, y, x);
    if (cells.x1 >= cells.x2) continue;
    const int64_t top = y - shape.size() / 2, left = x - shape.size() / 2;
    const Proposal proposal{candidate->rank,
                            l,
                            y,
                            x,
                            {float(left + cells.x1) * level.stride, float(top + cells.y1) * level.stride,
                             float(left + cells.x2) * level.stride, float(top + cells.y2) * level.stride}};
    if (kept.suppress(proposal.box)) continue;
    kept.add(proposal.box);
    proposals.push_back(proposal);
  }
  return proposals;
}

}  // namespace pyifcn
