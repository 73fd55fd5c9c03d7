# Compiles for 64-bit ARM on another Linux machine, with Debian's g++-aarch64-linux-gnu: `make cross-aarch64`.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)

# Debian's Python.h includes aarch64-linux-gnu/python3.X/pyconfig.h. The one of this machine will do.
file(GLOB headers /usr/include/*-linux-gnu/python3.*)
set(include ${CMAKE_BINARY_DIR}/include)
foreach(folder IN LISTS headers)
  cmake_path(GET folder FILENAME version)
  file(MAKE_DIRECTORY ${include}/aarch64-linux-gnu)
  file(CREATE_LINK ${folder} ${include}/aarch64-linux-gnu/${version} SYMBOLIC)
endforeach()
set(CMAKE_CXX_FLAGS_INIT "-isystem ${include}")
