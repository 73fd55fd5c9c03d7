// Run-length codes of dense masks: what the kernel gets.
#pragma once

#include <cstdint>

#include "core/target.h"

namespace pyifcn {

// Finds the bytes that differ from the one before in whether they are 0, the first from `inside`, which is
// then that of the last byte. Writes first + i for each such bytes[i] and returns how many. `pixels` has room
// for `count` numbers.
template <Target T>
int64_t find_edges(const uint8_t* bytes, int64_t count, uint32_t first, bool* inside, uint32_t* pixels);

}  // namespace pyifcn
