// Any doubles as a polygon: refused, or drawn inside the image in runs without gaps.
#include <stdexcept>

#include "input.h"
#include "polygons/polygons.h"

using namespace pyifcn;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t count) {
  Input input(data, count);
  const ImageSize size{input.take<uint8_t>(), input.take<uint8_t>()};
  const bool fifths = input.take<uint8_t>() & 1;  // small numbers, which random doubles hardly are
  std::vector<double> coordinates;
  if (fifths)
    for (const int16_t value : input.rest_as<int16_t>()) coordinates.push_back(value / 10.0);
  else
    coordinates = input.rest_as<double>();
  try {
    check_coordinates(coordinates);
  } catch (const std::invalid_argument&) {
    return 0;
  }
  PolygonDrawer draw(size);
  Runs runs, again;
  draw(coordinates, runs);
  int64_t sum = 0;
  for (size_t i = 0; i < runs.size(); ++i) {
    CHECK(runs[i] > 0 || i == 0);
    sum += runs[i];
  }
  CHECK(sum == size.pixels());
  draw(coordinates, again);  // nothing is left over from before
  CHECK(again == runs);
  return 0;
}
