#include "masks/strips.h"

#include <algorithm>

#include "core/dispatch.h"
#include "core/parallel.h"

namespace pyifcn {

Strips::Strips(const MasksView& masks, int threads)
    : count_shared_(dispatch([]<Target T>() { return &count_shared<T>; })), masks_(size_t(masks.count())) {
  const auto count_bits_ = dispatch([]<Target T>() { return &count_bits<T>; });
  int64_t size = 0;
  for (int64_t i = 0; i < masks.count(); ++i) {
    const MaskView m = masks[i];
    masks_[size_t(i)] = {m.x1, m.y1, m.x2, m.y2, 0, m.rows() + StripedMask::kPadding, nullptr};
    size += m.across() * (m.rows() + StripedMask::kPadding);
  }
  words_.reset(new uint64_t[size_t(size)]);
  uint64_t* next = words_.get();
  for (int64_t i = 0; i < masks.count(); ++i) {
    masks_[size_t(i)].words = next;
    next += masks[i].across() * masks_[size_t(i)].pitch;
  }
  parallel_for(masks.count(), 64, threads, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const MaskView from = masks[i];
      StripedMask& into = masks_[size_t(i)];
      const int64_t rows = from.rows(), across = from.across();
      auto* to = const_cast<uint64_t*>(into.words);
      for (int64_t k = 0; k < across; ++k) {
        for (int64_t row = 0; row < rows; ++row) to[row] = from.words[row * across + k];
        to = std::fill_n(to + rows, StripedMask::kPadding, uint64_t(0));
      }
      into.area = count_bits_(from.words, rows * across);
    }
  });
}

}  // namespace pyifcn
