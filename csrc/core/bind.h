// From Python's arrays to views: NumPy arrays and torch tensors, without torch's headers.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cstdint>
#include <string>

#include "core/check.h"
#include "core/view.h"

namespace pyifcn {

namespace py = pybind11;

#ifdef PYIFCN_CUDA_MODULE
inline constexpr bool kCudaModule = true;
#else
inline constexpr bool kCudaModule = false;
#endif

// bfloat16 has no NumPy dtype: a NumPy array of uint16 stands for its bits where an operator says so.
enum class Dtype {
  boolean,
  uint8,
  int32,
  int64,
  uint16,
  uint32,
  uint64,
  float16,
  bfloat16,
  float32,
  float64,
  other
};

int64_t size_of(Dtype dtype);
const char* name_of(Dtype dtype);

template <class T>
constexpr Dtype dtype_of();
template <>
constexpr Dtype dtype_of<bool>() {
  return Dtype::boolean;
}
template <>
constexpr Dtype dtype_of<uint8_t>() {
  return Dtype::uint8;
}
template <>
constexpr Dtype dtype_of<int32_t>() {
  return Dtype::int32;
}
template <>
constexpr Dtype dtype_of<int64_t>() {
  return Dtype::int64;
}
template <>
constexpr Dtype dtype_of<uint16_t>() {
  return Dtype::uint16;
}
template <>
constexpr Dtype dtype_of<uint32_t>() {
  return Dtype::uint32;
}
template <>
constexpr Dtype dtype_of<uint64_t>() {
  return Dtype::uint64;
}
template <>
constexpr Dtype dtype_of<float>() {
  return Dtype::float32;
}
template <>
constexpr Dtype dtype_of<double>() {
  return Dtype::float64;
}

// A C-contiguous array of Python's, borrowed for the length of a call.
struct Array {
  static constexpr int kMaxRank = 8;
  const char* name;
  void* data;
  Dtype dtype;
  int rank;
  int64_t shape[kMaxRank];
  std::string other_dtype = {};  // as NumPy or torch spells it, if it is none of Dtype's

  std::string dtype_name() const { return dtype == Dtype::other ? other_dtype : name_of(dtype); }

  // The array as a view of `T` and rank R; a TypeError that names it if it is something else.
  template <class T, int R>
  View<T, R> view() const {
    check(dtype_of<std::remove_const_t<T>>(), R);
    return raw_view<T, R>();
  }

  // The same without looking at the dtype, for code that moves elements without reading them.
  template <class T, int R>
  View<T, R> raw_view() const {
    check_rank(R);
    View<T, R> view{static_cast<T*>(data), {}};
    for (int i = 0; i < R; ++i) view.shape[i] = shape[i];
    return view;
  }

  void check(Dtype wanted, int wanted_rank) const;
  void check_rank(int wanted_rank) const;
};

// Reads a NumPy array or a torch tensor on this module's device (the CPU, or a GPU for _cuda).
Array as_array(py::handle object, const char* name);

// Lets go of the GIL for as long as it lives. Where the interpreter has ended meanwhile, the thread never
// goes on: before Python 3.14 it would be ended by unwinding, through destructors that need the GIL.
class GilReleased {
public:
  GilReleased() : state_(PyEval_SaveThread()) {}
  ~GilReleased();
  GilReleased(const GilReleased&) = delete;
  GilReleased& operator=(const GilReleased&) = delete;

private:
  PyThreadState* const state_;
};

// Calls `body` without the GIL.
template <class Body>
auto without_gil(Body&& body) {
  const GilReleased released;
  return body();
}

// Python exceptions for the errors of check.h; called once by each module.
void register_errors();

// The product of sizes, or a ValueError that names what would be made: never an overflow.
int64_t checked_count(const char* what, std::initializer_list<int64_t> sizes);

}  // namespace pyifcn
