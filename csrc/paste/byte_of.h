// A soft mask's value as a pixel of a grey image.
#pragma once

#include <cstdint>

#include "core/target.h"

namespace pyifcn {

// Times 255 and cut to a whole number of 0..255. E is float or double.
template <class E>
PYIFCN_INLINE uint8_t byte_of(E value) {
  const E scaled = value * 255;
  return uint8_t(int32_t(scaled > 0 ? scaled < 255 ? scaled : 255 : 0));
}

}  // namespace pyifcn
