#include <algorithm>
#include <vector>

#include "assemble/assemble.h"
#include "assemble/cells.h"
#include "core/bind.h"
#include "core/dispatch.h"
#include "core/operators.h"
#include "core/parallel.h"

namespace pyifcn {
namespace {

constexpr int64_t kGrain = 1 << 14;  // output elements that are worth a thread

// Windows that are inside the maps, copied lest another thread change them meanwhile.
class Windows {
public:
  Windows() = default;
  Windows(const Array& windows, const Array& maps) {
    const auto given = windows.view<const int64_t, 2>();
    require(given.shape[1] == 3, "windows has shape (", given.shape[0], ", ", given.shape[1],
            "), expected (N, 3): image, y, x");
    rows_.assign(given.data, given.data + 3 * given.shape[0]);
    for (int64_t n = 0; n < given.shape[0]; ++n) check(n, maps);
  }

  View<const int64_t, 2> view() const { return {rows_.data(), {int64_t(rows_.size()) / 3, 3}}; }

private:
  void check(int64_t n, const Array& maps) const {
    const int64_t* w = rows_.data() + 3 * n;
    const bool inside = w[0] >= 0 && w[0] < maps.shape[0] && w[1] >= 0 && w[1] < maps.shape[2] && w[2] >= 0 &&
                        w[2] < maps.shape[3];
    require(inside, "windows[", n, "] is (", w[0], ", ", w[1], ", ", w[2], "), outside score_maps with ",
            maps.shape[0], " images of ", maps.shape[2], " x ", maps.shape[3]);
  }

  std::vector<int64_t> rows_;
};

void bind_assemble(py::handle score_maps, py::handle windows, const std::string& cells, double pad_value,
                   py::handle out, int threads) {
  const Array maps = as_array(score_maps, "score_maps"), result = as_array(out, "out");
  check_floating(maps);
  maps.check_rank(4);
  result.check(maps.dtype, 3);
  const Windows checked(as_array(windows, "windows"), maps);
  const View<const int64_t, 2> wins = checked.view();
  const int64_t grid = grid_of(maps), size = result.shape[1];
  const std::vector<int32_t> table = cells_of(cells, grid, size);
  by_element_size(maps.dtype, [&]<class E>(E) {
    const AssembleJob<E> job{
        maps.raw_view<const E, 4>(),       wins, result.raw_view<E, 3>(), table.data(), grid,
        E(pad_bits(maps.dtype, pad_value))};
    const auto kernel = dispatch([]<Target T>() { return &assemble<T, E>; });
    without_gil([&] {
      parallel_for(wins.shape[0], kGrain / (size * size), threads,
                   [&](int64_t begin, int64_t end) { kernel(job, begin, end); });
    });
  });
}

// One image's maps with `before` and `after` pad elements around each.
template <class E>
void pad_maps(const E* maps, int64_t channels, int64_t height, int64_t width, int64_t size, E pad, E* out) {
  const int64_t before = size / 2, padded_height = height + size - 1, padded_width = width + size - 1;
  for (int64_t c = 0; c < channels; ++c)
    for (int64_t y = 0; y < padded_height; ++y, out += padded_width) {
      if (y < before || y >= before + height) {
        std::fill_n(out, padded_width, pad);
        continue;
      }
      std::fill_n(out, before, pad);
      std::copy_n(maps + (c * height + y - before) * width, width, out + before);
      std::fill(out + before + width, out + padded_width, pad);
    }
}

void bind_assemble_dense(py::handle score_maps, const std::string& cells, double pad_value, py::handle out,
                         int threads) {
  const Array maps = as_array(score_maps, "score_maps"), result = as_array(out, "out");
  check_floating(maps);
  maps.check_rank(4);
  result.check(maps.dtype, 5);
  const int64_t channels = maps.shape[1], height = maps.shape[2], width = maps.shape[3],
                size = result.shape[3];
  const int64_t grid = grid_of(maps);
  const std::vector<int32_t> table = cells_of(cells, grid, size);
  if (height == 0 || width == 0) return;
  const int64_t padded_count =
      checked_count("padded score_maps", {channels, height + size - 1, width + size - 1});
  by_element_size(maps.dtype, [&]<class E>(E) {
    const E pad = E(pad_bits(maps.dtype, pad_value));
    const auto kernel = dispatch([]<Target T>() { return &assemble_dense<T, E>; });
    without_gil([&] {
      const std::unique_ptr<E[]> padded(new E[size_t(padded_count)]);
      for (int64_t b = 0; b < maps.shape[0]; ++b) {
        const E* image = static_cast<const E*>(maps.data) + b * channels * height * width;
        const int64_t map = (height + size - 1) * (width + size - 1);
        parallel_for(channels, std::max<int64_t>(1, kGrain / map), threads, [&](int64_t begin, int64_t end) {
          pad_maps(image + begin * height * width, end - begin, height, width, size, pad,
                   padded.get() + begin * map);
        });
        const AssembleDenseJob<E> job{
            {padded.get(), {channels, height + size - 1, width + size - 1}},
            {static_cast<E*>(result.data) + b * height * width * size * size, {height, width, size, size}},
            table.data(),
            grid};
        parallel_for(height, kGrain / (width * size * size), threads,
                     [&](int64_t begin, int64_t end) { kernel(job, begin, end); });
      }
    });
  });
}

template <class E>
void run_backward(const Array& grad_out, const View<const int64_t, 2>& windows, const Array& grad_maps,
                  int64_t size, int64_t grid, const std::vector<int32_t>& table, int threads) {
  const int64_t windows_count = grad_out.shape[0];
  const AssembleBackwardJob<E> job{{static_cast<const E*>(grad_out.data), {windows_count, size, size}},
                                   windows,
                                   grad_maps.view<E, 4>(),
                                   table.data(),
                                   grid};
  const auto kernel = dispatch([]<Target T>() { return &assemble_backward<T, E>; });
  without_gil([&] {
    parallel_for(grad_maps.shape[0] * grad_maps.shape[1], 1, threads,
                 [&](int64_t begin, int64_t end) { kernel(job, begin, end); });
  });
}

// `windows` None: grad_out is of every window, (B, H, W, size, size).
void bind_assemble_backward(py::handle grad_out, py::object windows, const std::string& cells,
                            py::handle grad_maps, int threads) {
  const Array grad = as_array(grad_out, "grad_out"), maps = as_array(grad_maps, "grad_maps");
  maps.check_rank(4);
  grad.check(maps.dtype, windows.is_none() ? 5 : 3);
  const Windows checked = windows.is_none() ? Windows() : Windows(as_array(windows, "windows"), maps);
  check_grad_out(grad, maps, windows.is_none() ? -1 : checked.view().shape[0]);
  const int64_t grid = grid_of(maps), size = grad.shape[grad.rank - 1];
  const std::vector<int32_t> table = cells_of(cells, grid, size);
  if (maps.dtype == Dtype::float64)
    run_backward<double>(grad, checked.view(), maps, size, grid, table, threads);
  else
    run_backward<float>(grad, checked.view(), maps, size, grid, table, threads);
}

}  // namespace

void register_assemble(py::module_& module) {
  module.def("assemble", &bind_assemble);
  module.def("assemble_dense", &bind_assemble_dense);
  module.def("assemble_backward", &bind_assemble_backward);
}

}  // namespace pyifcn
