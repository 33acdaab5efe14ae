# Debian packages: `cpack -G DEB --config BUILD/CPackConfig.cmake`.  Those for installation come from the preset "debian" (prefix /usr, so
# libraries lie where this architecture's do); docs/packages.md.
#
# A component of the install rules is a package; what is not built here (a plugin whose compiler is missing) is no package.
find_program(AIOS_DPKG_SHLIBDEPS dpkg-shlibdeps) # dpkg-dev
if(NOT AIOS_DPKG_SHLIBDEPS)
  return()
endif()
set(CPACK_PACKAGE_NAME libaios)
set(CPACK_PACKAGE_VENDOR "libaios")
set(maintainer "The libaios authors <nobody@localhost>") # who gives packages away says who answers for them, as Debian's tools have it
if(DEFINED ENV{DEBFULLNAME} AND DEFINED ENV{DEBEMAIL})
  set(maintainer "$ENV{DEBFULLNAME} <$ENV{DEBEMAIL}>")
endif()
set(CPACK_PACKAGE_CONTACT "${maintainer}" CACHE STRING "maintainer of the packages: NAME <ADDRESS>")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_DEBIAN_COMPRESSION_TYPE xz)
set(CPACK_PROJECT_CONFIG_FILE ${PROJECT_SOURCE_DIR}/packaging/cpack.cmake)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_COMPONENTS_GROUPING IGNORE)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_RELEASE 1)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS_PRIVATE_DIRS ${CMAKE_LIBRARY_OUTPUT_DIRECTORY})
set(CPACK_VERBATIM_VARIABLES ON)
set(AIOS_DEB_VERSION "${PROJECT_VERSION}-${CPACK_DEBIAN_PACKAGE_RELEASE}")

# The same two files in each package: whose it is, and what changed.
string(TIMESTAMP AIOS_DEB_DATE "%a, %d %b %Y %H:%M:%S +0000" UTC) # of SOURCE_DATE_EPOCH where that is set
configure_file(${PROJECT_SOURCE_DIR}/packaging/changelog.in ${CMAKE_BINARY_DIR}/packaging/changelog.Debian @ONLY)
configure_file(${PROJECT_SOURCE_DIR}/packaging/copyright ${CMAKE_BINARY_DIR}/packaging/copyright COPYONLY)
execute_process(COMMAND gzip -9nf ${CMAKE_BINARY_DIR}/packaging/changelog.Debian)
# What is linked with the library needs this package; the loader is told when it comes or goes.
file(WRITE ${CMAKE_BINARY_DIR}/packaging/shlibs "libaios ${PROJECT_VERSION_MAJOR} libaios${PROJECT_VERSION_MAJOR} (>= ${PROJECT_VERSION})\n")
file(WRITE ${CMAKE_BINARY_DIR}/packaging/triggers "activate-noawait ldconfig\n")
set(CPACK_DEBIAN_RUNTIME_PACKAGE_CONTROL_EXTRA ${CMAKE_BINARY_DIR}/packaging/shlibs ${CMAKE_BINARY_DIR}/packaging/triggers)

# aios_package(COMPONENT PACKAGE SECTION SUMMARY DESCRIPTION [DEPENDS …] [RECOMMENDS …] [ALL]); ALL: the same for every architecture
function(aios_package component package section summary description)
  cmake_parse_arguments(arg "ALL" "DEPENDS;RECOMMENDS;SUGGESTS" "" ${ARGN})
  string(TOUPPER ${component} upper)
  macro(set_for field value)
    set(CPACK_DEBIAN_${upper}_${field} "${value}" PARENT_SCOPE)
  endmacro()
  set_for(PACKAGE_NAME ${package})
  set_for(PACKAGE_SECTION ${section})
  set_for(DESCRIPTION "${summary}\n${description}")
  set_for(PACKAGE_DEPENDS "${arg_DEPENDS}")
  set_for(PACKAGE_RECOMMENDS "${arg_RECOMMENDS}")
  set_for(PACKAGE_SUGGESTS "${arg_SUGGESTS}")
  if(arg_ALL)
    set_for(PACKAGE_ARCHITECTURE all)
    set_for(PACKAGE_SHLIBDEPS OFF)
  else()
    set_for(PACKAGE_SHLIBDEPS ON)
  endif()
  set(CPACK_COMPONENTS_ALL ${CPACK_COMPONENTS_ALL} ${component} PARENT_SCOPE)
  install(FILES ${CMAKE_BINARY_DIR}/packaging/copyright ${CMAKE_BINARY_DIR}/packaging/changelog.Debian.gz
          DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/${package} COMPONENT ${component} EXCLUDE_FROM_ALL)
endfunction()

set(AIOS_DEB_WHAT "libaios trains neural networks on every device of a machine at once: NVIDIA,\nAMD and Intel GPUs and the CPU, from C and whatever can call C.\n.\n")
set(this "libaios0 (= ${AIOS_DEB_VERSION})")
set(CPACK_COMPONENTS_ALL)
aios_package(runtime libaios0 libs "train neural networks on every device at once: shared library"
             "${AIOS_DEB_WHAT}This package has the library, which works on the CPU alone; each kind of GPU\nis a package of its own."
             RECOMMENDS "libdnnl2 | libdnnl3 | libdnnl3.6" SUGGESTS "libaios-cuda, libaios-hip, libaios-xpu, libaios-gloo")
aios_package(development libaios-dev libdevel "train neural networks on every device at once: development files"
             "${AIOS_DEB_WHAT}This package has the headers for C and C++, the files for pkg-config and CMake,\nand what the author of a backend for another device needs: a skeleton, and\naios-conformance, which judges it."
             DEPENDS "${this}")
foreach(backend "cuda;NVIDIA GPUs;libcuda.so.1, which comes with NVIDIA's driver" "hip;AMD GPUs;libamdhip64, which comes with ROCm"
        "xpu;Intel GPUs;the Level Zero loader and Intel's driver")
  list(POP_FRONT backend name what driver)
  if(TARGET aios-${name})
    aios_package(${name} libaios-${name} libs "train neural networks on every device at once: ${what}"
                 "${AIOS_DEB_WHAT}This package has the plugin for ${what}.  It opens\n${driver}, when a program\nasks for devices, and says so where there is none."
                 DEPENDS "${this}")
  endif()
endforeach()
if(TARGET aios-gloo)
  aios_package(gloo libaios-gloo libs "train neural networks on every device at once: several processes and hosts"
               "${AIOS_DEB_WHAT}This package has what processes reach each other by, on one host and on\nseveral." DEPENDS "${this}")
endif()
if(AIOS_TOOLS)
  aios_package(tools aios-tools science "train neural networks on every device at once: command"
               "${AIOS_DEB_WHAT}This package has the aios command: it lists devices, prepares data, trains,\nevaluates and generates, and explains what went wrong."
               DEPENDS "${this}" RECOMMENDS "libedit2" SUGGESTS "libaios-cuda, libaios-hip, libaios-xpu, libaios-gloo")
endif()
if(TARGET python)
  aios_package(python python3-aios python "train neural networks on every device at once: Python"
               "${AIOS_DEB_WHAT}This package has the Python module aios, which needs nothing but Python." DEPENDS "python3:any, ${this}" ALL)
endif()
include(CPack)
