// Which target runs. Chosen once for each call, outside every loop:
//
//   auto kernel = dispatch([]<Target T>() { return &nms<T>; });
#pragma once

#include <string>
#include <vector>

#include "core/target.h"

namespace pyifcn {

const char* name_of(Target target);
std::vector<Target> available_targets();  // what this build and this CPU can run, slowest first
Target current_target();
void use_target(const std::string& name);  // throws std::invalid_argument for one that cannot run here

template <class Pick>
auto dispatch(Pick pick) {
  switch (current_target()) {
#if PYIFCN_X86
    case Target::avx2:
      return pick.template operator()<Target::avx2>();
    case Target::avx2x2:
      return pick.template operator()<Target::avx2x2>();
    case Target::avx512:
      return pick.template operator()<Target::avx512>();
#endif
    default:
      return pick.template operator()<Target::scalar>();
  }
}

}  // namespace pyifcn
