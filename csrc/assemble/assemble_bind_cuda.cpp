#include <limits>

#include "assemble/assemble_cuda.h"
#include "assemble/cells.h"
#include "assemble/cells_on_device.h"
#include "core/bind.h"
#include "core/bind_cuda.h"
#include "core/operators.h"

namespace pyifcn {
namespace {

// Where the windows are centred is for the kernels to see: looking at it here would make the CPU wait.
View<const int64_t, 2> windows_of(py::handle windows) {
  const auto view = as_array(windows, "windows").view<const int64_t, 2>();
  require(view.shape[1] == 3, "windows has shape (", view.shape[0], ", ", view.shape[1],
          "), expected (N, 3): image, y, x");
  return view;
}

void run_forward(const Array& maps, const View<const int64_t, 2>& windows, int64_t count, const Array& out,
                 const Cells& cells, double pad, const Stream& stream) {
  if (count == 0) return;
  by_element_size(maps.dtype, [&]<class E>(E) {
    const AssembleCudaJob<E> job{maps.raw_view<const E, 4>(),
                                 windows,
                                 {static_cast<E*>(out.data), {count, cells.size, cells.size}},
                                 cells,
                                 E(pad_bits(maps.dtype, pad)),
                                 E(pad_bits(maps.dtype, std::numeric_limits<double>::quiet_NaN()))};
    without_gil([&] { assemble_cuda(job, stream); });
  });
}

void bind_assemble(py::handle score_maps, py::handle windows, const std::string& cells, double pad_value,
                   py::handle out, const py::tuple& stream) {
  const Array maps = as_array(score_maps, "score_maps"), result = as_array(out, "out");
  check_floating(maps);
  maps.check_rank(4);
  result.check(maps.dtype, 3);
  const auto wins = windows_of(windows);
  run_forward(maps, wins, wins.shape[0], result, cells_on_device(cells, maps, result.shape[1]), pad_value,
              stream_of(stream));
}

void bind_assemble_dense(py::handle score_maps, const std::string& cells, double pad_value, py::handle out,
                         const py::tuple& stream) {
  const Array maps = as_array(score_maps, "score_maps"), result = as_array(out, "out");
  check_floating(maps);
  maps.check_rank(4);
  result.check(maps.dtype, 5);
  const int64_t count = checked_count("out", {maps.shape[0], maps.shape[2], maps.shape[3]});
  run_forward(maps, {nullptr, {0, 3}}, count, result, cells_on_device(cells, maps, result.shape[3]),
              pad_value, stream_of(stream));
}

template <class E>
void run_backward(const Array& grad_out, const View<const int64_t, 2>& windows, const Array& grad_maps,
                  const Cells& cells, const Stream& stream) {
  const AssembleBackwardCudaJob<E> job{
      {static_cast<const E*>(grad_out.data), {grad_out.shape[0], cells.size, cells.size}},
      windows,
      grad_maps.view<E, 4>(),
      cells};
  without_gil([&] { assemble_backward_cuda(job, stream); });
}

// `windows` None: grad_out is of every window, (B, H, W, size, size).
void bind_assemble_backward(py::handle grad_out, py::object windows, const std::string& cells,
                            py::handle grad_maps, const py::tuple& stream) {
  const Array grad = as_array(grad_out, "grad_out"), maps = as_array(grad_maps, "grad_maps");
  maps.check_rank(4);
  grad.check(maps.dtype, windows.is_none() ? 5 : 3);
  const auto wins = windows.is_none() ? View<const int64_t, 2>{nullptr, {0, 3}} : windows_of(windows);
  check_grad_out(grad, maps, windows.is_none() ? -1 : wins.shape[0]);
  const Cells device_cells = cells_on_device(cells, maps, grad.shape[grad.rank - 1]);
  if (checked_count("grad_out", {grad.shape[0], maps.shape[2], maps.shape[3]}) == 0) return;  // zeros already
  if (maps.dtype == Dtype::float64)
    run_backward<double>(grad, wins, maps, device_cells, stream_of(stream));
  else
    run_backward<float>(grad, wins, maps, device_cells, stream_of(stream));
}

}  // namespace

void register_assemble(py::module_& module) {
  module.def("assemble", &bind_assemble);
  module.def("assemble_dense", &bind_assemble_dense);
  module.def("assemble_backward", &bind_assemble_backward);
}

}  // namespace pyifcn
