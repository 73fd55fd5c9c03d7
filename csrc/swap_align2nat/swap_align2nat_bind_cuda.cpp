#include "core/bind_cuda.h"
#include "core/operators.h"
#include "swap_align2nat/arguments.h"
#include "swap_align2nat/swap_align2nat_cuda.h"

namespace pyifcn {
namespace {

void bind_swap_align2nat(py::handle input, int64_t lambda, double pad, py::handle out,
                         const py::tuple& stream) {
  const SwapArguments a(input, "input", out, "out", lambda);
  if (a.is_empty()) return;
  const Stream where = stream_of(stream);
  by_element(a.in, [&]<class S>(std::type_identity<S>) {
    swap_align2nat_cuda<S>({a.images(), a.shape, static_cast<const S*>(a.in.data), Computed<S>(pad),
                            static_cast<S*>(a.out.data)},
                           where);
  });
}

// `lent` (B, lambda V, ceil(H / lambda), V, W) is of the type that is computed in.
void bind_swap_align2nat_backward(py::handle grad_out, int64_t lambda, py::handle grad_input, py::handle lent,
                                  const py::tuple& stream) {
  const SwapArguments a(grad_input, "grad_input", grad_out, "grad_out", lambda);
  if (a.is_empty()) return;
  const Array rows = as_array(lent, "lent");
  const Stream where = stream_of(stream);
  by_element(a.in, [&]<class S>(std::type_identity<S>) {
    swap_align2nat_backward_cuda<S>({a.images(), a.shape, static_cast<const S*>(a.out.data),
                                     rows.view<Computed<S>, 5>().data, static_cast<S*>(a.in.data)},
                                    where);
  });
}

}  // namespace

void register_swap_align2nat(py::module_& module) {
  module.def("swap_align2nat", &bind_swap_align2nat);
  module.def("swap_align2nat_backward", &bind_swap_align2nat_backward);
}

}  // namespace pyifcn
