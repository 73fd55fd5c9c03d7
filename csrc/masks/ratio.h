// What the pixels that two masks share are divided by.
#pragma once

#include <cstdint>
#include <string>

#include "core/check.h"
#include "core/target.h"

namespace pyifcn {

enum class Kind { iou, iof, iomin };

inline Kind kind_of(const std::string& name) {
  require(name == "iou" || name == "iof" || name == "iomin", "kind is '", name,
          "', expected 'iou', 'iof' or 'iomin'");
  return name == "iou" ? Kind::iou : name == "iof" ? Kind::iof : Kind::iomin;
}

PYIFCN_INLINE double iou_of(int64_t mine, int64_t yours, int64_t shared) {
  return double(shared) / double(mine + yours - shared);
}

PYIFCN_INLINE double ratio_of(Kind kind, int64_t mine, int64_t yours, int64_t shared) {
  if (kind == Kind::iou) return iou_of(mine, yours, shared);
  if (kind == Kind::iof) return double(shared) / double(mine);
  return double(shared) / double(mine < yours ? mine : yours);
}

}  // namespace pyifcn
