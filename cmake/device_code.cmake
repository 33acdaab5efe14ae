# aios_device_code(OUTPUT file COMMANDS command; with; its; arguments [COMMANDS …] [SOURCES files beside lib/kernels])
#
# Kernels for a device, compiled once and kept in AIOS_DEVICE_CODE_DIR, which the presets share, since these compilers take minutes: the
# output is made again only when a command, a source or the compiler changed.  The commands run in order; the last writes OUTPUT.
set(AIOS_DEVICE_CODE_DIR ${CMAKE_BINARY_DIR}/device-code CACHE PATH "where compiled kernels are kept; may be shared by several builds")
file(MAKE_DIRECTORY ${AIOS_DEVICE_CODE_DIR})

function(aios_device_code)
  cmake_parse_arguments(CODE "" "OUTPUT" "SOURCES" ${ARGN})
  string(REPLACE ";" "\n" lines "${CODE_UNPARSED_ARGUMENTS}")
  set(recipe ${CMAKE_CURRENT_BINARY_DIR}/${CODE_OUTPUT}.recipe)
  file(GENERATE OUTPUT ${recipe} CONTENT "${lines}\n")
  add_custom_command(OUTPUT ${AIOS_DEVICE_CODE_DIR}/${CODE_OUTPUT}
                     COMMAND ${PROJECT_SOURCE_DIR}/cmake/device-code ${recipe} ${AIOS_DEVICE_CODE_DIR}/${CODE_OUTPUT} ${AIOS_KERNEL_SOURCES} ${CODE_SOURCES}
                     DEPENDS ${AIOS_KERNEL_SOURCES} ${CODE_SOURCES} ${recipe} ${PROJECT_SOURCE_DIR}/cmake/device-code
                     COMMENT "Compiling the kernels: ${CODE_OUTPUT}" VERBATIM)
endfunction()
