// Masks laid out for counting what they share.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "masks/masks.h"
#include "masks/packed.h"

namespace pyifcn {

// Copies of masks, word column by word column, with their areas. Rows of two masks that overlap are then one
// run of words in each column, however narrow the masks are.
class Strips {
public:
  Strips(const MasksView& masks, int threads);

  const StripedMask& operator[](int64_t i) const { return masks_[size_t(i)]; }
  int64_t shared(const StripedMask& a, const StripedMask& b) const { return count_shared_(a, b); }

private:
  decltype(&count_shared<Target::scalar>) count_shared_;
  std::unique_ptr<uint64_t[]> words_;
  std::vector<StripedMask> masks_;
};

}  // namespace pyifcn
