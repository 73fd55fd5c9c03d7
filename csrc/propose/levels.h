// What the bindings of both modules share: the checked levels of a pyramid, and the threshold in their type.
#pragma once

#include <string>
#include <vector>

#include "assemble/cells.h"
#include "core/at_most.h"
#include "core/bind.h"
#include "core/half.h"
#include "propose/propose.h"

namespace pyifcn {

// float16 or bfloat16, given what is nearest to a float, what that is as a float, and the bits of infinity.
inline Foreground<uint16_t> foreground16(float above, uint16_t nearest, float widened, uint16_t infinity) {
  return {int16_t(ordered(nearest) - (widened > above)), int16_t(infinity)};
}

// Calls `work` with the elements' type, and what of it is foreground.
template <class Work>
void by_float(Dtype dtype, double threshold, Work work) {
  const float above = at_most<float>(threshold);
  const uint16_t half = to_float16(above), brain = to_bfloat16(above);
  switch (dtype) {
    case Dtype::float16:
      return work(uint16_t(), foreground16(above, half, from_float16(half), 0x7c00));
    case Dtype::bfloat16:
      return work(uint16_t(), foreground16(above, brain, from_bfloat16(brain), 0x7f80));
    case Dtype::float32:
      return work(float(), Foreground<float>{above});
    default:
      return work(double(), Foreground<double>{threshold});
  }
}

struct LevelArrays {
  Array maps, objectness;
  float stride;
};

// Checks the levels; the arrays point to their `names`.
inline std::vector<LevelArrays> read_levels(const py::list& score_maps, const py::list& objectness,
                                            const std::vector<float>& strides,
                                            std::vector<std::string>& names) {
  std::vector<LevelArrays> levels;
  names.reserve(2 * score_maps.size());
  for (size_t l = 0; l < score_maps.size(); ++l) {
    const char* maps_name = names.emplace_back(sentence("score_maps[", l, "]")).c_str();
    const char* objectness_name = names.emplace_back(sentence("objectness[", l, "]")).c_str();
    const Array maps = as_array(score_maps[l], maps_name), logits = as_array(objectness[l], objectness_name);
    maps.check_rank(4);
    logits.check_rank(3);
    check_floating(maps);
    check_floating(logits);
    if (!levels.empty()) {
      const Array& first = levels.front().maps;
      maps.check(first.dtype, 4);
      require(maps.shape[0] == first.shape[0] && maps.shape[1] == first.shape[1], maps_name, " has ",
              maps.shape[0], " images of ", maps.shape[1], " channels, score_maps[0] ", first.shape[0],
              " of ", first.shape[1]);
    }
    require(logits.shape[0] == maps.shape[0] && logits.shape[1] == maps.shape[2] &&
                logits.shape[2] == maps.shape[3],
            objectness_name, " has shape (", logits.shape[0], ", ", logits.shape[1], ", ", logits.shape[2],
            "), expected (", maps.shape[0], ", ", maps.shape[2], ", ", maps.shape[3], ") as ", maps_name);
    levels.push_back({maps, logits, strides[l]});
  }
  return levels;
}

}  // namespace pyifcn
