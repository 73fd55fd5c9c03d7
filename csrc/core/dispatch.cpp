#include "core/dispatch.h"

#include <atomic>

#include "core/check.h"

#if PYIFCN_X86
#include <cpuid.h>
#endif

namespace pyifcn {
namespace {

struct CpuFeatures {
  bool avx2 = false;
  bool avx512 = false;
};

#if PYIFCN_X86
struct Registers {
  unsigned eax, ebx, ecx, edx;
};

Registers cpuid(unsigned leaf, unsigned subleaf) {
  Registers r{};
  __cpuid_count(leaf, subleaf, r.eax, r.ebx, r.ecx, r.edx);
  return r;
}

// Which register states the operating system saves on a context switch.
unsigned long long saved_states() {
  unsigned low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (unsigned long long)high << 32 | low;
}

bool has(unsigned word, std::initializer_list<int> bits) {
  for (int bit : bits)
    if (!(word >> bit & 1)) return false;
  return true;
}

CpuFeatures detect() {
  CpuFeatures found;
  if (cpuid(0, 0).eax < 7) return found;
  const Registers one = cpuid(1, 0), seven = cpuid(7, 0);
  constexpr int kFma = 12, kPopcnt = 23, kOsxsave = 27, kAvx = 28, kF16c = 29;
  if (!has(one.ecx, {kFma, kPopcnt, kOsxsave, kAvx, kF16c})) return found;
  const unsigned long long states = saved_states();
  constexpr int kBmi1 = 3, kAvx2 = 5, kBmi2 = 8;
  found.avx2 = (states & 0x6) == 0x6 && has(seven.ebx, {kBmi1, kAvx2, kBmi2});
  constexpr int kF = 16, kDq = 17, kCd = 28, kBw = 30, kVl = 31;  // ebx
  constexpr int kVbmi2 = 6, kVpopcntdq = 14;                      // ecx
  found.avx512 = found.avx2 && (states & 0xe6) == 0xe6 && has(seven.ebx, {kF, kDq, kCd, kBw, kVl}) &&
                 has(seven.ecx, {kVbmi2, kVpopcntdq});
  return found;
}
#else
CpuFeatures detect() { return {}; }
#endif

std::atomic<Target>& chosen() {
  static std::atomic<Target> target = [] {
    const CpuFeatures cpu = detect();
    return cpu.avx512 ? Target::avx512 : cpu.avx2 ? Target::avx2 : Target::scalar;
  }();
  return target;
}

}  // namespace

const char* name_of(Target target) {
  switch (target) {
    case Target::scalar:
      return "scalar";
    case Target::avx2:
      return "avx2";
    case Target::avx2x2:
      return "avx2x2";
    case Target::avx512:
      return "avx512";
    case Target::cuda:
      return "cuda";
  }
  return "unknown";
}

std::vector<Target> available_targets() {
  const CpuFeatures cpu = detect();
  std::vector<Target> targets = {Target::scalar};
  if (cpu.avx2) targets.insert(targets.end(), {Target::avx2, Target::avx2x2});
  if (cpu.avx512) targets.push_back(Target::avx512);
  return targets;
}

Target current_target() { return chosen().load(std::memory_order_relaxed); }

void use_target(const std::string& name) {
  std::string names;
  for (Target target : available_targets()) {
    if (name == name_of(target)) {
      chosen().store(target, std::memory_order_relaxed);
      return;
    }
    names += (names.empty() ? "" : ", ") + std::string(name_of(target));
  }
  require(false, "target '", name, "' cannot run here; this machine has: ", names);
}

}  // namespace pyifcn
