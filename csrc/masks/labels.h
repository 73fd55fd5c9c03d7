// Label images: where their rows change.
#pragma once

#include <cstdint>

#include "core/target.h"

namespace pyifcn {

// Bit x is whether pixel x of a row differs from the one before; there is a 0 before the first. All of the
// (width + 63) / 64 words are written. E: uint8_t, uint16_t, uint32_t, uint64_t.
template <Target T, class E>
void find_changes(const E* labels, int64_t width, uint64_t* bits);

}  // namespace pyifcn
