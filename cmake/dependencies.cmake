# The libraries that libaios stands on, all of them Debian packages.  oneDNN is not linked: the CPU device opens it when
# the first gemm asks for it.
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
find_package(ZLIB REQUIRED)
pkg_check_modules(JANSSON REQUIRED IMPORTED_TARGET jansson>=2.13)
pkg_check_modules(PCRE2 REQUIRED IMPORTED_TARGET libpcre2-8)
pkg_check_modules(SQLITE REQUIRED IMPORTED_TARGET sqlite3>=3.37)

add_library(aios_dependencies INTERFACE)
target_link_libraries(aios_dependencies INTERFACE PkgConfig::JANSSON PkgConfig::PCRE2 PkgConfig::SQLITE ZLIB::ZLIB Threads::Threads ${CMAKE_DL_LIBS} m)

# Gloo moves bytes between processes.  Only lib/comm/gloo needs it, and a C++ compiler; all else is C.
include(CheckLanguage)
check_language(CXX)
find_path(GLOO_INCLUDE_DIR gloo/transport/tcp/device.h)
find_library(GLOO_LIBRARY gloo)
if(CMAKE_CXX_COMPILER)
  enable_language(CXX)
endif()
