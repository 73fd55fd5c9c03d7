#include "core/operators.h"
#include "core/parallel.h"
#include "rle/rle.h"

namespace pyifcn {
namespace {

// The strings of masks.
py::list bind_encode(py::handle boxes, py::handle offsets, py::handle words, int64_t height, int64_t width,
                     int threads) {
  const MasksView masks(boxes, offsets, words);
  checked_count("an image", {height, width});
  std::vector<std::string> codes(size_t(masks.count()));
  without_gil([&] {
    parallel_for(masks.count(), 16, threads, [&](int64_t begin, int64_t end) {
      RleEncoder encoder(height, width);
      for (int64_t i = begin; i < end; ++i) codes[size_t(i)] = encoder.encode(masks[i]);
    });
  });
  py::list list(codes.size());
  for (size_t i = 0; i < codes.size(); ++i) list[i] = py::str(codes[i]);
  return list;
}

std::string_view text_of(py::handle code) {
  if (PyBytes_Check(code.ptr())) return {PyBytes_AS_STRING(code.ptr()), size_t(PyBytes_GET_SIZE(code.ptr()))};
  Py_ssize_t length = 0;
  const char* text = PyUnicode_AsUTF8AndSize(code.ptr(), &length);
  if (!text) {  // surrogates, which no code holds
    PyErr_Clear();
    return "\n";
  }
  return {text, size_t(length)};
}

// (boxes, offsets, words) of codes: each a str, bytes, or int64 array of runs.
py::tuple bind_decode(const py::list& codes, int64_t height, int64_t width, int threads) {
  constexpr int64_t kMost = (int64_t(1) << 32) - 1;  // what COCO's runs can count
  require(checked_count("an image", {height, width}) <= kMost, "size is ", height, " x ", width,
          ", expected at most 2^32 - 1 pixels");
  std::vector<std::string_view> texts(codes.size());
  std::vector<std::vector<int64_t>> runs(codes.size());
  for (size_t i = 0; i < codes.size(); ++i) {
    if (py::isinstance<py::array>(codes[i])) {
      const auto view = as_array(codes[i], "counts").view<const int64_t, 1>();
      runs[i].assign(view.data, view.data + view.shape[0]);
    } else {
      texts[i] = text_of(codes[i]);
    }
  }
  std::vector<PackedMask> masks(codes.size());
  without_gil([&] {
    parallel_for(int64_t(codes.size()), 16, threads, [&](int64_t begin, int64_t end) {
      for (auto i = size_t(begin); i < size_t(end); ++i) {
        try {
          masks[i] = decode_runs(texts[i].data() ? parse_runs(texts[i]) : runs[i], height, width);
        } catch (const std::invalid_argument& error) {
          require(false, "rles[", i, "] is malformed: ", error.what());
        }
      }
    });
  });
  return to_arrays(masks);
}

}  // namespace

void register_rle(py::module_& module) {
  module.def("rle_encode", &bind_encode);
  module.def("rle_decode", &bind_decode);
}

}  // namespace pyifcn
