// Any bytes as a code, or as numbers: what is read sums to the image, and is written and packed again the
// same.
#include <algorithm>
#include <stdexcept>
#include <string>

#include "input.h"
#include "rle/packed_runs.h"

using namespace pyifcn;

namespace {

constexpr int64_t kFewPixels = 1 << 16;

void check_packed(RunsSpan runs, ImageSize size, const std::vector<uint8_t>& pixels) {
  const PackedMask mask = pack_runs(runs, size);
  const int32_t* box = mask.box;
  const MaskView view{box[0], box[1], box[2], box[3], mask.words.data()};
  CHECK(int64_t(mask.words.size()) == view.rows() * view.across());
  for (int64_t x = view.x1; x < view.x2; ++x)
    for (int64_t y = view.y1; y < view.y2; ++y) {
      const uint64_t word = view.words[(y - view.y1) * view.across() + x / 64 - view.x1 / 64];
      CHECK((word >> x % 64 & 1) == pixels[size_t(x * size.height + y)]);
    }
  Runs again;
  RunsOfPacked runs_of(size);
  runs_of(view, again);
  CHECK(pixels_of(again, size) == pixels);
  Runs merged;
  for (const bool intersect : {false, true}) {
    merge_runs(runs, again, intersect, merged);
    CHECK(pixels_of(merged, size) == pixels);
  }
}

void check(RunsSpan runs, ImageSize size) {
  int64_t sum = 0;
  for (const uint32_t run : runs) sum += run;
  CHECK(sum == size.pixels());
  std::string code;
  append_code(runs, code);
  Runs again;
  parse_runs(code, size, again);
  CHECK(std::equal(again.begin(), again.end(), runs.begin(), runs.end()));
  if (size.pixels() > kFewPixels) return;
  const std::vector<uint8_t> pixels = pixels_of(runs, size);
  int64_t area = 0;
  for (const uint8_t pixel : pixels) area += pixel;
  CHECK(area == area_of(runs));
  check_packed(runs, size, pixels);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t count) {
  Input input(data, count);
  const bool numbers = input.take<uint8_t>() & 1;
  const ImageSize size{input.take<uint16_t>(), input.take<uint16_t>()};
  const std::vector<char> code = input.rest_as<char>();
  Runs runs;
  try {
    check_size(size);
    if (numbers)
      check_runs(input.rest_as<int64_t>(), size, runs);
    else
      parse_runs({code.data(), code.size()}, size, runs);
  } catch (const std::invalid_argument&) {
    CHECK(runs.size() <= count);
    return 0;
  }
  check(runs, size);
  return 0;
}
