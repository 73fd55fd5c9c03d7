// The instruction sets a kernel is compiled for. Each kernel is a function template over Target; its
// *_cpu.cpp is compiled once per CPU target with PYIFCN_KERNEL_TARGET naming the target.
#pragma once

namespace pyifcn {

enum class Target {
  scalar,
  avx2,    // AVX2, FMA, BMI: Haswell, Zen and newer
  avx2x2,  // pairs of AVX2 registers: the lanes of avx512 on a machine without it, for tests
  avx512,  // F BW CD DQ VL VBMI2 VPOPCNTDQ: Ice Lake, Zen 4 and newer
  cuda,
};

#ifdef PYIFCN_KERNEL_TARGET
inline constexpr Target kTarget = Target::PYIFCN_KERNEL_TARGET;
#endif

}  // namespace pyifcn

#if defined(__x86_64__) || defined(_M_X64)
#define PYIFCN_X86 1
#else
#define PYIFCN_X86 0
#endif

// Code in headers that kernels share must never be emitted out of line: the linker could then pick a copy
// compiled for a newer instruction set.
#if defined(__CUDACC__)
#define PYIFCN_INLINE __host__ __device__ __forceinline__
#else
#define PYIFCN_INLINE [[gnu::always_inline]] inline
#endif
