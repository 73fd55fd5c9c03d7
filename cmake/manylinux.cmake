# For wheels (PYIFCN_MANYLINUX=ON): modules that load on Linux systems older than the one that builds. They carry
# the C++ library, apart from the one that torch loads, and ask glibc for the first version of each function.
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$")
  set(first_glibc GLIBC_2.2.5)
  set(later "GLIBC_2.3.4 { dlmopen; }; GLIBC_2.4 { pthread_mutexattr_setprotocol; };")
else()
  set(first_glibc GLIBC_2.17)
  set(later "")
endif()

# hollow_library(NAME VERSION FUNCTION...) links to libNAME.so.VERSION as it was before glibc 2.34 merged it into
# libc. The linker notes the version that it finds in the library, so one with names and no code will do.
function(hollow_library name version)
  set(code "")
  foreach(function IN LISTS ARGN)
    string(APPEND code "__asm__(\".globl ${function}\\n.type ${function}, %function\\n${function}:\");\n")
  endforeach()
  set(stem ${CMAKE_CURRENT_BINARY_DIR}/hollow_${name})
  file(CONFIGURE OUTPUT ${stem}.cpp CONTENT "${code}")
  file(CONFIGURE OUTPUT ${stem}.map CONTENT "${first_glibc} { *; }; ${later}\n")
  add_library(hollow_${name} SHARED ${stem}.cpp)
  set_target_properties(hollow_${name} PROPERTIES OUTPUT_NAME ${name} SOVERSION ${version} LINK_DEPENDS ${stem}.map
    LIBRARY_OUTPUT_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR}/hollow)
  target_link_options(hollow_${name} PRIVATE -nostdlib -Wl,--version-script=${stem}.map)
  target_link_libraries(pyifcn_options INTERFACE hollow_${name})
endfunction()

# What libstdc++ and cudart use of them. `auditwheel show` names what another release adds.
hollow_library(dl 2 dladdr dlclose dlerror dlmopen dlopen dlsym dlvsym)
hollow_library(rt 1 shm_open shm_unlink)
hollow_library(pthread 0 pthread_create pthread_detach pthread_getspecific pthread_join pthread_key_create
  pthread_key_delete pthread_kill pthread_condattr_setpshared pthread_mutex_trylock pthread_mutexattr_destroy pthread_mutexattr_init
  pthread_mutexattr_setprotocol pthread_mutexattr_setpshared pthread_mutexattr_settype pthread_once
  pthread_rwlock_destroy pthread_rwlock_init pthread_rwlock_rdlock pthread_rwlock_tryrdlock
  pthread_rwlock_trywrlock pthread_rwlock_unlock pthread_rwlock_wrlock pthread_rwlockattr_destroy
  pthread_rwlockattr_init pthread_rwlockattr_setpshared pthread_setspecific pthread_spin_destroy pthread_spin_init
  pthread_spin_lock pthread_spin_trylock pthread_spin_unlock sem_destroy sem_init sem_post sem_timedwait
  sem_trywait sem_wait)

add_library(first_glibc OBJECT cmake/first_glibc.cpp)
target_compile_definitions(first_glibc PRIVATE PYIFCN_FIRST_GLIBC="${first_glibc}")
target_link_libraries(pyifcn_options INTERFACE $<TARGET_OBJECTS:first_glibc>)

set(exports ${CMAKE_CURRENT_BINARY_DIR}/exports.map)
file(CONFIGURE OUTPUT ${exports} CONTENT "{ global: PyInit_*; local: *; };\n")
target_link_options(pyifcn_options INTERFACE -static-libstdc++ -Wl,--gc-sections -Wl,--wrap=exp
  -Wl,--version-script=${exports})
