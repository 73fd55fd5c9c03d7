// Where a CUDA kernel runs: a device and a stream on it, as Python names them.
#pragma once

struct CUstream_st;  // *cudaStream_t

namespace pyifcn {

struct Stream {
  int device;
  CUstream_st* handle;
};

}  // namespace pyifcn
