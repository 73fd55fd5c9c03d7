// Part of each module of a wheel for Linux: what glibc got after the systems that it is to load on. See
// manylinux.cmake.
extern "C" {

// 2.32 notes here that there is one thread only, which makes reference counts cheaper. Here there never is.
[[gnu::visibility("hidden")]] char __libc_single_threaded = 0;

// 2.29 has a second exp, which differs in what it does to errno. The linker turns calls of exp to this.
double first_exp(double);
__asm__(".symver first_exp, exp@" PYIFCN_FIRST_GLIBC);
[[gnu::visibility("hidden")]] double __wrap_exp(double x) { return first_exp(x); }
}
