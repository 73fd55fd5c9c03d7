#include "assemble_prototypes/arguments.h"
#include "assemble_prototypes/assemble_prototypes_cuda.h"
#include "core/bind_cuda.h"
#include "core/operators.h"

namespace pyifcn {
namespace {

void bind_assemble_prototypes(py::handle prototypes, py::handle coefficients, const py::object& boxes,
                              const py::object& images, bool sigmoid, py::handle out,
                              const py::tuple& stream) {
  const PrototypesArguments a(prototypes, coefficients, boxes, images);
  const Array result = as_array(out, "out");
  a.check_result(result);
  const Stream where = stream_of(stream);
  by_element(a.prototypes, [&]<class S>(std::type_identity<S>) {
    assemble_prototypes_cuda<S>({a.prototypes.raw_view<const S, 4>(), a.coefficients.raw_view<const S, 2>(),
                                 a.box_data(), a.image_data(), sigmoid, static_cast<S*>(result.data)},
                                where);
  });
}

// `out` is None without sigmoid.
void bind_assemble_prototypes_backward(py::handle grad_out, const py::object& out, py::handle prototypes,
                                       py::handle coefficients, const py::object& boxes,
                                       const py::object& images, py::handle grad_prototypes,
                                       py::handle grad_coefficients, const py::tuple& stream) {
  const PrototypesArguments a(prototypes, coefficients, boxes, images);
  const Array grad = as_array(grad_out, "grad_out"), of_maps = as_array(grad_prototypes, "grad_prototypes"),
              of_coefficients = as_array(grad_coefficients, "grad_coefficients");
  a.check_result(grad);
  const void* values = a.values_of(out);
  const Stream where = stream_of(stream);
  by_element(a.prototypes, [&]<class S>(std::type_identity<S>) {
    assemble_prototypes_backward_cuda<S>(
        {a.prototypes.raw_view<const S, 4>(), a.coefficients.raw_view<const S, 2>(), a.box_data(),
         a.image_data(), static_cast<const S*>(grad.data), static_cast<const S*>(values),
         static_cast<S*>(of_maps.data), static_cast<S*>(of_coefficients.data)},
        where);
  });
}

}  // namespace

void register_assemble_prototypes(py::module_& module) {
  module.def("assemble_prototypes", &bind_assemble_prototypes);
  module.def("assemble_prototypes_backward", &bind_assemble_prototypes_backward);
}

}  // namespace pyifcn
