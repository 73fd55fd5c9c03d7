// What the bindings of rendering check in both modules. Where the windows are is not looked at here.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "core/bind.h"

namespace pyifcn {

using RenderLevel = std::array<double, 3>;  // stride, height and width

inline void check_render(const View<const float, 3>& logits, const View<const int64_t, 2>& windows,
                         const std::vector<RenderLevel>& levels, int64_t height, int64_t width) {
  require(logits.shape[1] == logits.shape[2], "logits has windows of ", logits.shape[1], " x ",
          logits.shape[2], ", expected squares");
  require(windows.shape[0] == logits.shape[0] && windows.shape[1] == 3, "windows has shape (",
          windows.shape[0], ", ", windows.shape[1], "), expected (", logits.shape[0], ", 3): level, y, x");
  require(std::min(height, width) >= 0 && std::max(height, width) < int64_t(1) << 31, "image_size is (",
          height, ", ", width, "), expected sides in 0..2^31 - 1");
  for (const auto& [stride, rows, columns] : levels) {
    require(std::isfinite(stride) && stride > 0, "levels has a stride of ", stride,
            ", expected a positive one");
    require(rows >= 0 && rows < 0x1p31 && columns >= 0 && columns < 0x1p31, "levels has maps of ", rows,
            " x ", columns, ", expected sides in 0..2^31 - 1");
  }
}

}  // namespace pyifcn
