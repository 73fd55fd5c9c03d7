#include "core/operators.h"
#include "core/parallel.h"
#include "polygons/polygons.h"
#include "rle/runs_arrays.h"

namespace pyifcn {
namespace {

// The runs of masks. `mask_offsets` says which parts, the polygons, are united to a mask; None: each is a
// mask, and may have any number of corners.
py::tuple bind_draw(py::handle coordinates, py::handle offsets, const py::object& mask_offsets,
                    int64_t height, int64_t width, const std::string& name, int threads) {
  const Parts<double> parts(coordinates, "coordinates", offsets);
  const ImageSize size{height, width};
  check_size(size);
  const bool nested = !mask_offsets.is_none();
  const View<const int64_t, 1> starts =
      nested ? as_array(mask_offsets, "mask_offsets").view<const int64_t, 1>() : View<const int64_t, 1>{};
  const int64_t count = nested ? starts.shape[0] - 1 : parts.count();
  const auto first_part = [&](int64_t i) { return nested ? starts.data[i] : i; };
  for (int64_t i = 0; i < count; ++i)
    require(0 <= first_part(i) && first_part(i) <= first_part(i + 1) && first_part(i + 1) <= parts.count(),
            "mask_offsets[", i, "] is ", first_part(i), ", expected offsets that rise to ", parts.count());

  std::vector<Runs> masks(static_cast<size_t>(count));
  without_gil([&] {
    parallel_for(count, 16, threads, [&](int64_t begin, int64_t end) {
      PolygonDrawer draw(size);
      Runs part, merged;
      for (int64_t i = begin; i < end; ++i) {
        Runs& mask = masks[size_t(i)];
        mask.push_back(uint32_t(size.pixels()));
        for (int64_t k = first_part(i); k < first_part(i + 1); ++k) {
          try {
            if (nested) check_corners(parts[k]);
            check_coordinates(parts[k]);
          } catch (const std::invalid_argument& error) {
            const std::string inner = nested ? sentence("[", k - first_part(i), "]") : "";
            require(false, name, "[", i, "]", inner, " ", error.what());
          }
          draw(parts[k], part);
          if (k == first_part(i)) {
            mask = part;
          } else {
            merge_runs(mask, part, false, merged);
            std::swap(mask, merged);
          }
        }
      }
    });
  });
  return to_arrays(masks);
}

}  // namespace

void register_polygons(py::module_& module) { module.def("polygons_draw", &bind_draw); }

}  // namespace pyifcn
