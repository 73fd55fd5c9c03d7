#include "blend/arguments.h"
#include "blend/blend_cuda.h"
#include "core/bind_cuda.h"
#include "core/operators.h"

namespace pyifcn {
namespace {

template <class S>
BlendCudaJob<S> job_of(const BlendArguments& a) {
  return {a.bases.raw_view<const S, 4>(), a.attention.raw_view<const S, 4>()};
}

void bind_blend(py::handle bases, py::handle attention, bool sigmoid, py::handle out,
                const py::tuple& stream) {
  const BlendArguments a(bases, attention);
  const Array result = as_array(out, "out");
  a.check_result(result);
  const Stream where = stream_of(stream);
  by_element(a.bases, [&]<class S>(std::type_identity<S>) {
    blend_cuda<S>(job_of<S>(a), sigmoid, static_cast<S*>(result.data), where);
  });
}

// `out` is None without sigmoid; `lent` is of the type that is computed in and as large as the bases.
void bind_blend_backward(py::handle grad_out, const py::object& out, py::handle bases, py::handle attention,
                         py::handle grad_bases, py::handle grad_attention, py::handle lent,
                         const py::tuple& stream) {
  const BlendArguments a(bases, attention), grads(grad_bases, grad_attention);
  const Array grad = as_array(grad_out, "grad_out"), stretched = as_array(lent, "lent");
  a.check_result(grad);
  const void* values = a.values_of(out);
  const Stream where = stream_of(stream);
  by_element(a.bases, [&]<class S>(std::type_identity<S>) {
    blend_backward_cuda<S>({job_of<S>(a), static_cast<const S*>(grad.data), static_cast<const S*>(values),
                            static_cast<S*>(grads.bases.data), static_cast<S*>(grads.attention.data),
                            stretched.view<Computed<S>, 4>().data},
                           where);
  });
}

}  // namespace

void register_blend(py::module_& module) {
  module.def("blend", &bind_blend);
  module.def("blend_backward", &bind_blend_backward);
}

}  // namespace pyifcn
