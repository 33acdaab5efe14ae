# lib/kernels as C11, compiled once per instruction set; lib/cpu picks the best one that the processor has.
set(AIOS_KERNEL_FLAGS -O3 -g0 -fno-math-errno -fno-trapping-math -ffp-contract=fast -fopenmp-simd -fvisibility=hidden -Wall -Wextra)
if(AIOS_WERROR)
  list(APPEND AIOS_KERNEL_FLAGS -Werror)
endif()
set(AIOS_NO_UNWIND)
if(NOT AIOS_SANITIZE)
  # No unwind tables, a twentieth of the library: a kernel is a leaf that calls nothing but logf, so nothing is thrown or cancelled through it, and
  # it runs on frames whose callers nobody but a debugger would want; that one finds them by the prologue, as there is no debug information here
  # anyway (-g0).  A sanitizer's report does walk up from a kernel, so its builds keep them.
  set(AIOS_NO_UNWIND -fno-asynchronous-unwind-tables -fno-unwind-tables)
endif()
list(APPEND AIOS_KERNEL_FLAGS ${AIOS_NO_UNWIND})
if(CMAKE_C_COMPILER_ID STREQUAL "GNU")
  list(APPEND AIOS_KERNEL_FLAGS --param=vect-epilogues-nomask=0) # a fifth of the code, and no time that can be measured
endif()
if(CMAKE_C_COMPILER_ID MATCHES "Clang")
  list(APPEND AIOS_KERNEL_FLAGS -Wno-pass-failed) # a loop that clang leaves scalar is slow there, not wrong
endif()
file(GLOB AIOS_KERNEL_SOURCES CONFIGURE_DEPENDS lib/kernels/*.kc lib/kernels/*.h lib/kernels/*.def)
add_library(aios_cpu_kernels OBJECT)
set_target_properties(aios_cpu_kernels PROPERTIES POSITION_INDEPENDENT_CODE ON)
target_include_directories(aios_cpu_kernels PRIVATE lib include)
function(aios_cpu_instance name)
  # kernels: lib/kernels; vector: the loops around the matrix products of lib/cpu
  foreach(part "kernels;instance.h" "vector;vector_instance.h")
    list(GET part 0 kind)
    list(GET part 1 header)
    set(source ${CMAKE_CURRENT_BINARY_DIR}/cpu_${kind}_${name}.c)
    file(GENERATE OUTPUT ${source} CONTENT "#define CPU_INSTANCE ${name}\n#include \"cpu/${header}\"\n")
    target_sources(aios_cpu_kernels PRIVATE ${source})
    set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS "${AIOS_KERNEL_FLAGS};${ARGN}"
                                OBJECT_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/lib/cpu/${header};${CMAKE_CURRENT_SOURCE_DIR}/lib/cpu/vector.h;${AIOS_KERNEL_SOURCES}")
  endforeach()
endfunction()
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  set(AIOS_BASELINE_FLAGS -march=x86-64 -O2) # processors before 2013: half of the code for them
  if(CMAKE_C_COMPILER_ID STREQUAL "GNU")
    list(APPEND AIOS_BASELINE_FLAGS -fno-align-functions -fno-align-loops -fno-align-jumps)
  endif()
  aios_cpu_instance(baseline ${AIOS_BASELINE_FLAGS})
  aios_cpu_instance(avx2 -march=x86-64-v3)
  aios_cpu_instance(avx512 -march=x86-64-v4 -mprefer-vector-width=512)
  set_source_files_properties(lib/cpu/tiles_f32.c PROPERTIES COMPILE_OPTIONS "-O2;-march=x86-64-v4;${AIOS_NO_UNWIND}")
  set_source_files_properties(lib/cpu/tiles_bf16.c PROPERTIES COMPILE_OPTIONS "-O2;-march=x86-64-v4;-mavx512bf16;${AIOS_NO_UNWIND}")
else()
  aios_cpu_instance(baseline)
endif()
