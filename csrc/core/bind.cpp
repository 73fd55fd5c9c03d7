#include "core/bind.h"

#include <array>
#include <atomic>
#include <chrono>
#include <limits>
#include <memory>
#include <new>
#include <stdexcept>
#include <thread>

namespace pyifcn {
namespace {

struct DtypeFacts {
  Dtype dtype;
  const char* name;  // as NumPy and torch spell it
  int64_t size;
};

constexpr DtypeFacts kDtypes[] = {
    {Dtype::boolean, "bool", 1},    {Dtype::uint8, "uint8", 1},     {Dtype::int32, "int32", 4},
    {Dtype::int64, "int64", 8},     {Dtype::uint16, "uint16", 2},   {Dtype::uint32, "uint32", 4},
    {Dtype::uint64, "uint64", 8},   {Dtype::float16, "float16", 2}, {Dtype::bfloat16, "bfloat16", 2},
    {Dtype::float32, "float32", 4}, {Dtype::float64, "float64", 8},
};

Dtype numpy_dtype(const py::array& array) {
  const char order = array.dtype().byteorder();
  if (order != '=' && order != '|') return Dtype::other;
  switch (array.dtype().char_()) {
    case '?':
      return Dtype::boolean;
    case 'B':
      return Dtype::uint8;
    case 'H':
      return Dtype::uint16;
    case 'e':
      return Dtype::float16;
    case 'f':
      return Dtype::float32;
    case 'd':
      return Dtype::float64;
    default:
      break;
  }
  const char kind = array.dtype().kind();
  const auto size = array.itemsize();
  if (kind == 'i' && size == 4) return Dtype::int32;
  if (kind == 'i' && size == 8) return Dtype::int64;
  if (kind == 'u' && size == 4) return Dtype::uint32;
  if (kind == 'u' && size == 8) return Dtype::uint64;
  return Dtype::other;
}

// The attribute and the method of an object by names made once: a call reads many of them.
struct Name {
  explicit Name(const char* text) : object(PyUnicode_InternFromString(text)) {}
  PyObject* const object;
};

py::object checked(PyObject* result) {
  if (!result) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(result);
}

py::object get(py::handle object, const Name& name) {
  return checked(PyObject_GetAttr(object.ptr(), name.object));
}

py::object call(py::handle object, const Name& name) {
  return checked(PyObject_CallMethodNoArgs(object.ptr(), name.object));
}

using TorchDtypes = std::array<std::pair<PyObject*, Dtype>, std::size(kDtypes)>;

TorchDtypes* look_up_torch_dtypes() {
  auto table = std::make_unique<TorchDtypes>();
  const py::module_ torch = py::module_::import("torch");
  for (size_t i = 0; i < std::size(kDtypes); ++i) {
    py::object object = py::getattr(torch, kDtypes[i].name, py::none());
    (*table)[i] = {object.release().ptr(), kDtypes[i].dtype};
  }
  return table.release();
}

// torch's dtype objects are singletons: they are looked up once and then compared by address. Importing may
// let another thread run, which must not find a lock of C++'s here; whoever comes second drops what it found.
const TorchDtypes& torch_dtypes() {
  static std::atomic<TorchDtypes*> known{nullptr};
  TorchDtypes* table = known.load(std::memory_order_acquire);
  if (table) return *table;
  std::unique_ptr<TorchDtypes> fresh(look_up_torch_dtypes());
  return *(known.compare_exchange_strong(table, fresh.get()) ? fresh.release() : table);
}

Dtype torch_dtype(py::handle tensor) {
  static const Name dtype_name("dtype");
  const py::object dtype = get(tensor, dtype_name);
  for (const auto& [object, value] : torch_dtypes())
    if (object == dtype.ptr()) return value;
  return Dtype::other;
}

void set_rank(Array& array, int64_t rank) {
  if (rank > Array::kMaxRank) throw type_error(sentence(array.name, " has ", rank, " dimensions"));
  array.rank = int(rank);
}

Array from_numpy(const py::array& source, const char* name) {
  Array array{name, const_cast<void*>(source.data()), numpy_dtype(source), 0, {}};
  set_rank(array, source.ndim());
  for (int i = 0; i < array.rank; ++i) array.shape[i] = source.shape(i);
  if (array.dtype == Dtype::other) array.other_dtype = py::str(source.dtype());
  if (!(source.flags() & py::array::c_style)) throw type_error(sentence(name, " is not C-contiguous"));
  return array;
}

Array from_torch(py::handle source, const char* name) {
  static const Name is_cuda("is_cuda"), is_cpu("is_cpu"), is_contiguous("is_contiguous"),
      data_ptr("data_ptr"), shape_name("shape");
  const bool on_gpu = get(source, is_cuda).ptr() == Py_True;
  if (on_gpu != kCudaModule || (!on_gpu && get(source, is_cpu).ptr() != Py_True))
    throw type_error(sentence(name, " is on ", std::string(py::str(source.attr("device"))), ", expected a ",
                              kCudaModule ? "CUDA tensor" : "CPU tensor"));
  if (call(source, is_contiguous).ptr() != Py_True) throw type_error(sentence(name, " is not C-contiguous"));
  const auto address = call(source, data_ptr).cast<uintptr_t>();
  Array array{name, reinterpret_cast<void*>(address), torch_dtype(source), 0, {}};
  const py::tuple shape = get(source, shape_name);
  set_rank(array, int64_t(shape.size()));
  bool elements = true;
  for (int i = 0; i < array.rank; ++i) {
    array.shape[i] = shape[size_t(i)].cast<int64_t>();
    elements = elements && array.shape[i] > 0;
  }
  if (elements && address == 0) throw type_error(sentence(name, " is a tensor without memory"));
  if (array.dtype == Dtype::other)
    array.other_dtype = py::str(source.attr("dtype")).cast<std::string>().substr(sizeof("torch.") - 1);
  return array;
}

}  // namespace

GilReleased::~GilReleased() {
  try {
    PyEval_RestoreThread(state_);
  } catch (...) {
    for (;;) std::this_thread::sleep_for(std::chrono::hours(1));
  }
}

int64_t size_of(Dtype dtype) {
  for (const DtypeFacts& facts : kDtypes)
    if (facts.dtype == dtype) return facts.size;
  return 0;
}

const char* name_of(Dtype dtype) {
  for (const DtypeFacts& facts : kDtypes)
    if (facts.dtype == dtype) return facts.name;
  return "an unsupported dtype";
}

void Array::check(Dtype wanted, int wanted_rank) const {
  if (dtype != wanted) throw type_error(sentence(name, " is ", dtype_name(), ", expected ", name_of(wanted)));
  check_rank(wanted_rank);
}

void Array::check_rank(int wanted_rank) const {
  if (rank != wanted_rank)
    throw type_error(sentence(name, " has ", rank, " dimensions, expected ", wanted_rank));
}

Array as_array(py::handle object, const char* name) {
  if (!kCudaModule && py::isinstance<py::array>(object))
    return from_numpy(py::reinterpret_borrow<py::array>(object), name);
  if (py::hasattr(object, "data_ptr")) return from_torch(object, name);
  throw type_error(sentence(name, " is a ", Py_TYPE(object.ptr())->tp_name, ", expected a ",
                            kCudaModule ? "CUDA tensor" : "NumPy array or a torch tensor"));
}

void register_errors() {
  py::register_local_exception_translator([](std::exception_ptr pointer) {
    try {
      if (pointer) std::rethrow_exception(pointer);
    } catch (const type_error& error) {
      py::set_error(PyExc_TypeError, error.what());
    } catch (const std::bad_alloc&) {
      py::set_error(PyExc_MemoryError, "there is not enough memory for the result and what leads to it");
    } catch (const std::length_error&) {
      py::set_error(PyExc_MemoryError, "the result or what leads to it would be too large to address");
    }
  });
}

int64_t checked_count(const char* what, std::initializer_list<int64_t> sizes) {
  constexpr int64_t kMost = std::numeric_limits<int64_t>::max() / 16;  // room for any element's bytes
  bool empty = false;
  for (int64_t size : sizes) {
    require(size >= 0, what, " would have a negative size, ", size);
    empty = empty || size == 0;
  }
  if (empty) return 0;
  int64_t product = 1;
  for (int64_t size : sizes) {
    require(size <= kMost / product, what, " would be too large to address");
    product *= size;
  }
  return product;
}

}  // namespace pyifcn
